"""A machine as a step sees it: commands through the gateway, under the step's claim."""

from __future__ import annotations

import asyncio
from typing import Protocol
from uuid import UUID

from holdfast.baremetal.credentials import (
    SecretBox,
    decrypt_agent_token,
    decrypt_driver_secrets,
    decrypt_instance_secrets,
    decrypt_step_secrets,
    without,
)
from holdfast.baremetal.drivers import FAKE, FAKE_POWER_DELAY
from holdfast.baremetal.jobs.settings import ProvisioningSettings
from holdfast.bmc.commands import Origin, Target
from holdfast.bmc.errors import AgentError, PacedError
from holdfast.core.jobs import Done, Fail, Outcome, Sleep, StepContext
from holdfast.store.model import Json, ObjectRef
from holdfast.store.secrets import SecretError

POWER_ON = "power on"
POWER_OFF = "power off"
SOFT_POWER_OFF = "soft power off"
# Looked at soon after a command: most transitions are quick, and a sleep costs two commits.
QUICK_LOOKS_S = (0.1, 0.3, 0.6)


class Sender(Protocol):
    """What ``bmc.dispatch.Dispatcher`` offers."""

    async def send(
        self,
        obj: ObjectRef,
        token: int,
        target: Target,
        secrets: dict[str, str],
        action: str,
        params: dict[str, Json],
        origin: Origin,
        deadline_s: float,
    ) -> dict[str, Json]: ...


class MissingDriverInfoError(ValueError):
    """Names the keys of driver_info that are missing."""


def redfish_target(info: dict[str, Json]) -> Target:
    """Where a node's BMC is. Raises ``MissingDriverInfoError`` naming what is missing."""
    address = info.get("redfish_address")
    if not address:
        raise MissingDriverInfoError("driver_info lacks redfish_address; set it on the node")
    address = str(address)
    if "://" not in address:
        address = f"https://{address}"
    verify = info.get("redfish_verify_ca", True)
    if isinstance(verify, str) and verify.lower() in ("true", "false"):
        verify = verify.lower() == "true"
    return Target(
        protocol="redfish",
        address=address.rstrip("/"),
        system_id=info.get("redfish_system_id"),
        verify_ca=verify,
        auth_type=str(info.get("redfish_auth_type", "auto")),
    )


class Machine:
    """One node's BMC and ramdisk agent, for one run of one step."""

    def __init__(
        self, ctx: StepContext, sender: Sender, box: SecretBox, settings: ProvisioningSettings
    ) -> None:
        self._ctx = ctx
        self._sender = sender
        self._box = box
        self._settings = settings

    async def send(self, action: str, params: dict[str, Json] | None = None) -> dict[str, Json]:
        """Have the gateway execute one action (``bmc.commands.Command``)."""
        ctx = self._ctx
        node = ctx.object
        uuid: UUID = node["uuid"]
        info: dict[str, Json] = node["driver_info"]
        stored = decrypt_driver_secrets(self._box, uuid, node.get("driver_secrets"))
        secrets = {
            "username": str(info.get("redfish_username", "")),
            "password": stored.get("redfish_password", ""),
        }
        blob, boot = node.get("agent_secret"), node.get("agent_boot")
        if action.startswith("agent_") and blob is not None and boot is not None:
            secrets["agent_token"] = decrypt_agent_token(self._box, uuid, boot, blob)
        origin = Origin(
            member=ctx.member.id,
            epoch=ctx.token,
            job=ctx.job.id,
            step=ctx.job.step or "",
            attempt=ctx.job.attempt,
        )
        ctx.guard()
        return await self._sender.send(
            ctx.job.object,
            ctx.token,
            redfish_target(info),
            secrets,
            action,
            params or {},
            origin,
            self._settings.command_timeout_s,
        )

    def instance_info(self) -> dict[str, Json]:
        """With its secrets, for the agent's commands only: never into memo or arguments."""
        info: dict[str, Json] = self._ctx.object.get("instance_info") or {}
        opened = self._instance_secrets()
        return info | {key: value for key, value in opened.items() if key in info}

    def _instance_secrets(self) -> dict[str, Json]:
        node = self._ctx.object
        return decrypt_instance_secrets(self._box, node["uuid"], node.get("instance_secrets"))

    def masked(self, said: str) -> str:
        """What the agent said, without the secrets it was told."""
        asked = [self.asked_steps(name) for name in ("clean_steps", "deploy_steps")]
        given = [step.get("args") for steps in asked for step in steps or ()]
        return without(said, [given, self._instance_secrets()])

    def asked_steps(self, name: str) -> list[dict[str, Json]] | None:
        """The job's argument ``name``, the steps' own arguments opened; None: not asked for.

        Like all that is secret, for the agent's commands only. Raises ``SecretError``.
        """
        ctx = self._ctx
        steps: list[dict[str, Json]] | None = ctx.args.get(name)
        sealed = ctx.object.get("step_secrets")
        if not steps or sealed is None:
            if any(step.get("args") for step in steps or ()):
                raise SecretError("the arguments of the steps are gone; ask for them again")
            return steps
        opened = decrypt_step_secrets(self._box, ctx.object["uuid"], ctx.job.id, sealed)
        return [{**step, "args": args} for step, args in zip(steps, opened, strict=True)]

    async def power(self) -> tuple[str | None, bool]:
        """The power state, and whether a transition is under way."""
        seen = await self.send("observe")
        return seen.get("power_state"), bool(seen.get("powering"))

    async def converge_power(
        self, state: str, *, command: str | None = None, timeout_s: float | None = None
    ) -> Outcome:
        """Bring the machine to ``state``; ``command`` is what to ask for if not the state itself.

        Absolute and repeatable: observe, ask, look again. Sent anew only when
        nothing has come of it for ``power_reissue_s``.
        """
        ctx, settings = self._ctx, self._settings
        seen, powering = await self.power()
        since = float(ctx.memo.get("power_since", ctx.now))
        sent_at = ctx.memo.get("power_sent_at")
        due = sent_at is None or (ctx.now - sent_at > settings.power_reissue_s and not powering)
        rest = {k: v for k, v in ctx.memo.items() if not k.startswith("power_")}
        if (seen != state or powering) and due:
            try:
                await self.send("set_power", {"state": command or state})
            except PacedError as paced:
                # Its turn is still to come: neither trouble, nor time that was used up.
                return Sleep(
                    seconds=paced.retry_after_s,
                    memo=rest,
                    progress="waits for its turn to be switched on",
                )
            sent_at = ctx.now
            for pause_s in QUICK_LOOKS_S:
                await asyncio.sleep(pause_s)
                seen, powering = await self.power()
                if seen == state and not powering:
                    break
        if seen == state and not powering:
            return Done(patch={"power_state": state}, memo=rest)
        limit_s = timeout_s or settings.power_timeout_s
        if ctx.now - since > limit_s:
            return Fail(
                code="power_timeout",
                message=f"the machine did not reach {state!r} within {limit_s:.0f} s; "
                f"its BMC says {seen!r}",
            )
        return Sleep(
            seconds=settings.poll_s,
            memo={**rest, "power_since": since, "power_sent_at": sent_at},
            progress=f"waiting for {state}",
        )

    async def agent(
        self, name: str, params: dict[str, Json] | None = None, *, wait: bool = True
    ) -> dict[str, Json]:
        """Send a command to the ramdisk agent; with ``wait`` returns its end."""
        told: dict[str, Json] = {"name": name, "params": params or {}, "wait": wait}
        try:
            return await self.send("agent_command", {"url": self.agent_url, **told})
        except AgentError as fault:
            fault.message = self.masked(fault.message)
            fault.args = (fault.message,)
            raise

    async def agent_commands(self) -> list[dict[str, Json]]:
        """What the agent of this boot was told so far, oldest first."""
        answer = await self.send("agent_commands", {"url": self.agent_url})
        commands: list[dict[str, Json]] = answer["commands"]
        return commands

    @property
    def agent_url(self) -> str:
        return str(self._ctx.object["agent_url"])


class FakeMachine(Machine):
    """A node of ``fake-hardware``: the node's own fields are all there is of it."""

    async def send(self, action: str, params: dict[str, Json] | None = None) -> dict[str, Json]:
        """Answer as a machine would that is as the node says; nothing is sent anywhere."""
        self._ctx.guard()
        if action == "observe":
            return {"power_state": self._ctx.object.get("power_state") or POWER_OFF}
        return {}

    async def converge_power(
        self, state: str, *, command: str | None = None, timeout_s: float | None = None
    ) -> Outcome:
        """The power is as asked, after the delay that the node asks for."""
        ctx = self._ctx
        ctx.guard()
        delay_s = float(ctx.object["driver_info"].get(FAKE_POWER_DELAY) or 0)
        since = float(ctx.memo.get("power_since", ctx.now))
        left_s = 0.0 if ctx.object.get("power_state") == state else since + delay_s - ctx.now
        rest = {k: v for k, v in ctx.memo.items() if not k.startswith("power_")}
        if left_s > 0:
            return Sleep(seconds=left_s, memo={**rest, "power_since": since})
        return Done(patch={"power_state": state}, memo=rest)


def machine_of(
    ctx: StepContext, sender: Sender, box: SecretBox, settings: ProvisioningSettings
) -> Machine:
    """The machine of the step's node, by its driver."""
    kind = FakeMachine if ctx.object.get("driver") == FAKE.name else Machine
    return kind(ctx, sender, box, settings)
