"""Every durable handler: undisturbed, with a crash after each step, and with each step twice.

The generic job tests of reliability.md: the outcome must equal that of an
undisturbed run, and no step of the agent may be executed twice (promise 3).
"""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from tests.baremetal.jobs_rig import BOOT_S, INVENTORY, NODE, Rig

from holdfast.baremetal.jobs.settings import ProvisioningSettings
from holdfast.baremetal.states import JobKind
from holdfast.errors import InvalidInputError
from holdfast.store.model import JobState

KINDS: dict[str, dict[str, Any]] = {
    "node.verify": {"node": {"provision_state": "verifying"}},
    "node.inspect": {"node": {"provision_state": "inspecting"}},
    "node.clean": {
        "node": {"provision_state": "cleaning"},
        "args": {
            "clean_steps": [
                {"interface": "deploy", "step": "burnin", "args": {"hours": 2}},
                {"interface": "deploy", "step": "erase_metadata"},
                {"interface": "deploy", "step": "burnin", "args": {"hours": 1}},
            ]
        },
    },
    "node.adopt": {"node": {"provision_state": "adopting"}},
    "node.provide": {"node": {"provision_state": "cleaning"}},
    "node.deploy": {"node": {"provision_state": "deploying"}},
    "node.undeploy": {"node": {"provision_state": "deleting", "instance_info": {"a": 1}}},
    "node.power": {"node": {"provision_state": "active"}, "args": {"target": "rebooting"}},
    "node.boot_device": {
        "node": {"provision_state": "active"},
        "args": {"device": "pxe", "persistent": False},
    },
    "node.media": {"node": {"provision_state": "active"}, "args": {"url": "http://x/rescue.iso"}},
    "node.inject_nmi": {"node": {"provision_state": "active"}},
}
END = {
    "node.verify": "manageable",
    "node.inspect": "manageable",
    "node.clean": "manageable",
    "node.adopt": "active",
    "node.provide": "available",
    "node.deploy": "active",
    "node.undeploy": "available",
    "node.power": "active",
    "node.boot_device": "active",
    "node.media": "active",
    "node.inject_nmi": "active",
}
VOLATILE = {"agent_version", "inspection_finished_at"}


def play(kind: str, **how: Any) -> tuple[Rig, dict[str, Any]]:
    """Run one job; returns the rig and what must not depend on the faults."""
    rig = Rig(**KINDS[kind]["node"])
    job = rig.run(kind, KINDS[kind].get("args"), **how)
    assert job.error is None, job.error
    assert job.state is JobState.SUCCEEDED
    document = {k: v for k, v in rig.document.items() if k not in VOLATILE}
    document.pop("entered_epoch")
    outcome = {
        "node": document,
        "power": rig.machine.power,
        "device": rig.machine.device,
        "media": rig.machine.media,
        "executed": rig.machine.executed,
        "boots": rig.machine.boots,
        "inventory": rig.belongings.inventories,
        "ports": rig.belongings.ports,
    }
    return rig, outcome


@pytest.mark.parametrize("kind", KINDS)
def test_an_undisturbed_job_ends_where_it_should(kind: str) -> None:
    rig, outcome = play(kind)
    assert outcome["node"]["provision_state"] == END[kind]
    assert outcome["node"].get("target_provision_state") is None
    assert rig.owners == 1


def test_every_handler_is_under_these_tests() -> None:
    from tests.baremetal.jobs_rig import PlainBox

    from holdfast.baremetal.jobs import handlers

    rig = Rig()
    made = handlers(rig.machine, PlainBox(), rig.settings, rig.belongings)
    assert set(made) == set(KINDS) == set(JobKind)


@pytest.mark.parametrize("when", ["after", "before"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_crash_at_any_step_changes_nothing_but_the_owner(kind: str, when: str) -> None:
    """``after``: a crash after each step. ``before``: each step is executed twice."""
    undisturbed, expected = play(kind)
    assert undisturbed.ends >= 1
    for at in range(undisturbed.ends):
        rig, outcome = play(kind, die_at=at, when=when)
        assert outcome == expected, f"died {when} step end {at}"
        last = at == undisturbed.ends - 1 and when == "after"
        assert rig.owners == (1 if last else 2)


def test_active_needs_the_agents_word() -> None:
    rig = Rig(provision_state="deploying")
    rig.machine.calls_back = False
    job = rig.run("node.deploy")
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error.code == "callback_timeout"
    assert rig.document["provision_state"] == "deploy failed"
    assert "did not call back" in rig.document["last_error"]
    assert rig.machine.power == "power off"


async def lock_out(rig: Rig, job: UUID, *, times: int) -> None:
    """Each ramdisk asks for its token twice: the first answer never reached it."""
    for _ in range(times):
        booted = len(rig.machine.boots)
        while len(rig.machine.boots) == booted:
            await asyncio.sleep(1)
        await asyncio.sleep(BOOT_S)
        await rig.store.signal(job, "locked_out", {"boot": str(rig.document["agent_boot"])})
    rig.machine.calls_back = True


@pytest.mark.parametrize("kind", ["node.deploy", "node.provide"])
def test_a_ramdisk_that_lost_its_token_is_booted_anew(kind: str) -> None:
    async def once(rig: Rig, job: UUID) -> None:
        await lock_out(rig, job, times=1)

    rig = Rig(**KINDS[kind]["node"])
    rig.machine.calls_back = False
    job = rig.run(kind, meanwhile=once)
    assert job.state is JobState.SUCCEEDED
    assert rig.document["provision_state"] == END[kind]
    assert rig.machine.boots[:2] == ["cdrom", "cdrom"]
    assert rig.loop.time() < 30


def test_whoever_asks_for_tokens_cannot_have_a_machine_boot_for_ever() -> None:
    async def always(rig: Rig, job: UUID) -> None:
        await lock_out(rig, job, times=4)
        rig.machine.calls_back = False

    rig = Rig(provision_state="deploying")
    rig.machine.calls_back = False
    job = rig.run("node.deploy", meanwhile=always)
    assert job.error is not None
    assert job.error.code == "callback_timeout"
    assert rig.machine.boots == ["cdrom"] * 4


def test_a_deadline_fires_by_itself_while_the_job_waits() -> None:
    rig = Rig(settings=ProvisioningSettings(callback_timeout_s=5000), provision_state="deploying")
    rig.machine.calls_back = False
    job = rig.run("node.deploy", deadline_s=30.0)
    assert job.error is not None
    assert job.error.code == "deadline"
    assert rig.loop.time() < 60
    assert rig.document["provision_state"] == "deploy failed"


def test_a_failed_agent_step_fails_the_deployment_and_powers_the_machine_off() -> None:
    rig = Rig(provision_state="deploying")
    rig.machine.failing_step = "install"
    job = rig.run("node.deploy")
    assert job.state is JobState.FAILED
    assert rig.machine.executed == ["write_image", "install"]
    assert "'install'" in rig.document["last_error"]
    assert rig.machine.power == "power off"


def test_an_abort_while_waiting_ends_the_deployment() -> None:
    async def abort(rig: Rig, job: UUID) -> None:
        await asyncio.sleep(20)
        assert await rig.store.cancel(job)

    rig = Rig(provision_state="deploying")
    rig.machine.calls_back = False
    job = rig.run("node.deploy", meanwhile=abort)
    assert job.state is JobState.CANCELLED
    assert rig.document["provision_state"] == "deploy failed"
    assert rig.machine.power == "power off"


def test_an_unreachable_bmc_is_tried_again_and_its_error_shown_meanwhile() -> None:
    seen: list[str | None] = []

    async def look(rig: Rig, job: UUID) -> None:
        await asyncio.sleep(1)
        seen.append(rig.document["last_error"])

    rig = Rig(provision_state="verifying")
    rig.machine.unreachable = 3
    job = rig.run("node.verify", meanwhile=look)
    assert seen == ["connection refused"]
    assert job.state is JobState.SUCCEEDED
    assert rig.document["last_error"] is None


def test_a_bmc_that_stays_away_fails_the_job_and_its_error_is_kept() -> None:
    rig = Rig(provision_state="verifying")
    rig.machine.unreachable = 10**6
    job = rig.run("node.verify")
    assert job.state is JobState.FAILED
    assert rig.document["provision_state"] == "enroll"
    assert "connection refused" in rig.document["last_error"]


def test_missing_driver_info_is_named() -> None:
    rig = Rig(provision_state="verifying", driver_info={})
    rig.run("node.verify")
    assert "redfish_address" in rig.document["last_error"]


def test_cleaning_can_be_switched_off_for_a_node() -> None:
    rig = Rig(provision_state="cleaning", automated_clean=False)
    rig.run("node.provide")
    assert rig.document["provision_state"] == "available"
    assert rig.machine.boots == []


def test_a_node_without_a_ramdisk_image_boots_from_the_network() -> None:
    rig = Rig(provision_state="deploying", driver_info={"redfish_address": "http://127.0.0.1:1"})
    rig.run("node.deploy")
    assert rig.machine.boots == ["pxe", "disk"]


def test_a_soft_power_off_that_is_ignored_fails_at_its_timeout() -> None:
    rig = Rig(provision_state="active")
    rig.machine.power = "power on"
    rig.machine._set_power = lambda params: None  # type: ignore[method-assign]
    job = rig.run("node.power", {"target": "soft power off", "timeout": 15})
    assert job.error is not None
    assert job.error.code == "power_timeout"
    assert rig.document["target_power_state"] is None


def test_inspection_fills_the_properties_and_makes_ports_of_the_cards_in_use() -> None:
    rig = Rig(provision_state="inspecting", properties={"capabilities": "a:b,boot_mode:bios"})
    rig.run("node.inspect")
    assert rig.document["properties"] == {
        "cpus": 64,
        "cpu_arch": "x86_64",
        "memory_mb": 65536,
        "local_gb": 894,
        "vendor": "Mock",
        "capabilities": "a:b,boot_mode:uefi",
    }
    assert rig.document["boot_mode"] == "uefi"
    assert rig.document["inspection_finished_at"] is not None
    assert rig.belongings.inventories == {NODE: INVENTORY}
    assert rig.belongings.ports == {"02:00:00:00:00:01": NODE}
    assert rig.machine.boots == []


def test_manual_cleaning_runs_just_what_was_asked_for_in_its_order() -> None:
    rig, _ = play("node.clean")
    assert rig.machine.executed == ["burnin", "erase_metadata", "burnin"]
    assert rig.machine.arguments == [{"hours": 2}, {}, {"hours": 1}]
    assert rig.machine.power == "power off"


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ({"interface": "deploy", "step": "fly"}, "has no step deploy.fly"),
        ({"interface": "raid", "step": "burnin"}, "has no step raid.burnin"),
        ({"interface": "deploy", "step": "burnin"}, "needs hours"),
        (
            {"interface": "deploy", "step": "burnin", "args": {"hours": 1, "wings": 2}},
            "takes no wings",
        ),
    ],
)
def test_a_step_that_cannot_be_run_fails_the_cleaning_before_any_is(step: Any, said: str) -> None:
    rig = Rig(provision_state="cleaning")
    asked = [{"interface": "deploy", "step": "erase_metadata"}, step]
    job = rig.run("node.clean", {"clean_steps": asked})
    assert job.state is JobState.FAILED
    assert said in rig.document["last_error"]
    assert rig.document["provision_state"] == "clean failed"
    assert rig.document["target_provision_state"] == "manageable"
    assert rig.machine.executed == []
    assert rig.machine.power == "power off"


def test_a_deployments_own_steps_are_run_among_the_offered_ones() -> None:
    rig = Rig(provision_state="deploying")
    asked = [
        {"interface": "deploy", "step": "burnin", "args": {"hours": 1}, "priority": 85},
        {"interface": "deploy", "step": "install", "args": {}, "priority": 0},
    ]
    job = rig.run("node.deploy", {"deploy_steps": asked})
    assert job.state is JobState.SUCCEEDED
    assert rig.machine.executed == ["write_image", "burnin"]


def test_adopting_touches_nothing() -> None:
    rig = Rig(provision_state="adopting", power_state=None)
    rig.machine.power = "power on"
    rig.run("node.adopt")
    assert (rig.document["provision_state"], rig.document["power_state"]) == ("active", "power on")
    assert (rig.machine.boots, rig.machine.device) == ([], "disk")


@pytest.mark.parametrize(
    ("kind", "state", "target"),
    [
        ("node.inspect", "inspect failed", "manageable"),
        ("node.adopt", "adopt failed", "active"),
        ("node.clean", "clean failed", "manageable"),
        ("node.provide", "clean failed", "available"),
        ("node.undeploy", "error", "available"),
    ],
)
def test_what_a_bmc_that_stays_away_fails(kind: str, state: str, target: str) -> None:
    rig = Rig(**KINDS[kind]["node"])
    rig.machine.unreachable = 10**6
    job = rig.run(kind, KINDS[kind].get("args"))
    assert job.state is JobState.FAILED
    assert rig.document["provision_state"] == state
    assert rig.document["target_provision_state"] == target


def test_cleaning_that_fails_after_an_undeployment_is_a_failed_cleaning() -> None:
    rig = Rig(provision_state="deleting")
    rig.machine.failing_step = "erase_metadata"
    rig.run("node.undeploy")
    assert rig.document["provision_state"] == "clean failed"
    assert rig.document["target_provision_state"] == "available"


def test_an_undeployment_releases_the_allocation() -> None:
    rig = Rig(provision_state="deleting")
    rig.belongings.allocations[NODE] = NODE
    rig.run("node.undeploy")
    assert rig.belongings.allocations == {}


@pytest.mark.parametrize("kind", ["node.provide", "node.undeploy"])
def test_a_retired_node_does_not_become_available_again(kind: str) -> None:
    rig = Rig(**KINDS[kind]["node"], retired=True)
    rig.run(kind)
    assert rig.document["provision_state"] == "manageable"


FAKE: dict[str, Any] = {
    "driver": "fake-hardware",
    "driver_info": {},
    "interfaces": {"deploy_interface": "fake", "power_interface": "fake"},
}


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"node.clean"}))
def test_fake_hardware_goes_through_every_job_without_a_bmc_or_an_agent(kind: str) -> None:
    rig = Rig(**KINDS[kind]["node"], **FAKE)
    rig.machine.unreachable = 10**6
    job = rig.run(kind, KINDS[kind].get("args"))
    assert job.error is None
    assert rig.document["provision_state"] == END[kind]
    assert rig.loop.time() < 5


def test_fake_hardware_has_no_steps_to_clean_with() -> None:
    rig = Rig(provision_state="cleaning", **FAKE)
    rig.run("node.clean", KINDS["node.clean"]["args"])
    assert "has no steps to run" in rig.document["last_error"]


def test_fake_hardware_takes_its_time_to_power_on_if_it_is_told_to() -> None:
    slow: dict[str, Any] = {**FAKE, "driver_info": {"fake_power_delay_s": 30}}
    rig = Rig(**slow, provision_state="active")
    rig.run("node.power", {"target": "power on"})
    assert rig.document["power_state"] == "power on"
    assert 30 <= rig.loop.time() < 32


def test_media_comes_and_goes() -> None:
    rig, _ = play("node.media")
    assert rig.machine.media == "http://x/rescue.iso"
    rig.run("node.media", {"url": None})
    assert rig.machine.media is None


def test_an_nmi_is_injected() -> None:
    rig, _ = play("node.inject_nmi")
    assert rig.machine.nmis == 1


@pytest.mark.parametrize(
    ("target", "powers"),
    [
        ("power on", ["power on"]),
        ("power off", ["power off"]),
        ("rebooting", ["power off", "power on"]),
    ],
)
def test_whoever_sees_the_new_power_state_finds_the_node_free(
    target: str, powers: list[str]
) -> None:
    seen: list[tuple[str, bool]] = []

    async def watch(rig: Rig, job: UUID) -> None:
        while NODE in rig.store.tables.active:
            await asyncio.sleep(0.001)
            look = (rig.document["power_state"], NODE in rig.store.tables.active)
            if look[0] is not None and look not in seen:
                seen.append(look)

    rig = Rig(provision_state="active")
    rig.run("node.power", {"target": target}, meanwhile=watch)
    assert seen == [*((state, True) for state in powers[:-1]), (powers[-1], False)]


def test_a_job_whose_outcome_cannot_be_written_fails_instead_of_trying_for_ever() -> None:
    async def unwritable(*args: Any) -> Any:
        raise InvalidInputError("node has no field nonsense")

    rig = Rig(provision_state="verifying")
    begin = rig.store.end_step
    refused: list[Any] = []

    async def end_step(fence: Any, job: UUID, end: Any) -> Any:
        if not refused:
            refused.append(end)
            return await unwritable()
        return await begin(fence, job, end)

    rig.store.end_step = end_step  # type: ignore[method-assign]
    job = rig.run("node.verify")
    assert job.state is JobState.FAILED
    assert rig.document["provision_state"] == "enroll"
    assert "nonsense" in rig.document["last_error"]
