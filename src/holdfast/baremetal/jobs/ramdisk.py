"""Steps that boot a machine's deploy ramdisk and drive its agent (deploy and clean alike)."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid5

from holdfast.baremetal.credentials import masked_steps
from holdfast.baremetal.jobs import agent_steps
from holdfast.baremetal.jobs.machine import POWER_OFF, POWER_ON, Machine
from holdfast.baremetal.jobs.settings import ProvisioningSettings
from holdfast.core.jobs import Done, Fail, Outcome, Sleep, Step, StepContext
from holdfast.store.model import Json

BOOTS_AGAIN_MAX = 3  # for whoever can ask for tokens could also have a machine boot for ever

MachineOf = Callable[[StepContext], Machine]


def deploy_iso(node: dict[str, Json]) -> str | None:
    """The node's virtual-media ramdisk; None: it boots from the network."""
    info: dict[str, Json] = node["driver_info"]
    interfaces: dict[str, Json] = node.get("interfaces") or {}
    iso = info.get("deploy_iso") or info.get("redfish_deploy_iso")
    chosen = interfaces.get("boot_interface")
    return str(iso) if iso and chosen in (None, "redfish-virtual-media") else None


def boots_no_ramdisk(node: dict[str, Json]) -> bool:
    """Whether the node's deploy interface does without one (that of ``fake-hardware``)."""
    interfaces: dict[str, Json] = node.get("interfaces") or {}
    return interfaces.get("deploy_interface") == "fake"


class Ramdisk:
    """The ramdisk half of a job. ``task``: "deploy" or "clean", the agent's extension.

    ``after``: the step that follows in the job. The job's arguments may name the
    agent's steps: ``clean_steps`` are all that is run, ``deploy_steps`` come on top.
    """

    def __init__(
        self,
        machine: MachineOf,
        settings: ProvisioningSettings,
        *,
        task: str,
        busy_state: str,
        wait_state: str,
        after: str,
    ) -> None:
        self._machine = machine
        self._settings = settings
        self._task = task
        self._busy = busy_state
        self._wait = wait_state
        self._after = after

    def steps(self) -> tuple[Step, ...]:
        """In order; the machine ends powered off, its agent's work done."""
        retry_s = self._settings.retry_s
        named = {
            "prepare_ramdisk": self._prepare,
            "power_off": self._power_off,
            "boot_ramdisk_device": self._boot_device,
            "power_on_ramdisk": self._power_on,
            "wait_agent": self._wait_agent,
            "plan_agent_steps": self._plan,
            "run_agent_steps": self._run,
            "sync_agent": self._sync,
            "power_off_ramdisk": self._power_off,
            "eject_ramdisk": self._eject,
        }
        return tuple(Step(name=n, run=run, retry_s=retry_s) for n, run in named.items())

    async def _prepare(self, ctx: StepContext) -> Outcome:
        if boots_no_ramdisk(ctx.object):
            return self._skip(ctx)
        # Named by the job and their number: beginning this step twice names the same boot.
        boots = int(ctx.memo.get("boots", 0))
        boot: UUID = uuid5(ctx.job.id, f"{self._task}/{boots}" if boots else self._task)
        patch: dict[str, Json] = {"provision_state": self._busy, "last_error": None}
        if ctx.object.get("agent_boot") != boot:
            patch |= {"agent_boot": boot, "agent_secret": None, "agent_url": None}
        return Done(patch=patch, memo={"boots": boots})

    def _skip(self, ctx: StepContext) -> Outcome:
        if ctx.args.get("clean_steps") or ctx.args.get("deploy_steps"):
            return Fail(code="no_steps", message="the deploy interface 'fake' has no steps to run")
        patch: dict[str, Json] = {"provision_state": self._busy, "last_error": None}
        return Done(output={"ramdisk": "none"}, patch=patch, goto=self._after)

    async def _power_off(self, ctx: StepContext) -> Outcome:
        return await self._machine(ctx).converge_power(POWER_OFF)

    async def _boot_device(self, ctx: StepContext) -> Outcome:
        machine, iso = self._machine(ctx), deploy_iso(ctx.object)
        if iso is not None:
            await machine.send("insert_media", {"url": iso})
        device = "pxe" if iso is None else "cdrom"
        await machine.send("set_boot_device", {"device": device, "persistent": False})
        return Done(output={"device": device})

    async def _power_on(self, ctx: StepContext) -> Outcome:
        outcome = await self._machine(ctx).converge_power(POWER_ON)
        if isinstance(outcome, Done):
            return Done(
                patch={**outcome.patch, "provision_state": self._wait},
                memo={**(outcome.memo or {}), "callback_since": ctx.now},
            )
        return outcome

    async def _wait_agent(self, ctx: StepContext) -> Outcome:
        heartbeat: dict[str, Json] = ctx.inbox.get("heartbeat") or {}
        if heartbeat.get("boot") == str(ctx.object["agent_boot"]):
            return Done(
                patch={
                    "provision_state": self._busy,
                    "agent_url": heartbeat["callback_url"],
                    "agent_version": heartbeat.get("agent_version"),
                },
                memo={},
            )
        boots = int(ctx.memo.get("boots", 0))
        locked_out: dict[str, Json] = ctx.inbox.get("locked_out") or {}
        if locked_out.get("boot") == str(ctx.object["agent_boot"]) and boots < BOOTS_AGAIN_MAX:
            # It has no token: the answer to its lookup was lost, as when an API process dies.
            return Done(output={"boot": "void"}, memo={"boots": boots + 1}, goto="prepare_ramdisk")
        since = float(ctx.memo.get("callback_since", ctx.now))
        left_s = since + self._settings.callback_timeout_s - ctx.now
        if left_s <= 0:
            return Fail(
                code="callback_timeout",
                message="the ramdisk agent did not call back within "
                f"{self._settings.callback_timeout_s:.0f} s of power on; check that the machine "
                "boots the ramdisk and reaches this API, and that the node has a port with its "
                "MAC address (openstack baremetal port list --node)",
            )
        return Sleep(
            seconds=left_s,
            memo={"boots": boots, "callback_since": since},
            progress="waiting for the agent's call-back",
        )

    async def _plan(self, ctx: StepContext) -> Outcome:
        machine = self._machine(ctx)
        answer = await machine.agent(
            f"{self._task}.get_{self._task}_steps",
            {"node": agent_node(ctx.object, machine.instance_info()), "ports": []},
        )
        if answer.get("command_status") not in (None, "SUCCEEDED"):
            return Fail(
                code="agent_failed", message=_complaint(machine, "listing its steps", answer)
            )
        result: dict[str, Json] = answer.get("command_result") or {}
        there = agent_steps.offered(result, self._task)
        asked = self._asked(machine)
        plan = agent_steps.planned if "clean_steps" not in ctx.args else agent_steps.manual
        steps = masked_steps(plan(there, agent_steps.numbered(asked)))
        version: dict[str, Json] = result.get("hardware_manager_version") or {}
        return Done(
            output={"steps": [s.get("step") for s in steps]},
            memo={"steps": steps, "version": version, "index": 0},
        )

    def _asked(self, machine: Machine) -> list[dict[str, Json]]:
        exactly = machine.asked_steps("clean_steps")
        return (machine.asked_steps("deploy_steps") or []) if exactly is None else exactly

    async def _run(self, ctx: StepContext) -> Outcome:
        """Run the agent's steps one after the other, each exactly once.

        The agent of this boot hears only from this job, so its n-th execution is
        the n-th step, whoever sent it: a successor looks before it sends.
        """
        memo = ctx.memo
        steps: list[dict[str, Json]] = memo["steps"]
        machine, name = self._machine(ctx), f"execute_{self._task}_step"
        told = [c for c in await machine.agent_commands() if c.get("command_name") == name]
        index = int(memo["index"])
        while index < len(told):
            status = told[index].get("command_status")
            if status == "RUNNING":
                return self._running(ctx, index)
            if status != "SUCCEEDED":
                label = f"step {steps[index].get('step')!r}"
                return Fail(code="agent_failed", message=_complaint(machine, label, told[index]))
            index += 1
        if index >= len(steps):
            return Done(output={"executed": index}, memo={}, patch={f"{self._task}_step": {}})
        await machine.agent(
            f"{self._task}.{name}",
            {
                "step": agent_steps.complete(steps[index], self._asked(machine)),
                "node": agent_node(ctx.object, machine.instance_info()),
                "ports": [],
                f"{self._task}_version": memo["version"],
            },
            wait=False,
        )
        return self._running(ctx, index)

    def _running(self, ctx: StepContext, index: int) -> Outcome:
        memo = ctx.memo
        same = memo.get("running") == index
        since = float(memo["since"]) if same else ctx.now
        step = memo["steps"][index]
        if ctx.now - since > self._settings.agent_step_timeout_s:
            limit_s = self._settings.agent_step_timeout_s
            return Fail(
                code="agent_timeout",
                message=f"the agent's step {step.get('step')!r} ran longer than {limit_s:.0f} s",
            )
        return Sleep(
            seconds=self._settings.poll_s,
            memo={**memo, "index": index, "running": index, "since": since},
            patch={} if same else {f"{self._task}_step": agent_steps.shown(step)},
            progress=f"agent: {step.get('step')} ({index + 1} of {len(memo['steps'])})",
        )

    async def _sync(self, ctx: StepContext) -> Outcome:
        machine = self._machine(ctx)
        answer = await machine.agent("standby.sync")
        if answer.get("command_status") not in (None, "SUCCEEDED"):
            return Fail(
                code="agent_failed", message=_complaint(machine, "flushing its disks", answer)
            )
        return Done()

    async def _eject(self, ctx: StepContext) -> Outcome:
        if deploy_iso(ctx.object) is not None:
            await self._machine(ctx).send("eject_media")
        # The boot is over: its token opens nothing any more.
        return Done(patch={"agent_secret": None, "agent_boot": None, "agent_url": None})


def agent_node(node: dict[str, Json], instance_info: dict[str, Json]) -> dict[str, Json]:
    """What the agent is told of its node: never a credential of the machine's own."""
    shown = ("name", "driver", "properties", "instance_uuid", "resource_class")
    told = {key: node.get(key) for key in shown}
    told["instance_uuid"] = None if told["instance_uuid"] is None else str(told["instance_uuid"])
    return {
        **told,
        "instance_info": instance_info,
        "uuid": str(node["uuid"]),
        "driver_internal_info": {},
        "provision_state": node["provision_state"],
    }


def _complaint(machine: Machine, what: str, answer: dict[str, Json]) -> str:
    error = answer.get("command_error") or answer.get("command_result") or "no reason given"
    status = answer.get("command_status")
    return f"the ramdisk agent failed {what} ({status}): {machine.masked(str(error))[:1000]}"
