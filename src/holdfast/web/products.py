"""The products' APIs, each under its prefix. A further product is a further function here."""

from __future__ import annotations

from holdfast.baremetal import api as baremetal
from holdfast.baremetal.service import Baremetal
from holdfast.identity.service import Identity
from holdfast.stacks import api as stacks
from holdfast.stacks.service import Stacks
from holdfast.web.apis import Api


def baremetal_api(service: Baremetal) -> Api:
    """The Bare Metal API under ``/baremetal``; its own port is 6385 elsewhere."""
    return Api(
        name="baremetal",
        prefix=baremetal.PREFIX,
        router=baremetal.router(service),
        policies=baremetal.POLICIES,
        error_body=baremetal.error_body,
        error_headers=baremetal.error_headers,
        service=baremetal.SERVICE,
        rewrite=baremetal.rewrite,
        hide=baremetal.hiding(service),
        background=(service.work,),
    )


def stacks_api(service: Stacks, identity: Identity) -> Api:
    """The Orchestration API under ``/orchestration``; its own port is 8004 elsewhere.

    ``identity``: who a token is of, where a resource's own token would do as well.
    """
    return Api(
        name="orchestration",
        prefix=stacks.PREFIX,
        router=stacks.router(service, identity),
        policies=stacks.POLICIES,
        error_body=stacks.error_body,
        service=stacks.SERVICE,
        rewrite=stacks.rewrite,
        background=(service.work,),
    )
