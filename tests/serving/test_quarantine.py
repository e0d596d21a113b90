"""When a generation is left alone because of what becomes of its workers."""

from __future__ import annotations

from holdfast.serving.pool.quarantine import (
    DEATHS,
    QUARANTINE_S,
    VANISHED,
    YOUNG_S,
    Quarantine,
)


def stopped(count: int, every_s: float, age_s: float) -> Quarantine:
    """After so many stops; each answered something before."""
    quarantine = Quarantine()
    for number in range(count):
        now = 1000.0 + number * every_s
        quarantine.deaths_in_a_row = 0
        quarantine.stopped(now, now - age_s)
    return quarantine


def test_workers_that_die_before_they_are_ready_are_left_alone():
    quarantine = Quarantine()
    for number in range(DEATHS):
        assert not quarantine.until
        quarantine.died(float(number), ready=False)
    assert quarantine.until == quarantine.not_before == DEATHS - 1 + QUARANTINE_S


def test_workers_that_answer_and_are_stopped_soon_are_left_alone():
    """Disk, processor time, threads: what they answer meanwhile is no sign of health."""
    assert not stopped(DEATHS - 1, every_s=5, age_s=3).until
    assert stopped(DEATHS, every_s=5, age_s=3).until == 1000 + 5 * (DEATHS - 1) + QUARANTINE_S


def test_a_worker_stopped_now_and_then_is_replaced():
    assert not stopped(100, every_s=YOUNG_S / (DEATHS - 1) + 1, age_s=3).until


def test_workers_that_lived_long_are_replaced_though_all_are_stopped_at_once():
    """A slow leak reaches its bound in all workers at about the same time."""
    assert not stopped(32, every_s=0.1, age_s=YOUNG_S + 1).until


def test_deaths_while_answering_delay_the_next_worker_only():
    quarantine = Quarantine()
    for _ in range(10):
        quarantine.died(100.0, ready=True)
    assert not quarantine.until
    assert 100 < quarantine.not_before < 100 + QUARANTINE_S


def vanished(count: int, age_s: float, *, answered: bool, every_s: float = 0.1) -> Quarantine:
    """After so many that ended with nothing to do, while others answer if these have, too."""
    quarantine = Quarantine()
    for number in range(count):
        now = 1000.0 + number * every_s
        if answered:
            quarantine.deaths_in_a_row = 0
        quarantine.vanished(now, now - age_s, answered=answered)
    return quarantine


def test_workers_that_are_ready_and_end_before_they_answer_are_left_alone():
    assert not vanished(DEATHS - 1, 0.02, answered=False).until
    assert vanished(DEATHS, 0.02, answered=False).until
    assert not vanished(DEATHS, YOUNG_S + 1, answered=False).until  # all are killed from outside


def test_workers_that_answer_and_end_again_and_again_are_left_alone():
    assert not vanished(VANISHED - 1, 0.02, answered=True).until
    assert vanished(VANISHED, 0.02, answered=True).until
    assert not vanished(VANISHED, 0.02, answered=True, every_s=2).until
