"""Simulated machines as the gateway meets them: a BMC, a power supply, a ramdisk agent.

Power takes its time; a machine that powers on with a network or CD boot device
starts the deploy ramdisk, whose agent calls back until it is heard. Everything a
machine is told goes into the world's journal, with the token it came under.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec

from holdfast.bmc.commands import Command
from holdfast.bmc.errors import (
    AgentBusyError,
    AgentSilentError,
    BmcRefusedError,
    BmcTimeoutError,
    BmcUnreachableError,
)
from holdfast.errors import HoldfastError, StoreUnavailableError
from holdfast.sim.loop import SimLoop
from holdfast.sim.network import Network, Server
from holdfast.store.model import Json, ObjectRef
from holdfast.store.port import Store

ON, OFF = "power on", "power off"
AGENT_STEPS = ("erase", "write_image", "write_boot")  # in the order of their priority
HEARTBEAT_S = 2.5


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """One command as the machine received it: a line of the referee's journal."""

    at: float
    machine: UUID
    token: int
    member: UUID
    job: UUID | None
    step: str
    attempt: int
    action: str
    params: dict[str, Json]
    done: bool  # False: the machine refused it

    def __str__(self) -> str:
        job = str(self.job)[:8] if self.job else "-"
        said = " ".join(str(value) for value in self.params.values() if isinstance(value, str))
        return (
            f"machine {str(self.machine)[:8]} token={self.token} job={job} "
            f"step={self.step}/{self.attempt} {self.action} {said}{'' if self.done else ' REFUSED'}"
        )


class Boot(msgspec.Struct):
    """One run of the ramdisk: what its agent was told, and what it has executed."""

    number: int
    commands: list[dict[str, Json]] = []
    executed: list[str] = []


class SimMachine:
    """One machine. ``stuck``: its power does not obey now; ``flawed``: its disk is broken."""

    def __init__(
        self,
        loop: SimLoop,
        ref: ObjectRef,
        api: Store,
        record: Callable[[Effect], None],
    ) -> None:
        self._loop = loop
        self._api = api
        self._record = record
        self.ref = ref
        self.server = Server(name=f"bmc-{str(ref.id)[:8]}")
        self.stuck = False
        self.flawed = False
        self.power = OFF
        self.powering_to: str | None = None
        self.boot_device = "disk"
        self.boot_once: str | None = None
        self.media: str | None = None
        self.boot: Boot | None = None  # of the ramdisk that runs now
        self.boots: list[Boot] = []
        self.runs: str | None = None  # "ramdisk" | "instance"
        self._changes = 0

    # -- what the BMC is asked -----------------------------------------------------

    async def receive(self, command: Command) -> dict[str, Json]:
        """Execute one command at one instant, and write it into the journal."""
        try:
            result = self._act(command.action, command.params)
        except HoldfastError:
            self._note(command, done=False)
            raise
        self._note(command, done=True)
        return result

    def _note(self, command: Command, *, done: bool) -> None:
        self._record(
            Effect(
                at=self._loop.now,
                machine=self.ref.id,
                token=command.token,
                member=command.origin.member,
                job=command.origin.job,
                step=command.origin.step,
                attempt=command.origin.attempt,
                action=command.action,
                params=command.params,
                done=done,
            )
        )

    def _act(self, action: str, params: dict[str, Json]) -> dict[str, Json]:
        if action == "observe":
            return {
                "power_state": self.power,
                "powering": self.powering_to is not None,
                "boot_device": self.boot_once or self.boot_device,
                "media": self.media,
            }
        if action == "verify":
            return {"vendor": "sim", "model": "sim", "system_id": "1", "uuid": str(self.ref.id)}
        if action == "set_power":
            self._switch(OFF if params["state"] == "soft power off" else params["state"])
        elif action == "set_boot_device":
            if params["persistent"]:
                self.boot_device, self.boot_once = params["device"], None
            else:
                self.boot_once = params["device"]
        elif action == "insert_media":
            self.media = params["url"]
        elif action == "eject_media":
            self.media = None
        elif action == "agent_commands":
            return {"commands": [dict(told) for told in self._agent().commands]}
        elif action == "agent_command":
            return self._tell_agent(str(params["name"]), params.get("params") or {})
        else:
            raise BmcRefusedError(f"this BMC knows no action {action!r}")
        return {}

    # -- power -----------------------------------------------------------------------

    def _switch(self, state: str) -> None:
        if self.stuck or (self.power == state and self.powering_to is None):
            return
        self.powering_to = state
        self._changes += 1
        takes_s = self._loop.random.uniform(0.1, 1.2)
        self._loop.call_outside(takes_s, self._switched, state, self._changes)

    def _switched(self, state: str, change: int) -> None:
        if change != self._changes:
            return  # it was told something else meanwhile
        self.powering_to = None
        if state == self.power:
            return
        self.power = state
        self.boot, self.runs = None, None
        if state == ON:
            device, self.boot_once = self.boot_once or self.boot_device, None
            if device == "pxe" or (device == "cdrom" and self.media):
                self.boot = Boot(len(self.boots) + 1)
                self.boots.append(self.boot)
                self.runs = "ramdisk"
                boots_s = self._loop.random.uniform(0.5, 3)
                self._loop.call_outside(boots_s, self._start_agent, self.boot)
            else:
                self.runs = "instance"

    # -- the ramdisk's agent -----------------------------------------------------------

    def _start_agent(self, boot: Boot) -> None:
        if boot is self.boot:
            self._loop.create_task(self._call_back(boot), context=self._loop.outside)

    async def _call_back(self, boot: Boot) -> None:
        """Look the own node up, then report in until the machine is switched off."""
        while boot is self.boot:
            try:
                node = await self._api.get_object(self.ref)
                job = await self._api.active_job(self.ref)
                if node is not None and job is not None and node.get("agent_boot") is not None:
                    beat = {
                        "boot": str(node["agent_boot"]),
                        "callback_url": f"http://{self.server.name}:9999",
                        "agent_version": "sim",
                    }
                    await self._api.signal(job.id, "heartbeat", beat)
            except StoreUnavailableError:
                await asyncio.sleep(0.5)
                continue
            await asyncio.sleep(HEARTBEAT_S)

    def _agent(self) -> Boot:
        if self.boot is None:
            raise AgentSilentError("no ramdisk agent answers: the machine does not run one")
        return self.boot

    def _tell_agent(self, name: str, params: dict[str, Any]) -> dict[str, Json]:
        boot = self._agent()
        if any(told["command_status"] == "RUNNING" for told in boot.commands):
            raise AgentBusyError("the agent is executing another command")
        extension, _, command = name.partition(".")
        told: dict[str, Json] = {"command_name": command, "command_status": "SUCCEEDED"}
        boot.commands.append(told)
        if command == f"get_{extension}_steps":
            ranked = zip(AGENT_STEPS, (30, 20, 10), strict=True)
            steps = [{"step": step, "priority": rank} for step, rank in ranked]
            told["command_result"] = {
                f"{extension}_steps": {"sim": steps},
                "hardware_manager_version": {"sim": "1"},
            }
        elif command == f"execute_{extension}_step":
            told["command_status"] = "RUNNING"
            step = str(params["step"]["step"])
            boot.executed.append(step)
            takes_s = self._loop.random.uniform(0.2, 2)
            end = "FAILED" if self.flawed and step == "write_image" else "SUCCEEDED"
            self._loop.call_outside(takes_s, told.update, {"command_status": end})
        return dict(told)


class Wiring:
    """``bmc.gateway.Device``: from the gateway's host to the machines."""

    def __init__(self, network: Network, source: str, machines: dict[UUID, SimMachine]) -> None:
        self._network = network
        self._source = source
        self._machines = machines

    async def execute(self, command: Command, secrets: dict[str, Json]) -> dict[str, Json]:
        """Carry one command to its machine and its answer back."""
        del secrets
        machine = self._machines[command.bmc]
        return await self._network.ask(
            self._source,
            machine.server,
            lambda: machine.receive(command),
            what=command.action,
            timeout_s=command.deadline_s,
            refusal=_unreachable if not machine.server.up else _silent,
        )


def _unreachable(why: str) -> BmcUnreachableError:
    return BmcUnreachableError(f"the BMC is not reached: {why}")


def _silent(why: str) -> BmcTimeoutError:
    return BmcTimeoutError(f"the BMC does not answer: {why}")
