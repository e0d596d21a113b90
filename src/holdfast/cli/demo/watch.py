"""Looks at the system through its APIs and keeps the picture up to date."""

from __future__ import annotations

import time
from typing import Any

from holdfast.cli.demo.cloud import Api
from holdfast.cli.demo.picture import Conductor, Node, Picture

Document = dict[str, Any]
Owner = tuple[str, int]  # member id, incarnation


class Watch:
    """One observer: asks the cluster and bare metal APIs, and notes what changed hands."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.picture = Picture()
        self._began = time.monotonic()
        self._slots: dict[Owner, str] = {}
        self._shard_of: dict[str, int] = {}  # node UUID -> shard, learnt from its jobs
        self._owner_of: dict[str, str] = {}
        self.owner_of_shard: dict[int, Owner] = {}
        self.since: dict[int, float] = {}
        self.jobs: dict[str, Document] = {}  # node UUID -> its newest job
        self.killed: Owner | None = None

    def say(self, text: str) -> None:
        """Add an event, with its time."""
        elapsed_s = time.monotonic() - self._began
        self.picture.events.append(f"{elapsed_s:6.1f} s  {text}")

    async def look(self) -> Picture:
        """One look at everything."""
        picture = self.picture
        await self._look_at_claims()
        await self._look_at_jobs()
        picture.nodes = [self._node(document) for document in await self._api.nodes()]
        picture.nodes.sort(key=lambda node: node.name)
        picture.elapsed_s = time.monotonic() - self._began
        return picture

    async def _look_at_claims(self) -> None:
        document = await self._api.cluster("/ring")
        for ring in document["rings"]:
            if ring["group"] == "":
                self._ring(ring)
        claims = (await self._api.cluster("/claims"))["claims"]
        for claim in claims:
            if claim["owner"] is not None:
                self.owner_of_shard[claim["shard"]] = (claim["owner"], claim["incarnation"])
            self.since[claim["shard"]] = claim["since"]

    def _ring(self, ring: Document) -> None:
        picture = self.picture
        picture.shards, picture.spread = ring["shards"], ring["spread"]
        seen = {c.slot: c for c in picture.conductors}
        present: set[str] = set()
        for member in ring["members"]:
            slot = member["slot"]
            present.add(slot)
            before = seen.get(slot)
            if before is not None and before.epoch != member["epoch"] and before.epoch:
                self.say(f"{slot} is back, as a new incarnation (epoch {member['epoch']})")
            self._slots[(member["id"], member["epoch"])] = slot
            seen[slot] = Conductor(
                slot=slot,
                state=self._state(member),
                epoch=member["epoch"],
                shards=member["shards"],
                objects=member["objects"],
            )
        for slot, conductor in seen.items():
            if slot not in present and conductor.state != "gone":
                self.say(f"the lease of {slot} is over")
                conductor.state, conductor.shards, conductor.objects = "gone", 0, 0
        picture.conductors = [seen[slot] for slot in sorted(seen)]

    def _state(self, member: Document) -> str:
        if self.killed == (member["id"], member["epoch"]):
            return "killed"
        return str(member["state"])

    async def _look_at_jobs(self) -> None:
        jobs = (await self._api.cluster("/jobs?limit=1000"))["jobs"]
        self.jobs = {job["object"]["id"]: job for job in reversed(jobs) if job["object"]}
        for node, job in self.jobs.items():
            self._shard_of[node] = job["shard"]

    def _node(self, document: Document) -> Node:
        uuid = document["uuid"]
        job = self.jobs.get(uuid)
        shard = self._shard_of.get(uuid)
        holder = self.owner_of_shard.get(shard) if shard is not None else None
        owner = self._slots.get(holder, "") if holder else ""
        before = self._owner_of.setdefault(uuid, owner) if self.killed else owner
        if self.killed is None:
            self._owner_of[uuid] = owner
        total = job["progress"]["total"] if job else 0
        return Node(
            name=document["name"],
            state=document["provision_state"],
            step=(job["step"] or "") if job else "",
            share=min(1.0, job["progress"]["done"] / total) if job and total else 0.0,
            owner=owner,
            taken_over=bool(owner) and before != owner,
        )

    def slot_of(self, owner: Owner) -> str:
        return self._slots.get(owner, owner[0])

    def busiest(self) -> tuple[Owner, list[int]] | None:
        """The living conductor with most running or waiting jobs, and all its shards."""
        load: dict[Owner, int] = {}
        for job in self.jobs.values():
            owner = self.owner_of_shard.get(job["shard"])
            if owner is not None and job["state"] in ("running", "waiting"):
                load[owner] = load.get(owner, 0) + 1
        if not load:
            return None
        owner = max(load, key=lambda o: load[o])
        return owner, [shard for shard, held in self.owner_of_shard.items() if held == owner]
