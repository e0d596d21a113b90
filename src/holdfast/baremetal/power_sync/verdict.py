"""What an answer of a BMC, or its silence, means for its node. Pure.

Ironic's rules, as far as a client can see them: the fault "power failure" with
maintenance after so many silent passes, and recovery by itself. Other than there
neither the recorded state nor an error recorded by a job is wiped.
"""

from __future__ import annotations

import msgspec

from holdfast.baremetal.drivers import REDFISH
from holdfast.store.model import Json

POWER_FAILURE = "power failure"  # the fault, in the reference's own words
REASON = "power sync: "  # how every reason begins that is ours
ON, OFF = "power on", "power off"
UNVERIFIED = frozenset({"enroll", "verifying"})  # nobody has seen yet that the BMC answers
REASON_CHARS_MAX = 1_000

FIELDS = (
    "driver",
    "driver_info",
    "driver_secrets",
    "entered_epoch",
    "power_state",
    "provision_state",
    "maintenance",
    "maintenance_reason",
    "fault",
    "disable_power_off",
)
"""What of a node must be read."""

Node = dict[str, Json]


class Verdict(msgspec.Struct, frozen=True):
    """What to do: fields to write, and the state to switch the machine back to."""

    patch: Node = {}
    restore: str | None = None


def is_asked(node: Node) -> bool:
    """Whether the node's BMC is asked at all. Its having a job is judged elsewhere."""
    if node["driver"] != REDFISH.name or node["provision_state"] in UNVERIFIED:
        return False
    return not node["maintenance"] or node["fault"] == POWER_FAILURE


def on_answer(node: Node, seen: str | None, *, moving: bool, force: bool) -> Verdict:
    """The BMC says that the power is ``seen`` (None: it does not know), or still ``moving``."""
    patch = recovered(node)
    recorded = node["power_state"]
    if seen is None or moving or seen == recorded:
        return Verdict(patch)
    may_be = recorded == ON or (recorded == OFF and not node["disable_power_off"])
    if force and may_be:
        return Verdict(patch, restore=recorded)
    return Verdict({**patch, "power_state": seen})


def recovered(node: Node) -> Node:
    """The fault is over; so is maintenance, unless somebody has given it another reason."""
    if node["fault"] != POWER_FAILURE:
        return {}
    ours = str(node["maintenance_reason"] or "").startswith(REASON)
    kept: Node = {} if not ours else {"maintenance": False, "maintenance_reason": None}
    return {"fault": None, **kept}


def on_silence(node: Node, failures: int, failures_max: int, said: str) -> Verdict:
    """So often in a row there was no good answer; ``said`` is the last error's sentence."""
    if failures < failures_max or node["maintenance"] or node["fault"] is not None:
        return Verdict()
    reason = f"{REASON}no good answer in {failures} passes; the last: {said}"
    return Verdict(
        {
            "fault": POWER_FAILURE,
            "maintenance": True,
            "maintenance_reason": reason[:REASON_CHARS_MAX],
        }
    )
