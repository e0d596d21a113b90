"""The duty on virtual time, with real conductor and gateway code around it."""

from __future__ import annotations

import asyncio

import pytest
from tests.baremetal.power_sync.fleet import INTERVAL_S, Fleet

from holdfast.baremetal.power_sync.restore import KIND, REQUESTED_BY
from holdfast.baremetal.power_sync.settings import PowerSyncSettings
from holdfast.baremetal.power_sync.verdict import POWER_FAILURE
from holdfast.bmc.settings import BmcSettings
from holdfast.store.model import JobState

ON, OFF = "power on", "power off"
FORCED = PowerSyncSettings(interval_s=INTERVAL_S, force_power_state=True)
PASS_S = INTERVAL_S * 1.5  # until a new node was asked for sure


def test_what_the_bmc_says_is_recorded_within_an_interval_and_nothing_else_is_written():
    fleet = Fleet()

    async def scene() -> None:
        quiet, changed, unknown = fleet.enrol(3)
        fleet.document(unknown)["power_state"] = None
        changed.power = OFF
        before = [dict(fleet.document(m)) for m in (quiet, changed, unknown)]
        await asyncio.sleep(PASS_S)
        after = [fleet.document(m) for m in (quiet, changed, unknown)]
        assert after[0] == before[0]
        for was, now, power in ((before[1], after[1], OFF), (before[2], after[2], ON)):
            written = {name for name in was if was[name] != now[name]}
            assert written == {"power_state", "updated_at"}
            assert (now["power_state"], now["last_error"]) == (power, "an old error")
        assert changed.told == []

    fleet.play(scene)


def test_each_machine_is_asked_once_per_interval_by_whoever_owns_it():
    fleet = Fleet()

    async def scene() -> None:
        machines = fleet.enrol(100)
        await asyncio.sleep(PASS_S + 10 * INTERVAL_S)
        for machine in machines:
            assert 9 <= len(machine.seen) <= 12
        assert sum(len(sync.schedule) for sync in fleet.syncs.values()) == 100
        assert all(len(sync.schedule) > 30 for sync in fleet.syncs.values())

    fleet.play(scene, conductors=("a", "b"))


def test_a_dead_conductors_machines_are_asked_by_the_next_owner():
    fleet = Fleet()

    async def scene() -> None:
        machines = fleet.enrol(40)
        await asyncio.sleep(PASS_S)
        fleet.loop.crash(fleet.processes["a"])
        died_at = fleet.loop.now
        for machine in machines:
            machine.power = OFF
        await asyncio.sleep(6.0 + PASS_S)
        assert all(fleet.document(m)["power_state"] == OFF for m in machines)
        assert all(m.seen[-1] > died_at for m in machines)
        assert len(fleet.syncs["b"].schedule) == 40

    fleet.play(scene, conductors=("a", "b"))


def test_a_node_with_a_job_is_its_jobs_and_one_in_maintenance_is_left_alone():
    fleet = Fleet()

    async def scene() -> None:
        busy, resting, fresh = fleet.enrol(3)
        fleet.document(resting)["maintenance"] = True
        fleet.document(fresh)["provision_state"] = "enroll"
        await fleet.work(busy, 100.0)
        await asyncio.sleep(95.0)
        assert (busy.seen, resting.seen, fresh.seen) == ([], [], [])
        await asyncio.sleep(PASS_S)
        assert busy.seen != []

    fleet.play(scene)


def test_a_job_that_began_and_ended_meanwhile_is_not_overwritten():
    """The BMC said "on"; before that was written, an operator's job switched it off."""
    fleet = Fleet()

    async def scene() -> None:
        [machine] = fleet.enrol(1)
        fleet.document(machine)["power_state"] = "error"  # so that there is something to write
        machine.latency_s = 5.0
        while not machine.seen:
            await asyncio.sleep(0.1)
        await fleet.work(machine, 1.0)
        await asyncio.sleep(8.0)
        assert len(machine.seen) == 1
        assert fleet.document(machine)["power_state"] == OFF
        await asyncio.sleep(PASS_S)
        assert fleet.document(machine)["power_state"] == ON  # as the next pass finds it

    fleet.play(scene)


@pytest.mark.parametrize("how", ["refuse", "hang"])
def test_a_dead_bmc_gets_the_fault_after_three_passes_and_loses_it_by_itself(how: str):
    fleet = Fleet()

    async def scene() -> None:
        dead, alive = fleet.enrol(2)
        await asyncio.sleep(PASS_S)
        dead.dead = how
        first = len(dead.seen)
        while len(dead.seen) < first + 2:
            await asyncio.sleep(1.0)
        await asyncio.sleep(12.0)
        assert fleet.document(dead)["fault"] is None
        await asyncio.sleep(INTERVAL_S + 12.0)
        node = fleet.document(dead)
        assert (node["fault"], node["maintenance"]) == (POWER_FAILURE, True)
        assert "3 passes" in node["maintenance_reason"]
        assert (node["power_state"], node["last_error"]) == (ON, "an old error")
        assert fleet.document(alive)["fault"] is None
        # It is asked on and on, if seldom, and an answer is all it takes.
        dead.dead, dead.power = None, OFF
        await asyncio.sleep(3 * INTERVAL_S)
        node = fleet.document(dead)
        assert (node["fault"], node["maintenance"], node["maintenance_reason"]) == (
            None,
            False,
            None,
        )
        assert (node["power_state"], node["last_error"]) == (OFF, "an old error")

    fleet.play(scene)


def test_dead_bmcs_cost_the_others_nothing():
    fleet = Fleet()

    async def scene() -> None:
        machines = fleet.enrol(300)
        for machine in machines[::2]:
            machine.dead = "hang"
        await asyncio.sleep(PASS_S + 5 * INTERVAL_S)
        for machine in machines[1::2]:
            assert 5 <= len(machine.seen) <= 7
        for machine in machines[::2]:
            assert len(machine.seen) <= 6

    fleet.play(scene)


def test_a_gateway_that_is_away_is_no_fault_of_the_bmcs():
    fleet = Fleet()

    async def scene() -> None:
        machines = fleet.enrol(20)
        await asyncio.sleep(PASS_S)
        core, asked = fleet.core, [len(m.seen) for m in machines]
        assert core is not None
        core.drain()
        await asyncio.sleep(10 * INTERVAL_S)
        assert [len(m.seen) for m in machines] == asked
        assert all(fleet.document(m)["fault"] is None for m in machines)
        await fleet.open_gateway()
        await asyncio.sleep(PASS_S)
        assert all(len(m.seen) > n for m, n in zip(machines, asked, strict=True))

    fleet.play(scene)


def test_a_gateway_that_lost_its_state_gets_routes_anew_within_the_interval():
    fleet = Fleet()

    async def scene() -> None:
        machines = fleet.enrol(20)
        await asyncio.sleep(PASS_S)
        fleet.disk.lose()
        await fleet.open_gateway()
        lost_at = fleet.loop.now
        await asyncio.sleep(INTERVAL_S + 10.0)
        assert all(m.seen[-1] > lost_at for m in machines)

    fleet.play(scene)


def test_a_database_that_is_away_stops_nothing_for_good(monkeypatch: pytest.MonkeyPatch):
    fleet = Fleet()

    async def scene() -> None:
        from holdfast.errors import StoreUnavailableError

        [machine] = fleet.enrol(1)
        machine.power = OFF

        async def away(*_: object, **__: object) -> None:
            raise StoreUnavailableError("no answer")

        for name in ("patch_idle", "owned_objects"):
            monkeypatch.setattr(fleet.store, name, away)
            await asyncio.sleep(PASS_S)
        assert fleet.document(machine)["power_state"] == ON
        monkeypatch.undo()
        await asyncio.sleep(PASS_S)
        assert fleet.document(machine)["power_state"] == OFF

    fleet.play(scene)


# -- forcing the recorded state


def test_forced_a_machine_is_switched_back_by_a_job_that_operators_see():
    fleet = Fleet(FORCED)

    async def scene() -> None:
        [machine] = fleet.enrol(1)
        machine.power = OFF
        await asyncio.sleep(PASS_S)
        assert machine.power == ON
        [job] = await fleet.store.jobs(obj=machine.node)
        assert (job.kind, job.state) == (KIND, JobState.SUCCEEDED)
        assert (job.args, job.requested_by) == ({"target": ON}, REQUESTED_BY)
        [(_, state, lane)] = machine.told
        assert (state, lane) == (ON, "sync")
        node = fleet.document(machine)
        assert (node["power_state"], node["target_power_state"]) == (ON, None)
        assert node["last_error"] == "an old error"

    fleet.play(scene)


def test_forced_in_vain_the_machines_own_state_is_recorded_in_the_end():
    fleet = Fleet(FORCED)

    async def scene() -> None:
        [machine] = fleet.enrol(1)
        machine.power, machine.obeys = OFF, False
        await asyncio.sleep(15 * INTERVAL_S)
        node = fleet.document(machine)
        assert node["power_state"] == OFF
        assert node["last_error"] == "an old error"
        jobs = await fleet.store.jobs(obj=machine.node)
        assert [job.state for job in jobs] == [JobState.FAILED] * 3

    fleet.play(scene)


def test_five_hundred_machines_that_lost_power_come_back_at_the_pace_and_operators_between():
    settings = PowerSyncSettings(interval_s=INTERVAL_S, force_power_state=True, restores_max=40)
    fleet = Fleet(settings, BmcSettings(power_on_per_s=5.0, power_on_burst=5))

    async def scene() -> None:
        machines = fleet.enrol(500)
        await asyncio.sleep(PASS_S)
        for machine in machines:
            machine.power = OFF
        cut_at = fleet.loop.now
        while any(m.power == OFF for m in machines):
            await asyncio.sleep(1.0)
            assert fleet.loop.now - cut_at < 500 / 5 * 1.5 + INTERVAL_S
        told = sorted(at for m in machines for at, _, _ in m.told)
        assert len(told) == 500  # each once
        for start in range(int(told[0]), int(told[-1])):
            assert sum(start <= at < start + 10 for at in told) <= 5 * 10 + 5
        await asyncio.sleep(INTERVAL_S)
        assert all(fleet.document(m)["power_state"] == ON for m in machines)
        assert all(fleet.document(m)["target_power_state"] is None for m in machines)
        jobs = await fleet.store.jobs(limit=1_000)
        assert {job.state for job in jobs} == {JobState.SUCCEEDED}

    fleet.play(scene, conductors=("a", "b"))


def test_a_rack_whose_bmcs_were_dark_too_recovers_and_comes_back():
    fleet = Fleet(FORCED)

    async def scene() -> None:
        machines = fleet.enrol(60)
        await asyncio.sleep(PASS_S)
        for machine in machines:
            machine.power, machine.dead = OFF, "refuse"
        await asyncio.sleep(6 * INTERVAL_S)
        assert all(fleet.document(m)["fault"] == POWER_FAILURE for m in machines)
        for machine in machines:
            machine.dead = None
        await asyncio.sleep(8 * INTERVAL_S)
        for machine in machines:
            node = fleet.document(machine)
            assert (machine.power, node["power_state"]) == (ON, ON)
            assert (node["fault"], node["maintenance"]) == (None, False)
            assert node["last_error"] == "an old error"

    fleet.play(scene)
