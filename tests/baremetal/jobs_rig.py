"""A conductor's job runner on virtual time, with one machine behind a direct line.

The machine is a plain model that counts what it was told; faults are injected
between the runner and the store, where a process really dies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import msgspec

from holdfast.baremetal.credentials import SecretBox, encrypt_step_secrets, masked_steps
from holdfast.baremetal.jobs import handlers
from holdfast.baremetal.jobs.settings import ProvisioningSettings
from holdfast.bmc.commands import Origin, Target
from holdfast.bmc.errors import BmcError, BmcUnreachableError, StaleTokenError
from holdfast.core.jobs import Handler
from holdfast.core.lease import TrustWindow
from holdfast.core.runner import JobRunner
from holdfast.errors import StoreUnavailableError
from holdfast.sim.belongings import MemBelongings
from holdfast.sim.loop import SimLoop
from holdfast.sim.memstore import MemStore
from holdfast.store.model import Fence, Job, Member, MemberSpec, NewJob, ObjectRef, Submission

NODE = UUID(int=77)
LEASE_S = 5.0
BOOT_S = 3.0
INVENTORY: dict[str, Any] = {
    "cpu": {"architecture": "x86_64", "count": 64, "frequency": 2600, "model_name": "m"},
    "memory": {"physical_mb": 65536},
    "disks": [{"name": "a", "size": 480 * 10**9}, {"name": "b", "size": 960 * 10**9}],
    "interfaces": [
        {"name": "1", "mac_address": "02:00:00:00:00:01", "enabled": True},
        {"name": "2", "mac_address": "02:00:00:00:00:02", "enabled": False},
    ],
    "system_vendor": {"manufacturer": "Mock", "product_name": "One", "serial_number": "7"},
    "boot": {"current_boot_mode": "uefi"},
}


class PlainBox:
    """Keeps a secret by not hiding it: what is tested here is not cryptography."""

    def encrypt(self, plaintext: bytes, context: bytes) -> bytes:
        return context + b"|" + plaintext

    def decrypt(self, blob: bytes, context: bytes) -> bytes:
        assert blob.startswith(context + b"|")
        return blob.removeprefix(context + b"|")


class MachineModel:
    """One machine: power, boot device, media, and the agent its ramdisk would run."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.power = "power off"
        self.device = "disk"
        self.media: str | None = None
        self.boots: list[str] = []
        self.commands: list[dict[str, Any]] = []
        self.executed: list[str] = []
        self.highest_token = 0
        self.unreachable = 0  # this many commands fail before one is let through
        self.fault: BmcError = BmcUnreachableError("connection refused")  # how they fail
        self.fails_after_s = 0.0
        self.agent_steps = {
            "deploy": ["write_image", "install", "burnin"],
            "clean": ["erase_metadata", "burnin"],
        }
        self.arguments: list[Any] = []  # of the steps that were executed
        self.told: list[Any] = []  # the nodes as the agent was told of them
        self.failing_step: str | None = None
        self.calls_back = True
        self.nmis = 0
        self.call_back: Callable[[], None] = lambda: None

    async def send(
        self,
        obj: ObjectRef,
        token: int,
        target: Target,
        secrets: dict[str, str],
        action: str,
        params: dict[str, Any],
        origin: Origin,
        deadline_s: float,
    ) -> dict[str, Any]:
        await asyncio.sleep(0.01)
        if self.unreachable:
            self.unreachable -= 1
            await asyncio.sleep(self.fails_after_s)
            raise type(self.fault)(self.fault.message)
        if token < self.highest_token:
            raise StaleTokenError("a higher token was seen")
        self.highest_token = token
        return getattr(self, f"_{action}")(params) or {}

    def _observe(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"power_state": self.power, "powering": False, "boot_device": self.device}

    def _verify(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"vendor": "model", "system_id": "1"}

    def _inspect(self, params: dict[str, Any]) -> dict[str, Any]:
        return INVENTORY

    def _set_power(self, params: dict[str, Any]) -> None:
        self.power = "power on" if params["state"] == "power on" else "power off"
        self.commands = []
        if self.power == "power on":
            self.boots.append(self.device)
            if self.device in ("cdrom", "pxe"):
                self.device = "disk"
                if self.calls_back:
                    self._loop.call_later(BOOT_S, self.call_back)

    def _set_boot_device(self, params: dict[str, Any]) -> None:
        self.device = params["device"]

    def _insert_media(self, params: dict[str, Any]) -> None:
        self.media = params["url"]

    def _eject_media(self, params: dict[str, Any]) -> None:
        self.media = None

    def _inject_nmi(self, params: dict[str, Any]) -> None:
        self.nmis += 1

    def _agent_commands(self, params: dict[str, Any]) -> dict[str, Any]:
        return {"commands": [dict(c) for c in self.commands]}

    def _agent_command(self, params: dict[str, Any]) -> dict[str, Any]:
        task, _, name = params["name"].partition(".")
        command = {"command_name": name, "command_status": "SUCCEEDED", "command_result": {}}
        if name == f"get_{task}_steps":
            steps = [
                {"step": step, "interface": "deploy", "priority": 90 - 10 * i}
                for i, step in enumerate(self.agent_steps[task])
            ]
            steps[-1] |= {"priority": 0, "argsinfo": {"hours": {"required": True}, "loops": {}}}
            command["command_result"] = {f"{task}_steps": {"Hardware": steps}}
        elif name == f"execute_{task}_step":
            self.told.append(params["params"]["node"])
            step = params["params"]["step"]["step"]
            self.executed.append(step)
            self.arguments.append(params["params"]["step"].get("args"))
            command["command_status"] = "FAILED" if step == self.failing_step else "SUCCEEDED"
            if step == self.failing_step:
                command["command_error"] = {"message": f"cannot: {params['params']}"}
        self.commands.append(command)
        return command


class FaultyStore:
    """The store as one process sees it, dying at a chosen write of a step's end.

    ``when`` is "before" (the step ran, its end is not written) or "after"
    (written, but nobody hears of it). ``at`` counts step ends from 0.
    """

    def __init__(self, store: MemStore, at: int | None, when: str) -> None:
        self._store = store
        self._at = at
        self._when = when
        self.ends = 0
        self.died = False

    def __getattr__(self, name: str) -> Any:
        if self.died:
            return self._dead
        if name in ("end_step", "sleep_step"):
            return lambda *args: self._end(name, *args)
        return getattr(self._store, name)

    async def _dead(self, *args: Any, **kwargs: Any) -> Any:
        raise StoreUnavailableError("this process is dead")

    async def _end(self, name: str, fence: Fence, job: UUID, end: Any) -> Job:
        hit = self.ends == self._at
        self.ends += 1
        if hit:
            self.died = True
        if hit and self._when == "before":
            raise StoreUnavailableError("died before writing")
        done: Job = await getattr(self._store, name)(fence, job, end)
        if hit:
            raise StoreUnavailableError("died after writing")
        return done


class LoopClock:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        return self._loop.time()


class Rig:
    """One node, one machine, and conductors that follow each other."""

    def __init__(
        self,
        *,
        settings: ProvisioningSettings | None = None,
        box: SecretBox | None = None,
        **node: Any,
    ) -> None:
        self.box = box or PlainBox()
        self.loop = SimLoop(3)
        self.clock = LoopClock(self.loop)
        self.store = MemStore(self.loop.time, {"node": None})
        self.machine = MachineModel(self.loop)
        self.machine.call_back = self._heartbeat
        self.belongings = MemBelongings(self.store.tables)
        self.settings = settings or ProvisioningSettings(
            callback_timeout_s=60, retry_s=20, operator_retry_s=10
        )
        self.node = {
            "uuid": NODE,
            "name": "n",
            "driver": "redfish",
            "driver_info": {
                "redfish_address": "http://127.0.0.1:1",
                "deploy_iso": "http://x/d.iso",
            },
            "driver_secrets": None,
            "instance_info": {},
            "properties": {},
            "power_state": None,
            "target_power_state": None,
            "last_error": None,
            **node,
        }
        self.owners = 0
        self.ends = 0
        self._signals: set[asyncio.Task[Any]] = set()

    @property
    def document(self) -> dict[str, Any]:
        return self.store.tables.objects["node"][NODE]

    def _heartbeat(self) -> None:
        job_id = self.store.tables.active.get(NODE)
        boot = self.document.get("agent_boot")
        if job_id is None or boot is None:
            return
        payload = {"callback_url": "http://127.0.0.1:9999", "boot": str(boot)}
        task = self.loop.create_task(self.store.signal(job_id, "heartbeat", payload))
        self._signals.add(task)

    async def conductor(self, faults: FaultyStore) -> None:
        """One incarnation: takes all shards, runs jobs until it dies or the job has ended."""
        spec = MemberSpec(id=self.loop.uuid(), role="conductor", slot="c", host="h")
        member: Member = await self.store.register(spec, LEASE_S)
        await self.store.take("", [0], member.id, member.epoch)
        self.owners += 1
        window = TrustWindow(self.clock, 1e9, 1.0)
        window.renewed(self.clock.now())
        made: Mapping[str, Handler] = handlers(
            self.machine, self.box, self.settings, self.belongings
        )
        runner = JobRunner(faults, member, window, self.clock, made, tuple, 10)  # pyright: ignore[reportArgumentType]
        while not faults.died and NODE in self.store.tables.active:
            try:
                await runner.poll()
            except StoreUnavailableError:
                break
            await asyncio.sleep(0.5)
        await runner.stop()
        await self.store.end_lease(member.id, member.epoch, "died")

    def _sealed(self, new: NewJob) -> NewJob:
        """The job as the API submits it: the arguments of its steps sealed on the node."""
        for name in {"clean_steps", "deploy_steps"} & set(new.args):
            steps = new.args[name]
            given = [step.get("args") or {} for step in steps]
            self.document["step_secrets"] = encrypt_step_secrets(self.box, NODE, new.id, given)
            new = msgspec.structs.replace(new, args={**new.args, name: masked_steps(steps)})
        return new

    def run(
        self,
        kind: str,
        args: dict[str, Any] | None = None,
        *,
        deadline_s: float | None = None,
        die_at: int | None = None,
        when: str = "after",
        meanwhile: Callable[[Rig, UUID], Any] | None = None,
    ) -> Job:
        """Run one job to its end over as many conductors as it takes; returns the job."""

        async def main() -> Job:
            await self.store.ensure_shards("", 1)
            if NODE not in self.store.tables.objects["node"]:
                self.store.add_object("node", self.node)
            new = NewJob(
                id=self.loop.uuid(),
                kind=kind,
                object=ObjectRef("node", NODE),
                args=args or {},
                deadline_s=deadline_s,
            )
            new = self._sealed(new)
            await self.store.submit(Submission(job=new))
            if meanwhile is not None:
                self._signals.add(self.loop.create_task(meanwhile(self, new.id)))
            first = True
            while NODE in self.store.tables.active:
                faults = FaultyStore(self.store, die_at if first else None, when)
                await self.conductor(faults)
                self.ends += faults.ends
                first = False
            job = await self.store.job(new.id)
            assert job is not None
            return job

        return self.loop.run(asyncio.wait_for(main(), 5000))
