"""Latency, faults and the journal around a BMC's commands, on a clock moved by hand."""

from __future__ import annotations

from random import Random

import pytest
from tests.sim.fleet.manual import Answers, ManualClock, lines_of, make_machine, request

from holdfast.sim.fleet.accounts import Account
from holdfast.sim.fleet.bmc import Bmc
from holdfast.sim.fleet.faults import Faults, Latency
from holdfast.sim.fleet.journal import Journal
from holdfast.sim.fleet.machine import Power
from holdfast.sim.fleet.redfish import Redfish

ACCOUNT = Account(username="u", password="p", session_limit=4, session_idle_s=300.0)
ORIGIN = "member=m1;epoch=3;job=-;step=-;attempt=0"
RESET = "/redfish/v1/Systems/1/Actions/ComputerSystem.Reset"


class Rig:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.journal = Journal()
        self.machine = make_machine(self.clock)
        redfish = Redfish({"1": self.machine}, ACCOUNT, self.clock.time)
        self.bmc = Bmc("bmc-0", redfish, clock=self.clock, rng=Random(3), journal=self.journal)

    def send(self, method: str, path: str, body: object = None) -> Answers:
        answers = Answers()
        sent = request(method, path, body, authorization=ACCOUNT.basic(),
                       x_holdfast_origin=ORIGIN)  # fmt: skip
        self.bmc(sent, answers)
        return answers

    def power_on(self, **faults: object) -> Answers:
        self.machine.set_faults(Faults(**faults))  # pyright: ignore[reportArgumentType]
        return self.send("POST", RESET, {"ResetType": "On"})

    @property
    def line(self):
        (line,) = lines_of(self.journal)
        return line


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_command_is_journalled_with_who_sent_it_and_what_came_of_it(rig):
    assert rig.power_on().only.status == 204
    line = rig.line
    assert (line.machine, line.action, line.value, line.status, line.done) == (
        "bmc-0", "power", "On", 204, True,
    )  # fmt: skip
    assert (line.member, line.epoch, line.job, line.step) == ("m1", 3, "", "")
    assert line.effect


def test_a_refused_command_is_journalled_as_not_done(rig):
    assert rig.send("POST", RESET, {"ResetType": "Nmi"}).only.status == 409
    assert rig.send("POST", RESET, {"ResetType": "Explode"}).only.status == 400
    conflict, nonsense = lines_of(rig.journal)
    assert (conflict.status, conflict.done, nonsense.status, nonsense.done) == (
        409, False, 400, False,
    )  # fmt: skip


def test_reads_and_logins_are_left_out_of_the_journal_unless_wanted(rig):
    rig.send("GET", "/redfish/v1/Systems/1")
    rig.send("POST", "/redfish/v1/SessionService/Sessions", {"UserName": "u", "Password": "p"})
    assert lines_of(rig.journal) == []
    rig.journal.reads = True
    rig.send("GET", "/redfish/v1/Systems/1")
    assert rig.line.action == "read"


def test_a_command_is_executed_when_its_latency_has_passed(rig):
    answer = rig.power_on(latency=Latency(median_s=2.0))
    rig.clock.advance(1.9)
    assert (rig.machine.power, answer.all, lines_of(rig.journal)) == (Power.OFF, [], [])
    rig.clock.advance(0.1)
    assert rig.machine.power is Power.POWERING_ON
    assert answer.only.status == 204
    assert rig.line.took_s == pytest.approx(2.0)


def test_latency_is_log_normal_around_its_median_and_bounded():
    latency = Latency(median_s=0.1, sigma=1.0, max_s=1.0)
    draws = sorted(latency.draw(rng) for rng in [Random(4)] for _ in range(1_001))
    assert draws[500] == pytest.approx(0.1, rel=0.2)
    assert draws[-1] <= 1.0
    assert Latency().draw(Random(4)) == 0.0


def test_an_error_rate_of_one_refuses_everything_and_does_nothing(rig):
    assert rig.power_on(error_rate=1.0).only.status == 500
    assert rig.machine.power is Power.OFF
    assert (rig.line.fault, rig.line.done) == ("error", False)


def test_a_bmc_that_hangs_never_answers(rig):
    answer = rig.power_on(dead="hang")
    rig.clock.advance(3_600.0)
    assert answer.all == []
    assert (rig.machine.power, rig.line.fault, rig.line.status) == (Power.OFF, "hang", 0)


def test_a_dead_system_among_others_drops_the_connection(rig):
    assert rig.power_on(dead="refuse").all == [None]


def test_a_bmc_that_lies_says_yes_and_does_nothing(rig):
    assert rig.power_on(lie="ignore").only.status == 204
    assert (rig.machine.power, rig.line.done) == (Power.OFF, False)
    assert rig.send("GET", "/redfish/v1/Systems/1").only.status == 200


def test_a_bmc_that_talks_nonsense_does_so_with_200(rig):
    answer = rig.power_on(lie="garbage")
    assert answer.only.status == 200
    assert (rig.machine.power, rig.line.done) == (Power.OFF, False)


def test_a_lost_answer_was_executed_all_the_same(rig):
    assert rig.power_on(lost_answer_rate=1.0).all == [None]
    assert rig.machine.power is Power.POWERING_ON
    assert (rig.line.fault, rig.line.done) == ("lost_answer", True)


def test_a_stranger_learns_only_that_he_is_one(rig):
    for path in (RESET, "/redfish/v1/Nosuch"):
        answers = Answers()
        rig.bmc(request("POST", path, {"ResetType": "Nonsense"}), answers)
        assert answers.only.status == 401
    assert not any(line.done for line in lines_of(rig.journal))


def test_an_idle_session_ends(rig):
    sessions = rig.bmc.redfish.sessions
    _, token = sessions.log_in("u", "p", 0.0)
    assert sessions.admits({"x-auth-token": token}, 299.0)
    assert sessions.admits({"x-auth-token": token}, 598.0)
    assert not sessions.admits({"x-auth-token": token}, 899.0)
