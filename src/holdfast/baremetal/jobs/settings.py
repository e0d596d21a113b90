"""Settings of provisioning (section ``[provisioning]``)."""

from __future__ import annotations

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86400)]


class ProvisioningSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times are in seconds."""

    automated_clean: bool = True
    """Clean machines on ``provide`` and after ``undeploy`` (a node's own field overrides it)."""
    callback_timeout_s: Seconds = 1800.0
    """How long a booted ramdisk may take until its agent's first heartbeat."""
    power_timeout_s: Seconds = 120.0
    """How long a machine may take to reach a power state."""
    power_reissue_s: Seconds = 30.0
    """A power command that showed no effect for so long is sent again."""
    poll_s: Annotated[float, msgspec.Meta(ge=0.05, le=60)] = 1.0
    """How often a power transition or a running agent step is looked at."""
    command_timeout_s: Seconds = 60.0
    """Deadline of one command to a BMC or agent."""
    agent_step_timeout_s: Seconds = 3600.0
    """How long one step of the ramdisk agent may run."""
    retry_s: Seconds = 300.0
    """How long a step tries again while a BMC or agent cannot be reached."""
    concurrent_deploys_max: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 250
    """Deployments one conductor has under way; more wait in order (Ironic's
    ``max_concurrent_deploy`` refuses them). 0: no limit."""
    concurrent_cleans_max: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 50
    """The same for cleaning, and what ends in it (Ironic: ``max_concurrent_clean``)."""
    operator_retry_s: Seconds = 60.0
    """The same for ``manage``, ``adopt`` and what is asked of power, boot device, media and
    NMI, while the gateway is there but the BMC does not answer it: somebody waits, and the
    address may be wrong (Ironic: ``connection_attempts`` x ``connection_retry_interval``)."""
