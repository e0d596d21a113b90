from __future__ import annotations

import random

import pytest

from holdfast.bmc.breaker import FORGOTTEN_S, Breakers, BreakerState
from holdfast.bmc.errors import BreakerOpenError
from holdfast.bmc.settings import BreakerSettings

BMC = "http://192.0.2.1"


def breakers(jitter: float = 0) -> Breakers:
    settings = BreakerSettings(failures=3, backoff_first_s=2, backoff_max_s=10, jitter=jitter)
    return Breakers(settings, random.Random(1))


def fail(some: Breakers, now: float) -> None:
    some.before(BMC, now)
    some.failed(BMC, now, "Connection refused.")


def opened(now: float = 0.0) -> Breakers:
    some = breakers()
    for _ in range(3):
        fail(some, now)
    return some


def wait_s(some: Breakers, now: float) -> float:
    with pytest.raises(BreakerOpenError) as caught:
        some.before(BMC, now)
    value = caught.value.details["retry_after_s"]
    assert isinstance(value, float)
    return value


def test_it_opens_after_failures_in_a_row_and_says_when_to_come_again():
    some = breakers()
    fail(some, 0)
    fail(some, 0)
    some.before(BMC, 0)
    some.failed(BMC, 0, "Connection refused.")
    assert some.state(BMC) is BreakerState.OPEN
    assert wait_s(some, 0.5) == 1.5


def test_who_is_told_to_wait_is_told_why():
    with pytest.raises(BreakerOpenError, match=r"192\.0\.2\.1.*Connection refused\."):
        opened().before(BMC, 0.5)


def test_an_answer_in_between_starts_the_count_anew():
    some = breakers()
    for _ in range(10):
        fail(some, 0)
        fail(some, 0)
        some.before(BMC, 0)
        some.answered(BMC)
    assert some.state(BMC) is BreakerState.CLOSED


def test_other_addresses_are_not_affected():
    opened().before("http://192.0.2.2", 0)


def test_one_probe_at_a_time_goes_through_when_its_time_is_over():
    some = opened()
    some.before(BMC, 2.0)
    assert some.state(BMC) is BreakerState.PROBING
    assert wait_s(some, 2.0) > 0


def test_a_probe_that_is_answered_closes_it():
    some = opened()
    some.before(BMC, 2.0)
    some.answered(BMC)
    some.before(BMC, 2.0)
    assert some.counts(2.0) == {BreakerState.OPEN: 0, BreakerState.PROBING: 0}


def test_an_address_that_nobody_asks_any_more_is_forgotten():
    some = opened()
    assert some.counts(FORGOTTEN_S)[BreakerState.OPEN] == 1
    assert some.counts(2.0 + FORGOTTEN_S)[BreakerState.OPEN] == 0
    assert some.state(BMC) is BreakerState.CLOSED


def test_a_probe_that_fails_waits_twice_as_long_up_to_the_limit():
    some = opened()
    now, waits = 2.0, []
    for _ in range(4):
        fail(some, now)
        waits.append(wait_s(some, now))
        now += waits[-1]
    assert waits == [4, 8, 10, 10]


def test_an_abandoned_probe_gives_its_place_back():
    some = opened()
    some.before(BMC, 2.0)
    some.unknown(BMC, 2.0)
    some.before(BMC, 2.0)


def test_a_failure_of_what_was_sent_before_it_opened_does_not_prolong_it():
    some = opened()
    some.failed(BMC, 1.0, "Connection refused.")
    assert wait_s(some, 1.0) == 1.0


def test_jitter_shortens_by_at_most_its_share():
    for seed in range(50):
        settings = BreakerSettings(failures=1, backoff_first_s=10, backoff_max_s=10, jitter=0.2)
        some = Breakers(settings, random.Random(seed))
        fail(some, 0)
        assert 8 <= wait_s(some, 0) <= 10
