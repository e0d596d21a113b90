"""A running system with a fleet of machines that are enrolled and available."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.compat.clients import Client
from tests.compat.machines import Fleet
from tests.compat.programs import until
from tests.e2e.running import Running

from holdfast.cli.client import find_cloud
from holdfast.cli.demo.cloud import Api
from holdfast.sim.fleet.journal import Line, read_lines

# A short rhythm, because the simulated machines are quick; everything else is as shipped.
SETTINGS = {
    "HOLDFAST_BAREMETAL__HEARTBEAT_S": "10",
    "HOLDFAST_PROVISIONING__POLL_S": "0.3",
    "HOLDFAST_LOGS__FORMAT": "json",
}
READY_S = 120.0
DEPLOYED, IMAGE = "agent.deploy.execute_deploy_step", "write_image"
"""What a machine's agent hears once in every deployment, as the fleet's journal says it."""


class Farm:
    """``holdfast up`` and so many machines of one class, with a trait. ``start`` first."""

    def __init__(self, machines: int) -> None:
        self.up = Running(**SETTINGS)
        self._machines = machines
        self._fleet: Fleet | None = None
        self.macs: dict[str, str] = {}  # node -> MAC address
        self.names: dict[str, str] = {}  # node -> the machine's name in the journal

    @property
    def fleet(self) -> Fleet:
        assert self._fleet is not None
        return self._fleet

    @property
    def client(self) -> Client:
        """The unmodified client."""
        return Client(self.up.folder / "data" / "clouds.yaml")

    def api(self) -> Api:
        """Our own, for what is not tested here."""
        return Api(find_cloud(None, {}, self.up.folder / "data" / "clouds.yaml"))

    async def start(self, resource_class: str, trait: str) -> None:
        """Until every machine is available."""
        self.up.start()
        await self.up.until("Ctrl-C drains and stops")
        port = self.up.environ["HOLDFAST_API__PORT"]
        url = f"http://127.0.0.1:{port}/baremetal"
        self._fleet = Fleet(self.up.folder, url, count=self._machines)
        listed = self.fleet.control("machines")["machines"]
        async with self.api() as api:
            for number, (machine, found) in enumerate(
                zip(self.fleet.machines(), listed, strict=True)
            ):
                node = await api.create(f"node-{number}", machine.driver_info, machine.mac)
                self.macs[node], self.names[node] = machine.mac, found["name"]
                path = f"/baremetal/v1/nodes/{node}"
                change = {"op": "add", "path": "/resource_class", "value": resource_class}
                await api.call("PATCH", path, [change])
                await api.call("PUT", f"{path}/traits/{trait}")
                await api.provision(node, "manage")
            await self.reach(api, {"manageable": self._machines})
            for node in self.macs:
                await api.provision(node, "provide")
            await self.reach(api, {"available": self._machines})

    async def reach(self, api: Api, states: dict[str, int]) -> None:
        """Wait until so many nodes are in each state, and none in any other."""
        seen: dict[str, int] = {}
        end = time.monotonic() + READY_S
        while time.monotonic() < end:
            seen = dict(Counter(node["provision_state"] for node in await api.nodes()))
            if seen == states:
                return
        raise AssertionError(f"{states} was never reached; last seen: {seen}")

    def close(self) -> None:
        if self._fleet is not None:
            self._fleet.stop()
        self.up.close()

    # -- what the machines have seen -------------------------------------------------------

    def journal(self) -> Iterable[Line]:
        with self.fleet.journal.open("rb") as lines:
            yield from (line for line in read_lines(lines) if line is not None)

    def deployments(self) -> Counter[str]:
        """How often each node's machine was given an image, in the agents' own words."""
        by_name = {name: node for node, name in self.names.items()}
        written = (
            line
            for line in self.journal()
            if line.effect and line.action == DEPLOYED and line.value == IMAGE
        )
        return Counter(by_name[line.machine] for line in written)

    def images(self) -> dict[str, str]:
        """What is on each node's disk, as its machine says; empty: nothing."""
        by_name = {name: node for node, name in self.names.items()}
        written = (
            line for line in self.journal() if line.kind == "state" and line.action == "disk"
        )
        return {by_name[line.machine]: line.value for line in written}

    # -- what the API shows ----------------------------------------------------------------

    def outputs(self, stack: str) -> dict[str, Any]:
        """A stack's outputs, by name."""
        shown = self.client.json("stack", "output", "show", "--all", stack)
        values = {
            key: json.loads(one) if isinstance(one, str) else one for key, one in shown.items()
        }
        return {key: one["output_value"] for key, one in values.items()}

    def status(self, stack: str) -> str:
        return str(self.client.json("stack", "show", stack)["stack_status"])

    def until_status(self, stack: str, status: str, within_s: float = READY_S) -> None:
        until(lambda: self.status(stack) == status, f"{stack} is {status}", within_s)
