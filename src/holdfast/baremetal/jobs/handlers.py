"""The handlers themselves: which steps, and what each end means for the node."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from holdfast.baremetal.credentials import SecretBox
from holdfast.baremetal.jobs.belongings import Belongings
from holdfast.baremetal.jobs.inspection import addresses_of, boot_mode_of, properties_of
from holdfast.baremetal.jobs.machine import (
    POWER_OFF,
    POWER_ON,
    SOFT_POWER_OFF,
    Machine,
    MissingDriverInfoError,
    Sender,
    machine_of,
)
from holdfast.baremetal.jobs.ramdisk import Ramdisk
from holdfast.baremetal.jobs.settings import ProvisioningSettings
from holdfast.bmc.errors import SILENT
from holdfast.core.jobs import Done, Fail, Handler, Outcome, Step, StepContext
from holdfast.store.model import Job, JobError, JobState, Json, Write

Patch = dict[str, Json]

STABLE: Patch = {"target_provision_state": None, "last_error": None}
UNANSWERED = (
    " Check redfish_address in driver_info, that the BMC is up, and that the gateway's host "
    "reaches it; then ask again."
)


class NodeHandler(msgspec.Struct, frozen=True, kw_only=True):
    """A ``core.jobs.Handler`` for nodes. ``failure`` is also the end of an abort.

    ``while_cleaning``: the failure once the node was being cleaned, where that is another.
    """

    kind: str
    steps: tuple[Step, ...]
    cleanup: tuple[Step, ...] = ()
    success: Patch
    failure: Patch
    while_cleaning: Patch = {}
    provisions: bool = True  # moves provision_state (as opposed to power)

    def ended(
        self, obj: Mapping[str, Json], job: Job, state: JobState, error: JobError | None
    ) -> Patch:
        if state is JobState.SUCCEEDED:
            patch = dict(self.success)
            if obj.get("retired") and patch.get("provision_state") == "available":
                patch["provision_state"] = "manageable"
        else:
            patch = dict(self.failure)
            if obj.get("provision_state") in ("cleaning", "clean wait"):
                patch |= self.while_cleaning
            if error is not None:
                failed = f"{job.kind.removeprefix('node.')} failed: {error.message}"
                patch["last_error"] = failed + (UNANSWERED if error.code in SILENT else "")
        if self.provisions:
            patch |= {"deploy_step": {}, "clean_step": {}, "step_secrets": None}
        return patch

    def closing(self, job: Job, error: JobError, now: float) -> tuple[Write, ...]:
        raise LookupError("a bound job writes its object's fields")

    def trouble(self, error: JobError) -> Patch:
        return {"last_error": error.message}


class Workshop:
    """Makes the handlers around one sender, secret box, settings, and the tables beside."""

    def __init__(
        self,
        sender: Sender,
        box: SecretBox,
        settings: ProvisioningSettings,
        belongings: Belongings,
    ) -> None:
        self._sender = sender
        self._box = box
        self._settings = settings
        self._belongings = belongings

    def machine(self, ctx: StepContext) -> Machine:
        return machine_of(ctx, self._sender, self._box, self._settings)

    def all(self) -> dict[str, Handler]:
        made: tuple[Handler, ...] = (
            self.verify(),
            self.inspect(),
            self.clean(),
            self.adopt(),
            self.provide(),
            self.deploy(),
            self.undeploy(),
            self.power(),
            self.boot_device(),
            self.media(),
            self.inject_nmi(),
        )
        return {handler.kind: handler for handler in made}

    def verify(self) -> Handler:
        """Enroll -> verifying -> manageable: the BMC answers to these credentials."""
        return NodeHandler(
            kind="node.verify",
            steps=(self._asked("verify", self._verify),),
            success={"provision_state": "manageable", **STABLE},
            failure={"provision_state": "enroll", "target_provision_state": None},
        )

    def inspect(self) -> Handler:
        """Manageable -> inspecting -> manageable, with an inventory, properties and ports."""
        return NodeHandler(
            kind="node.inspect",
            steps=(self._step("inspect", self._inspect),),
            success={"provision_state": "manageable", **STABLE},
            failure={"provision_state": "inspect failed", "target_provision_state": "manageable"},
        )

    def clean(self) -> Handler:
        """Manageable -> cleaning -> manageable: the steps that were asked for, no others."""
        return NodeHandler(
            kind="node.clean",
            steps=self._cleaning(),
            cleanup=self._safe_end(),
            success={"provision_state": "manageable", **STABLE},
            failure={"provision_state": "clean failed", "target_provision_state": "manageable"},
        )

    def adopt(self) -> Handler:
        """Manageable -> adopting -> active: the machine runs already, and is only looked at."""
        return NodeHandler(
            kind="node.adopt",
            steps=(self._asked("adopt", self._verify),),
            success={"provision_state": "active", **STABLE},
            failure={"provision_state": "adopt failed", "target_provision_state": "active"},
        )

    def provide(self) -> Handler:
        """Manageable -> cleaning -> available."""
        return NodeHandler(
            kind="node.provide",
            steps=(self._step("decide_cleaning", self._decide_cleaning), *self._cleaning()),
            cleanup=self._safe_end(),
            success={"provision_state": "available", **STABLE},
            failure={"provision_state": "clean failed", "target_provision_state": "available"},
        )

    def deploy(self) -> Handler:
        """Available -> deploying -> wait call-back -> deploying -> active."""
        ramdisk = Ramdisk(
            self.machine,
            self._settings,
            task="deploy",
            busy_state="deploying",
            wait_state="wait call-back",
            after="boot_instance_device",
        )
        return NodeHandler(
            kind="node.deploy",
            steps=(
                *ramdisk.steps(),
                self._step("boot_instance_device", self._boot_disk),
                self._step("power_on_instance", self._power_on),
            ),
            cleanup=self._safe_end(),
            success={"provision_state": "active", **STABLE},
            failure={"provision_state": "deploy failed", "target_provision_state": "active"},
        )

    def undeploy(self) -> Handler:
        """Active -> deleting -> cleaning -> available."""
        return NodeHandler(
            kind="node.undeploy",
            steps=(
                self._step("tear_down", self._tear_down),
                self._step("release_allocation", self._release),
                self._step("decide_cleaning", self._decide_cleaning),
                *self._cleaning(),
            ),
            cleanup=self._safe_end(),
            success={"provision_state": "available", **STABLE},
            failure={"provision_state": "error", "target_provision_state": "available"},
            while_cleaning={"provision_state": "clean failed"},
        )

    def power(self) -> Handler:
        """Power on, off, and both; soft variants ask the operating system first."""
        return NodeHandler(
            kind="node.power",
            steps=(
                self._asked("power_off_first", self._power_down),
                self._asked("power", self._power),
            ),
            success={"target_power_state": None, "last_error": None},
            failure={"target_power_state": None},
            provisions=False,
        )

    def boot_device(self) -> Handler:
        """Set the boot device, once or for good."""
        return self._errand("node.boot_device", "set_boot_device", self._set_boot_device)

    def media(self) -> Handler:
        """Insert an image into the virtual CD drive, or leave the drive empty."""
        return self._errand("node.media", "set_media", self._set_media)

    def inject_nmi(self) -> Handler:
        """Interrupt the processor, so that the operating system writes a dump."""
        return self._errand("node.inject_nmi", "inject_nmi", self._inject_nmi)

    def _errand(
        self, kind: str, name: str, run: Callable[[StepContext], Awaitable[Outcome]]
    ) -> Handler:
        return NodeHandler(
            kind=kind,
            steps=(self._asked(name, run),),
            success={"last_error": None},
            failure={},
            provisions=False,
        )

    def _step(
        self,
        name: str,
        run: Callable[[StepContext], Awaitable[Outcome]],
        retry_s: float | None = None,
    ) -> Step:
        return Step(name=name, run=run, retry_s=retry_s or self._settings.retry_s)

    def _asked(self, name: str, run: Callable[[StepContext], Awaitable[Outcome]]) -> Step:
        """A step that somebody waits for: a BMC that is silent is the operator's to mend."""
        brief_s = self._settings.operator_retry_s
        step = self._step(name, run)
        return msgspec.structs.replace(step, brief=SILENT, brief_s=brief_s)

    def _cleaning(self) -> tuple[Step, ...]:
        ramdisk = Ramdisk(
            self.machine,
            self._settings,
            task="clean",
            busy_state="cleaning",
            wait_state="clean wait",
            after="cleaned",
        )
        return (*ramdisk.steps(), self._step("cleaned", self._cleaned))

    def _safe_end(self) -> tuple[Step, ...]:
        """After a failure or an abort no half-made system keeps running."""
        return (self._step("power_off_failed", self._safe_off, retry_s=30.0),)

    async def _verify(self, ctx: StepContext) -> Outcome:
        machine = self.machine(ctx)
        try:
            found = await machine.send("verify")
        except MissingDriverInfoError as fault:
            return Fail(code="missing_driver_info", message=str(fault))
        state, _ = await machine.power()
        return Done(output=found, patch={"power_state": state})

    async def _inspect(self, ctx: StepContext) -> Outcome:
        node = ctx.object
        found = await self.machine(ctx).send("inspect")
        patch: Patch = {"inspection_finished_at": ctx.now}
        if not found:  # hardware that has nothing to tell
            return Done(patch=patch)
        addresses = addresses_of(found)
        made = await self._belongings.keep_inventory(ctx.fence, node["uuid"], found, addresses)
        patch["properties"] = properties_of(found, node.get("properties") or {})
        if (mode := boot_mode_of(found)) is not None:
            patch["boot_mode"] = mode
        return Done(output={"ports": made}, patch=patch)

    async def _release(self, ctx: StepContext) -> Outcome:
        await self._belongings.release_allocation(ctx.fence, ctx.object["uuid"])
        return Done()

    async def _decide_cleaning(self, ctx: StepContext) -> Outcome:
        wanted = ctx.object.get("automated_clean")
        if self._settings.automated_clean if wanted is None else wanted:
            return Done(patch={"provision_state": "cleaning"})
        return Done(output={"cleaning": "disabled"}, goto="cleaned")

    async def _cleaned(self, ctx: StepContext) -> Outcome:
        return Done()

    async def _boot_disk(self, ctx: StepContext) -> Outcome:
        chosen: dict[str, Json] = {"device": "disk", "persistent": True}
        await self.machine(ctx).send("set_boot_device", chosen)
        return Done(patch=_boot_device_known(ctx, chosen))

    async def _power_on(self, ctx: StepContext) -> Outcome:
        return await self.machine(ctx).converge_power(POWER_ON)

    async def _tear_down(self, ctx: StepContext) -> Outcome:
        outcome = await self.machine(ctx).converge_power(POWER_OFF)
        if not isinstance(outcome, Done):
            return outcome
        gone: Patch = {
            "instance_info": {},
            "instance_secrets": None,
            "instance_uuid": None,
            "allocation_uuid": None,
            "agent_secret": None,
            "agent_boot": None,
            "agent_url": None,
        }
        return Done(patch={**outcome.patch, **gone}, memo=outcome.memo)

    async def _safe_off(self, ctx: StepContext) -> Outcome:
        outcome = await self.machine(ctx).converge_power(POWER_OFF)
        if isinstance(outcome, Done):
            return Done(patch={**outcome.patch, "agent_secret": None, "agent_boot": None})
        return outcome

    async def _power_down(self, ctx: StepContext) -> Outcome:
        target = str(ctx.args["target"])
        if target in (POWER_ON, POWER_OFF, SOFT_POWER_OFF):
            return Done()
        return await self._converge(ctx, POWER_OFF, soft=target.startswith("soft"))

    async def _power(self, ctx: StepContext) -> Outcome:
        """The last step, so that whoever sees the new state finds the node free."""
        target = str(ctx.args["target"])
        if target in (POWER_OFF, SOFT_POWER_OFF):
            return await self._converge(ctx, POWER_OFF, soft=target == SOFT_POWER_OFF)
        return await self._converge(ctx, POWER_ON)

    async def _converge(self, ctx: StepContext, state: str, *, soft: bool = False) -> Outcome:
        command = SOFT_POWER_OFF if soft else None
        return await self.machine(ctx).converge_power(
            state, command=command, timeout_s=ctx.args.get("timeout")
        )

    async def _set_boot_device(self, ctx: StepContext) -> Outcome:
        chosen = {"device": ctx.args["device"], "persistent": bool(ctx.args.get("persistent"))}
        await self.machine(ctx).send("set_boot_device", chosen)
        return Done(patch=_boot_device_known(ctx, chosen))

    async def _set_media(self, ctx: StepContext) -> Outcome:
        url = ctx.args.get("url")
        if url is None:
            await self.machine(ctx).send("eject_media")
        else:
            await self.machine(ctx).send("insert_media", {"url": url})
        return Done()

    async def _inject_nmi(self, ctx: StepContext) -> Outcome:
        await self.machine(ctx).send("inject_nmi")
        return Done()


def _boot_device_known(ctx: StepContext, chosen: dict[str, Json]) -> Patch:
    """What the API shows as the node's boot device: the one that was last set."""
    known: dict[str, Json] = ctx.object.get("driver_internal_info") or {}
    return {"driver_internal_info": {**known, "boot_device": chosen}}


def handlers(
    sender: Sender, box: SecretBox, settings: ProvisioningSettings, belongings: Belongings
) -> dict[str, Handler]:
    """All bare-metal handlers by kind."""
    return Workshop(sender, box, settings, belongings).all()
