"""Callers for tests of stacks, and a service over one database."""

from __future__ import annotations

from typing import cast

from holdfast.core.settings import CoreSettings
from holdfast.errors import NotAuthenticatedError
from holdfast.identity.policy import Caller, implied
from holdfast.identity.service import Identity
from holdfast.identity.settings import IdentitySettings
from holdfast.stacks.service import Stacks
from holdfast.stacks.settings import StacksSettings
from holdfast.stacks.types import registry
from holdfast.stacks.types.nested import TemplateResource
from holdfast.store.pg.store import PgStore
from holdfast.store.secrets import Vault


def caller(project: str, *roles: str, everywhere: bool = False) -> Caller:
    return Caller(
        user_id=f"{project}-user",
        user_name=f"{project}-user",
        project_id=project,
        project_name=project,
        roles=implied(roles or ("member",)),
        everywhere=everywhere,
    )


ADMIN = caller("admin", "admin", everywhere=True)
ALICE = caller("alice")
BOB = caller("bob")
READER = caller("alice", "reader")


class KnownCallers:
    """What stands for ``identity``: each token is its caller's name."""

    settings = IdentitySettings()

    async def caller(self, token: str) -> Caller:
        known = {"admin": ADMIN, "alice": ALICE, "bob": BOB, "reader": READER}
        if token not in known:
            raise NotAuthenticatedError("no such token")
        return known[token]


IDENTITY = cast("Identity", KnownCallers())


def service(store: PgStore, vault: Vault, settings: StacksSettings | None = None) -> Stacks:
    """Stacks with every resource type there is."""
    return Stacks(
        store,
        vault,
        settings or StacksSettings(),
        core=CoreSettings(),
        registry=registry(),
        bodies=lambda target: TemplateResource(target.name, target.text),
        region="RegionOne",
    )
