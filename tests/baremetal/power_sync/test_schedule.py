"""When each BMC is asked: evenly, at moments of its own, less often while it fails."""

from __future__ import annotations

from itertools import pairwise
from uuid import UUID, uuid5

import pytest

from holdfast.baremetal.power_sync.schedule import SOON_S, Schedule
from holdfast.baremetal.power_sync.settings import PowerSyncSettings

SETTINGS = PowerSyncSettings(interval_s=60.0)
START = 1_000.0


def nodes(count: int) -> list[UUID]:
    return [uuid5(UUID(int=0), str(n)) for n in range(count)]


def run(
    schedule: Schedule, since: float, until: float, step_s: float | None = None
) -> list[tuple[float, UUID]]:
    """Ask whoever is due, with an answer at once; returns who was asked when."""
    asked: list[tuple[float, UUID]] = []
    now = since
    while now <= until:
        for node in schedule.due(now):
            asked.append((now, node))
            schedule.answered(node, now, 0.05)
        now += step_s or schedule.window_s
    return asked


@pytest.mark.parametrize("count", [1, 7, 100, 5_000])
def test_each_is_asked_once_per_interval(count: int):
    schedule = Schedule(SETTINGS)
    schedule.keep(nodes(count), START)
    asked = run(schedule, START, START + 300)
    for node in nodes(count)[:50]:
        times = [at for at, one in asked if one == node]
        assert 4 <= len(times) <= 6
        for earlier, later in pairwise(times):
            assert later - earlier == pytest.approx(60, abs=2 * schedule.window_s + 0.01)


def test_they_are_spread_evenly_over_the_interval():
    schedule = Schedule(SETTINGS)
    schedule.keep(nodes(5_000), START)
    asked = run(schedule, START, START + 120)
    for second in range(60, 120):
        in_it = sum(START + second <= at < START + second + 1 for at, _ in asked)
        assert 40 <= in_it <= 130  # 83 are due in the long run


@pytest.mark.parametrize(
    ("count", "window_s"), [(10, 6.0), (100, 6.0), (1_000, 0.6), (5_000, 0.12)]
)
def test_a_message_serves_about_ten_however_many_there_are(count: int, window_s: float):
    schedule = Schedule(SETTINGS)
    schedule.keep(nodes(count), START)
    assert schedule.window_s == pytest.approx(window_s)


def test_those_that_come_and_go_disturb_nobody():
    schedule = Schedule(SETTINGS)
    first, later = nodes(20)[:10], nodes(20)[10:]
    assert schedule.keep(first, START) == []
    run(schedule, START, START + 61)
    gone = schedule.keep([*first[5:], *later], START + 61)
    assert set(gone) == set(first[:5])
    asked = {node for _, node in run(schedule, START + 61, START + 130)}
    assert asked == {*first[5:], *later}


def test_one_that_is_asked_is_not_asked_again_until_it_is_settled():
    schedule = Schedule(SETTINGS)
    [node] = nodes(1)
    schedule.keep([node], START)
    assert schedule.due(START + 61) == [node]
    assert schedule.asked == 1
    assert schedule.due(START + 200) == []
    schedule.passed_over(node, START + 200)
    assert schedule.asked == 0
    schedule.answered(node, START + 201, 1.0)  # an answer that nobody waits for any more
    assert schedule.asked == 0
    assert schedule.due(START + 261) == [node]


def test_one_that_was_given_up_while_it_was_asked_is_not_counted():
    schedule = Schedule(SETTINGS)
    [node] = nodes(1)
    schedule.keep([node], START)
    schedule.due(START + 61)
    schedule.keep([], START + 61)
    assert (schedule.asked, len(schedule)) == (0, 0)
    assert schedule.failed(node, START + 62) == 0


def test_no_more_are_asked_at_a_time_than_allowed():
    schedule = Schedule(PowerSyncSettings(interval_s=60.0, in_flight_max=15))
    schedule.keep(nodes(1_000), START)
    asked = [node for second in range(60) for node in schedule.due(START + second)]
    assert len(asked) == 15


def test_what_was_missed_is_caught_up_with_at_twice_the_rate():
    schedule = Schedule(SETTINGS)
    schedule.keep(nodes(600), START)
    run(schedule, START, START + 60)
    # Nobody could be asked for an hour; then all are late, but not asked at once.
    since = START + 3_600
    asked = run(schedule, since, since + 60, step_s=0.5)
    assert sum(at <= since + 1 for at, _ in asked) <= 80
    assert sum(at <= since + 10 for at, _ in asked) <= 10 * 20 + 80
    assert len({node for at, node in asked if at <= since + 45}) == 600


def test_a_failing_bmc_is_asked_less_and_less_often_and_at_once_again_when_it_answers():
    settings = PowerSyncSettings(interval_s=60.0, failures_max=3, backoff_intervals_max=5)
    schedule = Schedule(settings)
    [node] = nodes(1)
    schedule.keep([node], START)
    times: list[float] = []
    now = START
    while now < START + 2_400:
        if schedule.due(now):
            times.append(now)
            assert schedule.failed(node, now) == len(times)
        now += 1.0
    gaps = [round((later - earlier) / 60) for earlier, later in pairwise(times)]
    assert gaps[:8] == [1, 1, 1, 2, 4, 5, 5, 5]
    assert schedule.failing == 1
    while not schedule.due(now):
        now += 1.0
    schedule.answered(node, now, 0.1)
    assert schedule.failing == 0
    assert schedule.due(now + 61) == [node]


def test_a_bmc_is_given_the_time_it_used_to_take_and_more_after_a_failure():
    schedule = Schedule(SETTINGS)
    quick, slow, new = nodes(3)
    schedule.keep([quick, slow, new], START)
    assert schedule.timeout_s(new) == SETTINGS.timeout_max_s
    now = START
    for _ in range(10):
        now += 60
        for node in schedule.due(now):
            if node != new:
                schedule.answered(node, now, 0.05 if node == quick else 1.5)
            else:
                schedule.failed(node, now)
    assert schedule.timeout_s(quick) == SETTINGS.timeout_min_s
    assert 6.0 <= schedule.timeout_s(slow) < SETTINGS.timeout_max_s
    assert schedule.timeout_s(new) == SETTINGS.timeout_max_s
    for _ in range(5):
        now += 60
        for node in schedule.due(now):
            schedule.failed(node, now)
    assert schedule.timeout_s(slow) == SETTINGS.timeout_max_s
    assert schedule.timeout_s(UUID(int=5)) == SETTINGS.timeout_max_s


def test_one_that_was_passed_over_comes_again_soon_but_only_once():
    schedule = Schedule(SETTINGS)
    [node] = nodes(1)
    schedule.keep([node], START)
    now = START + 61
    assert schedule.due(now) == [node]
    schedule.passed_over(node, now, soon=True)
    assert schedule.due(now + SOON_S) == [node]
    schedule.passed_over(node, now + SOON_S, soon=True)
    assert schedule.due(now + 2 * SOON_S) == []
    assert schedule.due(now + 60) == [node]


def test_how_late_it_is_is_known():
    schedule = Schedule(SETTINGS)
    schedule.keep(nodes(50), START)
    assert schedule.late_s(START) == 0
    assert 0 < schedule.late_s(START + 60) <= 60


def test_settings_that_contradict_each_other_are_named():
    assert PowerSyncSettings().faults() == []
    [fault] = PowerSyncSettings(timeout_min_s=20.0).faults()
    assert "timeout_max_s" in fault
