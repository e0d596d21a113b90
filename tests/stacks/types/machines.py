"""Machines for the types that use them: the real service, and what a conductor would do."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import UUID

from tests.baremetal.people import ALICE, BaremetalFixture
from tests.stacks.types.bench import Bench

from holdfast.baremetal.resources import ALLOCATIONS
from holdfast.identity.policy import Caller
from holdfast.stacks.model import Delegation
from holdfast.stacks.resource import ResourceType

_JOBS = """
select id, kind, args, object_id, cancel_requested from job
 where state in ('queued', 'running', 'waiting')
"""


class Machines:
    """Nodes of Alice's project. ``work`` is what happens while a stack waits."""

    def __init__(self, fixture: BaremetalFixture) -> None:
        self.fixture = fixture
        self.delegated: list[Delegation] = []
        self.caller: Caller = ALICE
        self.fails = ""
        self.lazy = False  # decides nothing, finishes nothing
        self.slow = 1  # how often a job is looked at before it is done
        self.jobs: Counter[str] = Counter()
        self._seen: Counter[UUID] = Counter()

    def call(self) -> dict[str, Any]:
        """The ports, as an engine has them."""

        async def caller(delegation: Delegation) -> Caller:
            self.delegated.append(delegation)
            return self.caller

        return {"baremetal": self.fixture.baremetal, "caller": caller}

    def bench(self, kind: ResourceType, given: dict[str, Any], **more: Any) -> Bench:
        return Bench(kind, given, call=self.call(), **more)

    async def available(self, **fields: Any) -> str:
        """A node that can be allocated."""
        uuid = await self.fixture.node(ALICE, state="available", resource_class="gold", **fields)
        await self.fixture.set(uuid, power_state="power off")
        return str(uuid)

    async def row(self, node: str) -> dict[str, Any]:
        return await self.fixture.row(UUID(node))

    async def states(self) -> list[str]:
        """The provision states of all nodes."""
        rows = await self.fixture.db.fetch("select provision_state from node order by created_at")
        return [row[0] for row in rows]

    async def allocations(self) -> list[str]:
        rows = await self.fixture.db.fetch(f"select state from {ALLOCATIONS.source}")
        return [row[0] for row in rows]

    async def work(self) -> None:
        """A while passes."""
        if self.lazy:
            return
        await self.fixture.baremetal.allocations.decide()
        for job in await self.fixture.db.fetch(_JOBS):
            self._seen[job["id"]] += 1
            if self._seen[job["id"]] == 1:
                self.jobs[job["kind"]] += 1
            if job["cancel_requested"]:
                await self._end(job, "cancelled", provision_state="deploy failed")
            elif self._seen[job["id"]] > self.slow:
                await self._finish(job)

    async def _finish(self, job: Any) -> None:
        kind, node = job["kind"], job["object_id"]
        if self.fails and kind == "node.deploy":
            columns = {"provision_state": "deploy failed", "last_error": self.fails}
            await self._end(job, "failed", **columns)
        elif kind == "node.deploy":
            await self._end(
                job,
                "succeeded",
                provision_state="active",
                target_provision_state=None,
                power_state="power on",
            )
        elif kind == "node.undeploy":
            await self._undeploy(job, node)
        elif kind == "node.power":
            target = job["args"]["target"]
            await self._end(job, "succeeded", power_state=target, target_power_state=None)

    async def _undeploy(self, job: Any, node: UUID) -> None:
        if (await self.fixture.row(node))["provision_state"] == "deleting":
            gone = dict.fromkeys(("instance_uuid", "allocation_uuid", "instance_secrets"))
            columns = {"instance_info": {}, "provision_state": "cleaning"}
            await self.fixture.set(node, **gone, **columns)
            await self.fixture.db.execute("delete from allocation where node_uuid = $1", node)
        else:
            await self._end(job, "succeeded", provision_state="available", power_state="power off")

    async def _end(self, job: Any, state: str, **columns: Any) -> None:
        await self.fixture.end(job["id"], state)
        await self.fixture.set(job["object_id"], **columns)
