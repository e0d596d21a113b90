from __future__ import annotations

import asyncio
from typing import Any

import pytest
from tests.baremetal.people import ADMIN, ALICE, BOB, BaremetalFixture

from holdfast.baremetal.credentials import decrypt_instance_secrets
from holdfast.baremetal.errors import (
    InvalidTransitionError,
    NodeLockedError,
    NodeProtectedError,
)
from holdfast.baremetal.resources import CleanStep, DeployStep
from holdfast.baremetal.service.verbs import BootDevice, PowerRequest, ProvisionRequest
from holdfast.errors import InvalidInputError, NotFoundError

MAC = "52:54:00:aa:bb:01"


async def ask(fixture: BaremetalFixture, uuid: object, target: str, **rest: Any) -> None:
    asked = ProvisionRequest(target=target, **rest)
    await fixture.baremetal.verbs.provision(ADMIN, str(uuid), asked)


@pytest.mark.parametrize(
    ("state", "verb", "during", "target", "kind"),
    [
        ("enroll", "manage", "verifying", "manageable", "node.verify"),
        ("manageable", "provide", "cleaning", "available", "node.provide"),
        ("manageable", "adopt", "adopting", "active", "node.adopt"),
        ("inspect failed", "inspect", "inspecting", "manageable", "node.inspect"),
        ("available", "active", "deploying", "active", "node.deploy"),
        ("deploy failed", "active", "deploying", "active", "node.deploy"),
        ("active", "rebuild", "deploying", "active", "node.deploy"),
        ("active", "deleted", "deleting", "available", "node.undeploy"),
        ("error", "deleted", "deleting", "available", "node.undeploy"),
    ],
)
async def test_a_verb_writes_its_targets_and_its_job_together(
    fixture: BaremetalFixture, state: str, verb: str, during: str, target: str, kind: str
):
    uuid = await fixture.node(state=state)
    await fixture.set(uuid, last_error="what went wrong before")
    await ask(fixture, uuid, verb)
    row, job = await fixture.row(uuid), await fixture.active(uuid)
    assert (row["provision_state"], row["target_provision_state"]) == (during, target)
    assert row["last_error"] is None
    assert row["provision_updated_at"] is not None
    assert (job.kind, job.requested_by) == (kind, ADMIN.label())
    assert job.deadline is not None
    assert job.args == ({"rebuild": True} if verb == "rebuild" else {})


async def test_a_verb_the_state_does_not_allow_names_those_it_does(fixture: BaremetalFixture):
    uuid = await fixture.node(state="available")
    with pytest.raises(InvalidTransitionError, match="allowed there: manage, active"):
        await ask(fixture, uuid, "provide")
    assert await fixture.store.jobs() == []


async def test_a_second_verb_finds_the_node_locked(fixture: BaremetalFixture):
    uuid = await fixture.node(name="n1", state="available")
    await fixture.busy(uuid, "node.power")
    with pytest.raises(NodeLockedError, match=r"Node n1 is locked by a job that .*, please retry"):
        await ask(fixture, uuid, "active")
    assert (await fixture.row(uuid))["provision_state"] == "available"


async def test_of_two_requests_at_once_one_is_taken(fixture: BaremetalFixture):
    uuid = await fixture.node(state="available")
    both = await asyncio.gather(
        ask(fixture, uuid, "active"), ask(fixture, uuid, "active"), return_exceptions=True
    )
    assert sorted(type(answer).__name__ for answer in both)[1:] == ["NoneType"]
    assert len(await fixture.store.jobs()) == 1


async def test_asking_again_for_what_is_under_way_is_accepted_and_starts_nothing(
    fixture: BaremetalFixture,
):
    uuid = await fixture.node(state="available")
    await ask(fixture, uuid, "active")
    await ask(fixture, uuid, "active")  # the first answer may have been lost
    assert len(await fixture.store.jobs()) == 1
    with pytest.raises(InvalidTransitionError):
        await ask(fixture, uuid, "rebuild")  # another intent, though the same kind of job
    await fixture.store.cancel((await fixture.active(uuid)).id)
    with pytest.raises(InvalidTransitionError):
        await ask(fixture, uuid, "active")  # that one is being given up


async def test_a_power_request_is_repeatable_by_its_target_and_its_caller_only(
    fixture: BaremetalFixture,
):
    uuid = await fixture.node(state="active")
    on, off = PowerRequest(target="power on"), PowerRequest(target="power off")
    await fixture.baremetal.verbs.power(ADMIN, str(uuid), on)
    await fixture.baremetal.verbs.power(ADMIN, str(uuid), on)
    assert len(await fixture.store.jobs()) == 1
    with pytest.raises(NodeLockedError):
        await fixture.baremetal.verbs.power(ADMIN, str(uuid), off)


@pytest.mark.parametrize("state", ["available", "clean failed"])
async def test_setting_a_node_aside_needs_no_job(fixture: BaremetalFixture, state: str):
    uuid = await fixture.node(state=state)
    await fixture.set(uuid, last_error="x", target_provision_state="available")
    await ask(fixture, uuid, "manage")
    row = await fixture.row(uuid)
    assert (row["provision_state"], row["target_provision_state"]) == ("manageable", None)
    assert await fixture.store.jobs() == []


async def test_setting_aside_waits_for_the_job_in_hand(fixture: BaremetalFixture):
    uuid = await fixture.node(state="available")
    await fixture.busy(uuid)
    with pytest.raises(NodeLockedError):
        await ask(fixture, uuid, "manage")


async def test_abort_cancels_the_job_in_hand(fixture: BaremetalFixture):
    uuid = await fixture.node(state="wait call-back")
    job = await fixture.busy(uuid, "node.deploy")
    await ask(fixture, uuid, "abort")
    cancelled = await fixture.store.job(job.id)
    assert cancelled is not None
    assert cancelled.cancel_requested


async def test_abort_of_a_job_that_has_just_ended_says_so(fixture: BaremetalFixture):
    uuid = await fixture.node(state="wait call-back")
    with pytest.raises(InvalidTransitionError, match="nothing to abort"):
        await ask(fixture, uuid, "abort")


async def test_undeploying_a_waiting_deployment_cancels_it_first(
    fixture: BaremetalFixture, monkeypatch: pytest.MonkeyPatch
):
    uuid = await fixture.node(state="wait call-back")
    job = await fixture.busy(uuid, "node.deploy")

    async def owner_ends_it(_seconds: float) -> None:
        await fixture.end(job.id, "cancelled")
        await fixture.set(uuid, provision_state="deploy failed")

    monkeypatch.setattr("holdfast.baremetal.service.verbs.asyncio.sleep", owner_ends_it)
    await ask(fixture, uuid, "deleted")
    assert (await fixture.active(uuid)).kind == "node.undeploy"
    assert (await fixture.row(uuid))["provision_state"] == "deleting"


async def test_undeploying_says_busy_when_the_cancelled_job_does_not_end(
    fixture: BaremetalFixture, monkeypatch: pytest.MonkeyPatch
):
    uuid = await fixture.node(state="wait call-back")
    await fixture.busy(uuid, "node.deploy")

    async def nothing(_seconds: float) -> None: ...

    monkeypatch.setattr("holdfast.baremetal.service.verbs.asyncio.sleep", nothing)
    with pytest.raises(NodeLockedError, match="please retry"):
        await ask(fixture, uuid, "deleted")


async def test_missing_driver_info_names_the_keys(fixture: BaremetalFixture):
    uuid = await fixture.node(driver_info={})
    with pytest.raises(InvalidInputError, match="missing in driver_info: redfish_address"):
        await ask(fixture, uuid, "manage")
    with pytest.raises(InvalidInputError, match="redfish_address"):
        await fixture.baremetal.verbs.power(ADMIN, str(uuid), PowerRequest(target="power on"))
    verdict = await fixture.baremetal.upkeep.validate(ADMIN, str(uuid))
    assert verdict["power"]["result"] is False
    assert "redfish_address" in verdict["power"]["reason"]
    assert verdict["raid"]["result"] is None
    assert verdict["network"]["result"] is True


async def test_a_node_without_ports_is_told_that_its_agent_cannot_find_it(
    fixture: BaremetalFixture,
):
    uuid = await fixture.node(state="wait call-back")
    upkeep = fixture.baremetal.upkeep
    verdict = await upkeep.validate(ADMIN, str(uuid))
    for kind in ("boot", "deploy"):
        assert verdict[kind]["result"] is False
        assert f"openstack baremetal port create --node {uuid}" in verdict[kind]["reason"]
    assert verdict["power"]["result"] is True
    assert "the node has no ports" in (await upkeep.remarks(uuid))[0]
    await fixture.baremetal.ports.create(ADMIN, {"node_uuid": str(uuid), "address": MAC})
    verdict = await upkeep.validate(ADMIN, str(uuid))
    assert (verdict["boot"], verdict["deploy"]) == ({"result": True}, {"result": True})
    assert await upkeep.remarks(uuid) == []
    assert await upkeep.remarks(await fixture.node(state="available")) == []


async def test_marks_of_operators_come_before_what_is_asked(fixture: BaremetalFixture):
    protected = await fixture.node(state="active", protected=True)
    for verb in ("deleted", "rebuild"):
        with pytest.raises(NodeProtectedError):
            await ask(fixture, protected, verb)
    retired = await fixture.node(state="manageable", retired=True)
    with pytest.raises(InvalidInputError, match="retired"):
        await ask(fixture, retired, "provide")
    resting = await fixture.node(state="available", maintenance=True)
    with pytest.raises(InvalidInputError, match="maintenance"):
        await ask(fixture, resting, "active")


async def test_a_config_drive_is_sealed_and_only_its_equal_is_the_same_request(
    fixture: BaremetalFixture,
):
    uuid = await fixture.node(state="available", instance_info={"api_key": "hushhush"})
    await ask(fixture, uuid, "active", configdrive="H4sITOPSECRETAAA")
    await ask(fixture, uuid, "active", configdrive="H4sITOPSECRETAAA")
    for other in ({"configdrive": "H4sIOTHERAAA"}, {}):
        with pytest.raises(InvalidTransitionError):
            await ask(fixture, uuid, "active", **other)
    assert len(await fixture.store.jobs()) == 1
    text = await fixture.db.fetchval(
        "select (select n::text from node n where n.uuid = $1)"
        " || (select string_agg(j::text, ' ') from job j)",
        uuid,
    )
    clear = text + (await fixture.row(uuid))["instance_secrets"].decode("latin-1")
    assert "TOPSECRET" not in clear
    assert "hushhush" not in clear
    for word in (b"TOPSECRET", b"hushhush"):
        assert word.hex() not in text
    opened = decrypt_instance_secrets(
        fixture.vault, uuid, (await fixture.row(uuid))["instance_secrets"]
    )
    assert opened == {"api_key": "hushhush", "configdrive": "H4sITOPSECRETAAA"}


async def test_every_change_of_provision_state_is_dated(fixture: BaremetalFixture):
    uuid = await fixture.node(state="available")
    dated = (await fixture.row(uuid))["provision_updated_at"]
    await fixture.set(uuid, provision_state="available")
    assert (await fixture.row(uuid))["provision_updated_at"] == dated
    await fixture.set(uuid, provision_state="active")
    assert (await fixture.row(uuid))["provision_updated_at"] > dated


async def test_a_config_drive_goes_with_the_deployment(fixture: BaremetalFixture):
    uuid = await fixture.node(state="available", instance_info={"image_source": "http://i"})
    with pytest.raises(InvalidInputError, match="config drive"):
        await ask(fixture, uuid, "manage", configdrive="H4sI")
    await ask(fixture, uuid, "active", configdrive={"meta_data": {}})
    info = (await fixture.row(uuid))["instance_info"]
    assert info == {"image_source": "http://i", "configdrive": "******"}
    shown = await fixture.baremetal.read.node(ADMIN, str(uuid), ("instance_info",))
    assert b'"configdrive": "******"' in bytes(shown["instance_info"])


STEP = {"interface": "deploy", "step": "burnin", "args": {}}


@pytest.mark.parametrize(
    ("verb", "fields", "named"),
    [
        ("clean", {}, "clean_steps"),
        ("clean", {"clean_steps": []}, "clean_steps"),
        ("clean", {"clean_steps": [STEP], "runbook": "CUSTOM_A"}, "not both"),
        ("clean", {"clean_steps": [STEP], "disable_ramdisk": True}, "disable_ramdisk"),
        ("clean", {"deploy_steps": []}, "clean_steps"),
        ("provide", {"clean_steps": [STEP]}, "clean"),
        ("provide", {"runbook": "CUSTOM_A"}, "clean"),
        ("provide", {"deploy_steps": [STEP | {"priority": 1}]}, "deploy_steps"),
        ("provide", {"configdrive": "x"}, "config drive"),
        ("active", {"configdrive": "x"}, "base64"),
        ("rebuild", {"configdrive": {"metadata": {}}}, "metadata"),
        ("inspect", {"service_steps": [STEP]}, "service_steps"),
        ("manage", {"rescue_password": "sesame"}, "rescue_password"),
    ],
)
async def test_what_does_not_go_with_a_verb_is_refused_by_name(
    fixture: BaremetalFixture, verb: str, fields: dict[str, Any], named: str
):
    uuid = await fixture.node(state="manageable")
    with pytest.raises(InvalidInputError, match=named):
        await ask(fixture, uuid, verb, **fields)
    assert (await fixture.row(uuid))["provision_state"] == "manageable"


async def test_inspection_notes_when_it_began(fixture: BaremetalFixture):
    uuid = await fixture.node(state="manageable")
    await fixture.set(uuid, inspection_finished_at=1.0)
    await ask(fixture, uuid, "inspect")
    row = await fixture.row(uuid)
    assert (row["provision_state"], row["target_provision_state"]) == ("inspecting", "manageable")
    assert row["inspection_started_at"] == row["provision_updated_at"]
    assert row["inspection_finished_at"] is None


async def test_a_node_without_an_inspect_interface_is_not_inspected(fixture: BaremetalFixture):
    uuid = await fixture.node(state="manageable", inspect_interface="no-inspect")
    with pytest.raises(InvalidInputError, match="no inspect interface"):
        await ask(fixture, uuid, "inspect")


async def test_manual_cleaning_carries_its_steps(fixture: BaremetalFixture):
    uuid = await fixture.node(state="manageable")
    step = CleanStep(interface="deploy", step="burnin", args={"hours": 1})
    await ask(fixture, uuid, "clean", clean_steps=[step])
    job = await fixture.active(uuid)
    assert job.kind == "node.clean"
    assert job.args == {"clean_steps": [STEP | {"args": {"hours": "******"}}]}


async def test_a_runbook_cleans_nodes_that_have_its_trait(fixture: BaremetalFixture):
    runbooks = fixture.baremetal.runbooks
    steps = [STEP | {"order": 2}, STEP | {"step": "erase", "order": 1}]
    await runbooks.create(ADMIN, {"name": "CUSTOM_WIPE", "steps": steps})
    uuid = await fixture.node(state="manageable")
    with pytest.raises(InvalidInputError, match="has not: add the trait"):
        await ask(fixture, uuid, "clean", runbook="CUSTOM_WIPE")
    with pytest.raises(NotFoundError, match="Runbook CUSTOM_NONE"):
        await ask(fixture, uuid, "clean", runbook="CUSTOM_NONE")
    await fixture.baremetal.upkeep.set_traits(ADMIN, str(uuid), lambda _: ["CUSTOM_WIPE"])
    await ask(fixture, uuid, "clean", runbook="CUSTOM_WIPE")
    job = await fixture.active(uuid)
    assert [step["step"] for step in job.args["clean_steps"]] == ["erase", "burnin"]


async def test_a_deployment_gets_the_steps_of_its_instances_templates_and_its_own(
    fixture: BaremetalFixture,
):
    templates = fixture.baremetal.deploy_templates
    ten = STEP | {"priority": 10}
    await templates.create({"name": "CUSTOM_A", "steps": [ten, ten | {"step": "wipe"}]})
    await templates.create({"name": "CUSTOM_B", "steps": [ten | {"step": "other"}]})
    uuid = await fixture.node(state="available", instance_info={"traits": ["CUSTOM_A", "CUSTOM_C"]})
    own = DeployStep(interface="deploy", step="burnin", args={"hours": 9}, priority=50)
    await ask(fixture, uuid, "active", deploy_steps=[own])
    job = await fixture.active(uuid)
    assert job.args == {
        "deploy_steps": [
            {"interface": "deploy", "step": "burnin", "args": {"hours": "******"}, "priority": 50},
            ten | {"step": "wipe"},
        ]
    }


@pytest.mark.parametrize(
    ("target", "result"), [("power on", "power on"), ("soft power off", "power off")]
)
async def test_power_is_a_job_and_a_target(fixture: BaremetalFixture, target: str, result: str):
    uuid = await fixture.node()
    asked = PowerRequest(target=target, timeout=30)
    await fixture.baremetal.verbs.power(ADMIN, str(uuid), asked)
    row, job = await fixture.row(uuid), await fixture.active(uuid)
    assert row["target_power_state"] == result
    assert (job.kind, job.args) == ("node.power", {"target": target, "timeout": 30})


@pytest.mark.parametrize(("target", "timeout"), [("warp", None), ("power on", 0)])
async def test_a_bad_power_request_is_refused(
    fixture: BaremetalFixture, target: str, timeout: int | None
):
    uuid = await fixture.node()
    asked = PowerRequest(target=target, timeout=timeout)
    with pytest.raises(InvalidInputError):
        await fixture.baremetal.verbs.power(ADMIN, str(uuid), asked)


async def test_a_machine_that_must_stay_on_is_not_turned_off(fixture: BaremetalFixture):
    uuid = await fixture.node(disable_power_off=True)
    with pytest.raises(InvalidInputError, match="disable_power_off"):
        await fixture.baremetal.verbs.power(ADMIN, str(uuid), PowerRequest(target="power off"))
    await fixture.baremetal.verbs.power(ADMIN, str(uuid), PowerRequest(target="power on"))


async def test_the_boot_device_is_a_job_and_shown_once_it_is_known(fixture: BaremetalFixture):
    uuid = await fixture.node()
    verbs = fixture.baremetal.verbs
    with pytest.raises(InvalidInputError, match="pxe, disk, cdrom"):
        await verbs.set_boot_device(ADMIN, str(uuid), BootDevice(boot_device="tape"))
    await verbs.set_boot_device(ADMIN, str(uuid), BootDevice(boot_device="pxe", persistent=True))
    job = await fixture.active(uuid)
    assert (job.kind, job.args) == ("node.boot_device", {"device": "pxe", "persistent": True})
    unknown = {"boot_device": None, "persistent": None}
    assert await fixture.baremetal.upkeep.boot_device(ADMIN, str(uuid)) == unknown
    await fixture.set(
        uuid, driver_internal_info={"boot_device": {"device": "pxe", "persistent": True}}
    )
    assert await fixture.baremetal.upkeep.boot_device(ADMIN, str(uuid)) == {
        "boot_device": "pxe",
        "persistent": True,
    }


async def test_maintenance_waits_for_no_job(fixture: BaremetalFixture):
    uuid = await fixture.node()
    await fixture.busy(uuid)
    await fixture.set(uuid, fault="power failure")
    await fixture.baremetal.upkeep.set_maintenance(ADMIN, str(uuid), True, "a new fan")
    row = await fixture.row(uuid)
    assert (row["maintenance"], row["maintenance_reason"]) == (True, "a new fan")
    await fixture.baremetal.upkeep.set_maintenance(ADMIN, str(uuid), False)
    row = await fixture.row(uuid)
    assert (row["maintenance"], row["maintenance_reason"], row["fault"]) == (False, None, None)


async def test_traits_are_names_and_at_most_fifty(fixture: BaremetalFixture):
    uuid = str(await fixture.node())
    await fixture.baremetal.upkeep.set_traits(ADMIN, uuid, lambda _: ["CUSTOM_B", "CUSTOM_A"])
    await fixture.baremetal.upkeep.set_traits(ADMIN, uuid, lambda t: [*t, "HW_CPU_X86_AVX"])
    expected = ["CUSTOM_A", "CUSTOM_B", "HW_CPU_X86_AVX"]
    assert await fixture.baremetal.read.traits(ADMIN, uuid) == expected
    for wrong in (["lower"], ["CUSTOM_a"], [f"CUSTOM_{n}" for n in range(51)]):
        with pytest.raises(InvalidInputError):
            await fixture.baremetal.upkeep.set_traits(ADMIN, uuid, lambda _, t=wrong: t)


async def test_another_projects_node_takes_no_verb(fixture: BaremetalFixture):
    uuid = str(await fixture.node(ALICE, state="available"))
    verbs = fixture.baremetal.verbs
    for attempt in (
        verbs.provision(BOB, uuid, ProvisionRequest(target="active")),
        verbs.power(BOB, uuid, PowerRequest(target="power on")),
        verbs.set_boot_device(BOB, uuid, BootDevice(boot_device="pxe")),
    ):
        with pytest.raises(NotFoundError):
            await attempt
    assert await fixture.store.jobs() == []
