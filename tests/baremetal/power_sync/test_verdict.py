"""What an answer or a silence means for a node: pure, so every case is tried."""

from __future__ import annotations

from itertools import product

import pytest

from holdfast.baremetal.power_sync.verdict import (
    POWER_FAILURE,
    REASON_CHARS_MAX,
    Node,
    is_asked,
    on_answer,
    on_silence,
)

ON, OFF = "power on", "power off"
OURS = "power sync: no good answer in 3 passes; the last: nobody there"


def node(**fields: object) -> Node:
    return {
        "driver": "redfish",
        "power_state": ON,
        "provision_state": "active",
        "maintenance": False,
        "maintenance_reason": None,
        "fault": None,
        "disable_power_off": False,
        **fields,
    }


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({}, True),
        ({"provision_state": "enroll"}, False),
        ({"provision_state": "verifying"}, False),
        ({"provision_state": "available"}, True),
        ({"maintenance": True}, False),
        ({"maintenance": True, "fault": "clean failure"}, False),
        ({"maintenance": True, "fault": POWER_FAILURE}, True),
        ({"driver": "fake-hardware"}, False),
    ],
)
def test_who_is_asked(fields: Node, asked: bool):
    assert is_asked(node(**fields)) is asked


@pytest.mark.parametrize(("recorded", "seen"), [(ON, OFF), (OFF, ON), (None, ON), (None, OFF)])
def test_another_state_is_recorded(recorded: str | None, seen: str):
    decided = on_answer(node(power_state=recorded), seen, moving=False, force=False)
    assert (decided.patch, decided.restore) == ({"power_state": seen}, None)


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize(
    ("recorded", "seen", "moving"),
    [(ON, ON, False), (OFF, OFF, False), (ON, None, False), (ON, OFF, True), (OFF, ON, True)],
)
def test_what_agrees_or_is_not_known_changes_nothing(recorded, seen, moving, force):
    decided = on_answer(node(power_state=recorded), seen, moving=moving, force=force)
    assert (decided.patch, decided.restore) == ({}, None)


@pytest.mark.parametrize(
    ("recorded", "seen", "fixed", "restore"),
    [(ON, OFF, False, ON), (OFF, ON, False, OFF), (OFF, ON, True, None), (ON, OFF, True, ON)],
)
def test_forced_the_machine_is_switched_back_unless_it_must_not_be_switched_off(
    recorded, seen, fixed, restore
):
    case = node(power_state=recorded, disable_power_off=fixed)
    decided = on_answer(case, seen, moving=False, force=True)
    assert decided.restore == restore
    assert decided.patch == ({} if restore else {"power_state": seen})


def test_what_was_never_recorded_is_recorded_even_when_forced():
    decided = on_answer(node(power_state=None), OFF, moving=False, force=True)
    assert (decided.patch, decided.restore) == ({"power_state": OFF}, None)


def test_so_many_silent_passes_are_a_power_failure_with_maintenance():
    assert on_silence(node(), 2, 3, "nobody there").patch == {}
    patch = on_silence(node(), 3, 3, "nobody there").patch
    assert patch == {"fault": POWER_FAILURE, "maintenance": True, "maintenance_reason": OURS}
    long = on_silence(node(), 3, 3, "x" * 5_000).patch["maintenance_reason"]
    assert len(long) == REASON_CHARS_MAX


@pytest.mark.parametrize(
    "fields",
    [{"maintenance": True}, {"fault": "clean failure"}, {"maintenance": True, "fault": "x"}],
)
def test_maintenance_and_faults_of_others_are_not_overwritten(fields: Node):
    assert on_silence(node(**fields), 99, 3, "nobody there").patch == {}


def test_an_answer_ends_what_power_sync_began():
    failed = node(fault=POWER_FAILURE, maintenance=True, maintenance_reason=OURS)
    decided = on_answer(failed, ON, moving=False, force=False)
    assert decided.patch == {"fault": None, "maintenance": False, "maintenance_reason": None}


def test_maintenance_that_an_operator_made_his_own_stays():
    theirs = node(fault=POWER_FAILURE, maintenance=True, maintenance_reason="swapping its fans")
    decided = on_answer(theirs, ON, moving=False, force=False)
    assert decided.patch == {"fault": None}


def test_a_machine_that_comes_back_switched_off_is_recovered_and_switched_on_in_one():
    failed = node(fault=POWER_FAILURE, maintenance=True, maintenance_reason=OURS)
    decided = on_answer(failed, OFF, moving=False, force=True)
    assert decided.restore == ON
    assert decided.patch["maintenance"] is False


def test_recorded_errors_are_never_touched():
    """Nor anything else that is not power sync's own to write."""
    own = {"power_state", "fault", "maintenance", "maintenance_reason"}
    for recorded, seen, moving, force, fault, failures in product(
        (ON, OFF, None),
        (ON, OFF, None),
        (True, False),
        (True, False),
        (None, POWER_FAILURE),
        (0, 9),
    ):
        case = node(power_state=recorded, fault=fault, maintenance=fault is not None)
        for decided in (
            on_answer(case, seen, moving=moving, force=force),
            on_silence(case, failures, 3, "nobody there"),
        ):
            assert set(decided.patch) <= own
