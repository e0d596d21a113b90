"""What handlers may ask for, spelled so that Litestar knows where it comes from.

``TheCaller`` is for every API (``web`` provides it); the rest is for the Identity API.
What we provide ourselves is not validated again at each request.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from litestar import Request
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation

from holdfast.identity.catalog import Catalog
from holdfast.identity.policy import Caller
from holdfast.identity.service import Identity

AnyRequest: TypeAlias = Request[Any, Any, Any]
TheCaller: TypeAlias = NamedDependency[
    SkipValidation[Caller]
]  # named ``caller``; not on public routes
TheIdentity: TypeAlias = NamedDependency[SkipValidation[Identity]]  # named ``identity``
TheCatalog: TypeAlias = NamedDependency[SkipValidation[Catalog]]  # named ``catalog``
PathId: TypeAlias = FromPath[str]
