"""Settings of the bare-metal product (section ``[baremetal]``)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=604800)]
HardwareTypes = Annotated[
    tuple[Literal["redfish", "fake-hardware"], ...], msgspec.Meta(min_length=1)
]


class BaremetalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times are in seconds. The timeouts are the outer bounds of whole jobs, waiting included.

    The waits inside a job have limits of their own (section ``[provisioning]``).
    """

    enabled_hardware_types: HardwareTypes = ("redfish",)
    """What a node's driver may be. ``fake-hardware`` pretends: for trying clients out."""
    page_max: Annotated[int, msgspec.Meta(ge=1, le=10000)] = 1000
    """Most items one page of a list may have (Ironic: ``max_limit``)."""
    locked_wait_s: Annotated[float, msgspec.Meta(ge=0, le=60)] = 3.0
    """How long a change of a node that a job has in hand waits for its turn, before 409
    (Ironic: ``node_locked_retry_attempts``, a second apart)."""
    document_bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=16777216)] = 262144
    """Most bytes that each JSON document of a node or its like may have (``extra``,
    ``properties``, ``driver_info``, ...). A configdrive goes by the request's limit instead."""
    heartbeat_s: Annotated[int, msgspec.Meta(ge=1, le=86400)] = 300
    """How often a ramdisk agent is asked to report (Ironic: ``heartbeat_timeout``)."""
    manage_timeout_s: Seconds = 600.0
    """Verifying that the BMC answers, inspecting a machine, adopting one that runs already."""
    power_timeout_s: Seconds = 900.0
    """A change of power state or boot device."""
    deploy_timeout_s: Seconds = 21600.0
    """A deployment: without the agent's word by then it has failed."""
    clean_timeout_s: Seconds = 21600.0
    """Cleaning, and the undeployment that ends in it."""
