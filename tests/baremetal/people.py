"""Callers, and shortcuts that put a node into a state as its owner would have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from holdfast.baremetal.models import KIND
from holdfast.baremetal.service import Baremetal
from holdfast.baremetal.states import Provision
from holdfast.errors import NotAuthenticatedError
from holdfast.identity.policy import Caller, implied
from holdfast.identity.settings import IdentitySettings
from holdfast.store.model import Job, NewJob, ObjectRef, Submission
from holdfast.store.pg.database import Database
from holdfast.store.pg.store import PgStore
from holdfast.store.secrets import Vault


def caller(project: str, *roles: str, everywhere: bool = False) -> Caller:
    return Caller(
        user_id=f"{project}-user",
        user_name=f"{project}-user",
        project_id=project,
        project_name=project,
        roles=implied(roles or ("admin",)),
        everywhere=everywhere,
    )


ADMIN = caller("admin", everywhere=True)
ALICE = caller("alice")
BOB = caller("bob")

READER = caller("alice", "reader")


class KnownCallers:
    """What stands for ``identity`` in tests of the API: each token is its caller's name."""

    settings = IdentitySettings()

    async def caller(self, token: str) -> Caller:
        known = {"admin": ADMIN, "alice": ALICE, "bob": BOB, "reader": READER}
        if token not in known:
            raise NotAuthenticatedError("no such token")
        return known[token]


REDFISH: dict[str, Any] = {"redfish_address": "http://bmc:8000"}


@dataclass
class BaremetalFixture:
    """What a test of bare metal works with."""

    db: Database
    store: PgStore
    baremetal: Baremetal
    vault: Vault

    async def node(self, who: Caller = ADMIN, state: str = "enroll", **fields: Any) -> UUID:
        document = {"driver": "redfish", "driver_info": REDFISH, **fields}
        uuid = await self.baremetal.nodes.create(who, document, Provision.ENROLL)
        await self.set(uuid, provision_state=state)
        return uuid

    async def set(self, uuid: UUID, **columns: Any) -> None:
        for name, value in columns.items():
            await self.db.execute(f"update node set {name} = $2 where uuid = $1", uuid, value)

    async def row(self, uuid: UUID) -> dict[str, Any]:
        found = await self.db.fetchrow("select * from node where uuid = $1", uuid)
        assert found is not None
        return dict(found.items())

    async def busy(self, uuid: UUID, kind: str = "node.power") -> Job:
        """Give the node a job in hand."""
        job = NewJob(id=uuid4(), kind=kind, object=ObjectRef(KIND, uuid))
        return await self.store.submit(Submission(job=job))

    async def end(self, job: UUID, state: str = "succeeded") -> None:
        await self.db.execute(
            "update job set state = $2, finished_at = clock_timestamp() where id = $1", job, state
        )

    async def active(self, uuid: UUID) -> Job:
        job = await self.store.active_job(ObjectRef(KIND, uuid))
        assert job is not None
        return job
