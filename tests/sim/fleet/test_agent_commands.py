"""The agent's command API: shapes, refusals and effects, as ironic-python-agent's."""

from __future__ import annotations

import pytest
from tests.sim.fleet.manual import (
    TOKEN,
    Answers,
    IronicApi,
    ManualClock,
    Watcher,
    lines_of,
    make_machine,
    request,
    surroundings,
)

from holdfast.sim.fleet.agent import Agent
from holdfast.sim.fleet.faults import Faults
from holdfast.sim.fleet.journal import Journal
from holdfast.sim.fleet.machine import Machine, Power, Running

NODE_DOCUMENT = {"uuid": "n", "instance_info": {"image_source": "http://i/debian.raw"}}
ORIGIN = "member=m1;epoch=7;job=j1;step=write_image;attempt=2"


class Rig:
    """A machine that runs the ramdisk, and its agent."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.journal = Journal(reads=True)
        self.machine: Machine = make_machine(self.clock, Watcher())
        self.machine.set_override("Pxe", "Continuous")
        self.machine.reset("On")
        self.clock.advance(11.0)
        assert self.machine.running is Running.RAMDISK
        around = surroundings(self.clock, IronicApi(), self.journal)
        self.agent = Agent(self.machine, around, api_url="http://api")
        self.agent.start("http://a")

    def send(self, method: str, target: str, body: object = None, token: str = TOKEN) -> Answers:
        answers = Answers()
        mark = "&" if "?" in target else "?"
        sent = request(method, f"/{target}{mark}agent_token={token}", body,
                       x_holdfast_origin=ORIGIN)  # fmt: skip
        self.agent.handle(sent, answers)
        return answers

    def run(self, name: str, query: str = "", **params: object) -> Answers:
        return self.send("POST", f"v1/commands/{query}", {"name": name, "params": params})

    def deploy(self, query: str = "", **more: object) -> Answers:
        step = {"step": "write_image", "interface": "deploy", "priority": 80}
        return self.run("deploy.execute_deploy_step", query, step=step, node=NODE_DOCUMENT,
                        ports=[], **more)  # fmt: skip

    def last(self) -> dict:
        return self.send("GET", "v1/commands/").document["commands"][-1]


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_status_needs_no_token(rig):
    assert rig.send("GET", "v1/status", token="").document["version"] == "13.0.0"


@pytest.mark.parametrize("token", ["", "wrong"])
def test_commands_need_the_token(rig, token):
    for method, target, body in (
        ("GET", "v1/commands/", None),
        ("GET", "v1/commands/x", None),
        ("POST", "v1/commands/", {"name": "standby.sync", "params": {}}),
    ):
        answer = rig.send(method, target, body, token=token)
        assert answer.only.status == 401
        assert answer.document == {
            "faultcode": "Client",
            "faultstring": "401 Unauthorized: Token invalid.",
        }


def test_it_reports_its_steps_by_hardware_manager(rig):
    deploy = rig.run("deploy.get_deploy_steps", node={}, ports=[]).document
    assert deploy["command_status"] == "SUCCEEDED"
    steps = deploy["command_result"]["deploy_steps"]["GenericHardwareManager"]
    assert {s["step"]: s["priority"] for s in steps}["write_image"] == 80
    clean = rig.run("clean.get_clean_steps", node={}, ports=[]).document["command_result"]
    steps = clean["clean_steps"]["GenericHardwareManager"]
    assert {s["step"]: s["priority"] for s in steps}["erase_devices_metadata"] == 10
    assert clean["hardware_manager_version"] == {"generic_hardware_manager": "1.2"}


def test_a_step_runs_in_the_background_and_takes_its_time(rig):
    begun = rig.deploy().document
    assert (begun["command_name"], begun["command_status"]) == ("execute_deploy_step", "RUNNING")
    rig.clock.advance(19.9)
    assert rig.machine.disk is None
    rig.clock.advance(0.1)
    ended = rig.send("GET", f"v1/commands/{begun['id']}").document
    assert ended["command_status"] == "SUCCEEDED"
    assert ended["command_result"]["deploy_step"]["step"] == "write_image"
    assert "http://i/debian.raw" in ended["command_result"]["deploy_result"]
    assert rig.machine.disk == "http://i/debian.raw"


def test_the_image_named_in_image_info_wins(rig):
    rig.deploy(image_info={"id": "image-1", "urls": []})
    rig.clock.advance(20.0)
    assert rig.machine.disk == "image-1"


def test_waiting_for_a_command_answers_when_it_ended(rig):
    answer = rig.deploy("?wait=true")
    assert answer.all == []
    rig.clock.advance(20.0)
    assert answer.document["command_status"] == "SUCCEEDED"


def test_who_waits_when_the_power_goes_is_left_without_an_answer(rig):
    answer = rig.deploy("?wait=true")
    rig.agent.stop()
    assert answer.all == [None]


def test_it_does_one_thing_at_a_time(rig):
    rig.deploy()
    refused = rig.run("standby.sync")
    assert refused.only.status == 409
    assert "Agent is busy: executing command execute_deploy_step" in refused.document["faultstring"]
    rig.clock.advance(20.0)
    assert rig.run("standby.sync").document["command_result"] is None


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"name": "nodot", "params": {}}, 400),
        ({"name": "nosuch.thing", "params": {}}, 404),
        ({"name": "standby.nosuch", "params": {}}, 400),
        ({"name": "standby.sync"}, 400),
        ({"name": "standby.sync", "params": []}, 400),
        ({"params": {}}, 400),
        ([], 400),
    ],
)
def test_what_makes_no_sense_is_refused(rig, body, status):
    answer = rig.send("POST", "v1/commands/", body)
    assert answer.only.status == status
    assert answer.document["faultcode"] == "Client"
    assert rig.send("GET", "v1/commands/nosuch").only.status == 404


def test_an_injected_failure_fails_the_step(rig):
    rig.machine.set_faults(Faults(fail_steps=("write_image",)))
    rig.deploy()
    rig.clock.advance(20.0)
    failed = rig.last()
    assert (failed["command_status"], failed["command_result"]) == ("FAILED", None)
    assert failed["command_error"]["type"] == "DeploymentError"
    assert rig.machine.disk is None


def test_a_step_it_does_not_know_fails(rig):
    rig.run("clean.execute_clean_step", step={"step": "polish"}, node={}, ports=[])
    assert rig.last()["command_error"]["type"] == "CleaningError"
    rig.run("clean.execute_clean_step", step={}, node={}, ports=[])
    assert rig.last()["command_status"] == "FAILED"


def test_another_version_of_the_hardware_managers_is_a_mismatch(rig):
    rig.deploy(deploy_version={"generic_hardware_manager": "0.1"})
    assert rig.last()["command_status"] == "CLEAN_VERSION_MISMATCH"
    rig.deploy(deploy_version={"generic_hardware_manager": "1.2"})
    assert rig.last()["command_status"] == "RUNNING"


def test_cleaning_erases_the_disk(rig):
    rig.machine.write_disk("old")
    step = {"step": "erase_devices_metadata"}
    rig.run("clean.execute_clean_step", step=step, node={}, ports=[])
    rig.clock.advance(20.0)
    assert rig.last()["command_result"] == {"clean_result": None, "clean_step": step}
    assert rig.machine.disk is None


def test_prepare_image_and_install_bootloader_work_as_ironics_direct_deploy_drives_them(rig):
    rig.run("standby.prepare_image", image_info={"id": "i1", "urls": ["http://i"]})
    rig.clock.advance(20.0)
    assert rig.last()["command_result"]["result"].startswith("prepare_image: image (i1) written")
    assert rig.machine.disk == "i1"
    rig.run("image.install_bootloader", root_uuid="x")
    rig.clock.advance(20.0)
    assert rig.last()["command_status"] == "SUCCEEDED"


def test_power_off_is_answered_and_then_the_machine_goes_off(rig):
    answer = rig.run("standby.power_off", "?wait=true")
    rig.clock.advance(0.0)
    assert answer.document["command_status"] == "SUCCEEDED"
    assert rig.machine.power is Power.ON
    rig.clock.advance(1.2)
    assert rig.machine.power is Power.OFF


def test_run_image_restarts_the_machine(rig):
    rig.run("standby.run_image")
    rig.clock.advance(0.2)
    assert (rig.machine.power, rig.machine.running) == (Power.ON, Running.BOOTING)


def test_a_locked_down_agent_serves_nothing_more(rig):
    assert rig.run("system.lockdown").document["command_status"] == "SUCCEEDED"
    rig.clock.advance(0.2)
    assert not rig.agent.serving


def test_logs_and_hardware_can_be_read(rig):
    assert rig.run("log.collect_system_logs").document["command_result"]["system_logs"]
    hardware = rig.run("poll.get_hardware_info").document["command_result"]
    assert hardware["interfaces"][0]["mac_address"] == rig.machine.mac


def test_a_lost_answer_is_executed_all_the_same(rig):
    rig.machine.set_faults(Faults(agent_lost_answer_rate=1.0))
    assert rig.deploy().all == [None]
    rig.clock.advance(20.0)
    assert rig.machine.disk == "http://i/debian.raw"
    line = next(x for x in lines_of(rig.journal) if x.action.startswith("agent.deploy"))
    assert (line.fault, line.done) == ("lost_answer", True)


def test_commands_are_journalled_with_their_origin_and_step(rig):
    rig.deploy()
    rig.run("standby.sync")
    executed, refused = (x for x in lines_of(rig.journal) if x.action.startswith("agent."))
    assert (executed.action, executed.value) == ("agent.deploy.execute_deploy_step", "write_image")
    assert (executed.member, executed.epoch, executed.job, executed.step, executed.attempt) == (
        "m1", 7, "j1", "write_image", 2,
    )  # fmt: skip
    assert (executed.status, executed.done, executed.boot) == (200, True, 1)
    assert (refused.status, refused.done) == (409, False)
