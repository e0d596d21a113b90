"""What the clients do meanwhile: deployments, and writes whose every acknowledgement is kept.

Each machine is led by a task of its own through the verbs; one poller reads all states.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final
from uuid import uuid4

from tests.chaos.client import NO_ANSWER, UNAVAILABLE, Client

LOOK_S: Final = 0.3
ASK_AGAIN_S: Final = 0.3
PASSWORD: Final = "password"
OPEN: Final = (NO_ANSWER, UNAVAILABLE, 401)  # whether it took effect is open, or it did not
IN_HAND: Final = 409
AT_ONCE: Final = 8
REGISTER_WRITES_MAX: Final = 200  # keys in one register's document
FIELDS: Final = "uuid,name,provision_state,last_error"
FAILED: Final = ("deploy failed", "clean failed", "error")


class LostError(AssertionError):
    """Something that was acknowledged, or must never happen, did not hold."""


class Machines:
    """The fleet's machines, enrolled and led from state to state."""

    def __init__(self, client: Client, machines: list[dict[str, Any]], control_url: str) -> None:
        self._client = client
        self._machines = machines
        self._control_url = control_url
        self.nodes: list[str] = [str(uuid4()) for _ in machines]
        self.states: dict[str, str] = {}
        self._seen_at: dict[str, float] = {}  # when the look began that saw the state
        self.errors: dict[str, str] = {}
        self.failures: list[str] = []
        self.deployments = 0
        self.wanted = dict.fromkeys(self.nodes, "active")  # what each shall be in the end
        self.room = asyncio.Semaphore(AT_ONCE)

    async def watch(self) -> None:
        """Read all states, for ever; note every state that means a failure."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        path = f"/baremetal/v1/nodes?fields={FIELDS}&limit=1000"
        began = time.monotonic()
        document = await self._client.read(path)
        for node in document["nodes"]:
            uuid, state = node["uuid"], node["provision_state"]
            self.errors[uuid] = node["last_error"] or ""
            if state in FAILED and self.states.get(uuid) != state:
                self.failures.append(f"{node['name']} is {state}: {node['last_error']}")
            self.states[uuid], self._seen_at[uuid] = state, began

    async def explained(self) -> list[str]:
        """Of each machine that is not as wanted: what the system says is the reason."""
        reasons: list[str] = []
        for node in self.nodes:
            if self.states.get(node) != self.wanted[node]:
                document = await self._client.read(f"/cluster/v1/why/{node}")
                reasons.append(" ".join(document["sentences"]))
        return reasons

    async def enrol_all(self) -> None:
        """Create, verify and provide every machine."""
        async with asyncio.TaskGroup() as tasks:
            for number in range(len(self.nodes)):
                tasks.create_task(self._enrol(number))

    async def _enrol(self, number: int) -> None:
        machine, node = self._machines[number], self.nodes[number]
        info = {
            "redfish_address": machine["address"],
            "redfish_username": "admin",
            "redfish_password": PASSWORD,
            "deploy_iso": f"{self._control_url}/ramdisk.iso",
        }
        body = {"uuid": node, "name": f"m{number:03d}", "driver": "redfish", "driver_info": info}
        await self.create(node, body)
        port = {"uuid": str(uuid4()), "node_uuid": node, "address": machine["mac"]}
        await self._post(f"port of {node}", "/baremetal/v1/ports", port)
        await self.lead(node, "manage", "enroll", "manageable")
        await self.lead(node, "provide", "manageable", "available")

    async def create(self, node: str, body: dict[str, Any]) -> None:
        """Create a node with our own UUID: whatever happens, repeating it is safe."""
        await self._post("create", "/baremetal/v1/nodes", body, node)
        self.states[node] = "enroll"

    async def _post(self, what: str, path: str, body: dict[str, Any], node: str = "") -> None:
        async with self.room:
            while True:
                status, said = await self._client.ask("POST", path, body, what=what, node=node)
                if status == 201:
                    return
                if status not in OPEN:
                    there, _ = await self._client.ask("GET", f"{path}/{body['uuid']}")
                    if there == 200:  # made by an earlier request whose answer was lost
                        return
                    if there == 404:
                        raise LostError(f"{what}: {status} {said}")
                await asyncio.sleep(ASK_AGAIN_S)

    async def lead(self, node: str, verb: str, before: str, after: str) -> None:
        """Ask for a verb until it is under way, and wait for the state it leads to."""
        path = f"/baremetal/v1/nodes/{node}/states/provision"
        while True:
            async with self.room:
                body = {"target": verb}
                status, said = await self._client.ask("PUT", path, body, what=verb, node=node)
            if status == 202:
                break
            state = await self._state(node)
            if state != before:
                break  # an earlier request whose answer was lost, or 409 for that reason
            if status not in (*OPEN, IN_HAND):
                raise LostError(f"{verb} of {node}, which is {before}: {status} {said}")
            await asyncio.sleep(ASK_AGAIN_S)
        await self._reaches(node, before, after, time.monotonic())

    async def _reaches(self, node: str, before: str, after: str, since: float) -> None:
        """Wait for a state, by looks that began after the request was answered."""
        while True:
            state = self.states[node] if self._seen_at.get(node, 0) > since else ""
            if state == after:
                return
            if state in FAILED or (state and before == "enroll" == state):
                raise LostError(f"{node} did not become {after}: {state}: {self.errors[node]}")
            await asyncio.sleep(LOOK_S / 2)

    async def _state(self, node: str) -> str:
        path = f"/baremetal/v1/nodes/{node}?fields=provision_state"
        return str((await self._client.read(path))["provision_state"])

    async def deploy(self, node: str) -> None:
        await self.lead(node, "active", "available", "active")
        self.deployments += 1

    async def deploy_all(self, over_s: float) -> None:
        """Deploy every machine; the requests are spread over some time."""
        async with asyncio.TaskGroup() as tasks:
            for number, node in enumerate(self.nodes):
                tasks.create_task(_later(over_s * number / len(self.nodes), self.deploy, node))

    async def all_deployed(self, within_s: float) -> None:
        """Wait until every machine was deployed, for so long at most."""
        end = time.monotonic() + within_s
        while self.deployments < len(self.nodes) and time.monotonic() < end:
            await asyncio.sleep(LOOK_S)

    async def cycle(self, node: str, until: float) -> None:
        """Deploy and undeploy for ever; end active once ``until`` (monotonic) has passed."""
        while True:
            await self.deploy(node)
            if time.monotonic() >= until:
                return
            await self.lead(node, "deleted", "active", "available")


class Registers:
    """Nodes that only hold values. Every value is a key of its own, so that none covers another."""

    def __init__(self, client: Client, machines: Machines, count: int = 3) -> None:
        self._client = client
        self._machines = machines
        self._count = count
        self.acknowledged: dict[str, set[str]] = {}

    async def write(self) -> None:
        """Write for ever, one request after the other on each register."""
        async with asyncio.TaskGroup() as tasks:
            for _ in range(self._count):
                tasks.create_task(self._write_one())

    async def _write_one(self) -> None:
        while True:
            node = str(uuid4())
            body = {"uuid": node, "name": f"register-{node[:13]}", "driver": "fake-hardware"}
            await self._machines.create(node, {**body, "driver": "redfish"})
            kept = self.acknowledged[node] = set[str]()
            for number in range(REGISTER_WRITES_MAX):
                key = f"k{number}"
                patch = [{"op": "add", "path": f"/extra/{key}", "value": number}]
                path = f"/baremetal/v1/nodes/{node}"
                status, said = await self._client.ask("PATCH", path, patch, what="set", node=node)
                if status == 200:
                    kept.add(key)
                elif status not in OPEN:
                    raise LostError(f"a write was refused: {status} {said}")
                await asyncio.sleep(ASK_AGAIN_S)

    async def lost(self) -> list[str]:
        """What was acknowledged and is not there."""
        missing: list[str] = []
        for node, keys in self.acknowledged.items():
            document = await self._client.read(f"/baremetal/v1/nodes/{node}?fields=extra")
            missing += [f"{node} {key}" for key in sorted(keys - set(document["extra"]))]
        return missing


async def _later(delay_s: float, work: Any, *args: Any) -> None:
    await asyncio.sleep(delay_s)
    await work(*args)
