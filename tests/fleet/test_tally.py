"""What a generation answered lately is known, and known still when another has followed it."""

from __future__ import annotations

from uuid import UUID

from holdfast.fleet.tally import RECENT_S, Tally
from holdfast.serving.operating.baseline import Counts

OLD, NEW = UUID(int=1), UUID(int=2)


def test_only_the_last_minute_is_recent():
    tally = Tally()
    for second in range(0, 600, 5):
        tally.look(OLD, Counts(second * 10, 0 if second < 500 else second - 500), float(second))
    assert tally.now == Counts(5950, 95)
    assert tally.recent == Counts(round(RECENT_S * 10), 60)


def test_what_the_last_generation_gave_stays_known():
    tally = Tally()
    tally.look(OLD, Counts(10, 5), 0.0)
    tally.look(OLD, Counts(20, 10), 5.0)
    tally.look(NEW, Counts(3, 0), 10.0)
    assert (tally.before, tally.now, tally.recent) == (Counts(20, 10), Counts(3, 0), Counts(3, 0))
    assert tally.since_s == 10.0


def test_counters_that_begin_anew_count_from_there():
    tally = Tally()
    tally.look(OLD, Counts(100, 5), 0.0)
    tally.look(OLD, Counts(4, 1), 5.0)
    assert tally.recent == Counts(4, 1)
