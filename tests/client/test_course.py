"""One query's course, step by step: whom it asks, what it repeats, what it never repeats."""

from __future__ import annotations

import random
from typing import Any

import pytest

from holdfast.client.addresses import Address
from holdfast.client.course import Attempt, Course, Dispatch
from holdfast.client.errors import DeadlineError, NoInstanceError
from holdfast.client.settings import Settings


def dispatch(count: int = 3, **told: Any) -> Dispatch:
    made = Dispatch(Settings(**told), random.Random(1))
    made.instances.replace(Address(False, f"n{n}", 80) for n in range(count))
    return made


def course(
    of: Dispatch, now: float = 0.0, *, deadline: float = 10.0, hedged: bool = True
) -> Course:
    return Course(of, "e/run", now, deadline, hedged=hedged)


def begun(one: Course, now: float = 0.0) -> Attempt:
    step = one.next(now)
    assert isinstance(step, Attempt), step
    return step


def paused(one: Course, now: float = 0.0) -> float:
    step = one.next(now)
    assert not isinstance(step, Attempt)
    return step


def answered(one: Course, attempt: Attempt, status: int, now: float = 0.1, **more: Any) -> bool:
    told = {"retry_after_s": 0.0, "leaving": False} | more
    return one.answered(attempt, status, now, **told)


def warm(of: Dispatch, spent_s: float = 0.01, count: int = 100) -> None:
    """So many queries have been answered in that time."""
    for _ in range(count):
        one = course(of)
        assert answered(one, begun(one), 200, spent_s)
        one.close(spent_s)


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 413, 500, 502, 504])
def test_an_answer_is_final(status: int):
    one = course(dispatch())
    assert answered(one, begun(one), status)


@pytest.mark.parametrize("status", [429, 503])
def test_who_is_refused_for_now_asks_another(status: int):
    one = course(dispatch())
    first = begun(one)
    assert not answered(one, first, status, retry_after_s=1.0)
    second = begun(one, 0.1)
    assert second.instance is not first.instance
    assert answered(one, second, 200, 0.2)


def test_when_all_have_refused_it_waits_as_long_as_they_say():
    one = course(dispatch(2))
    assert not answered(one, begun(one), 503, retry_after_s=3.0)
    assert not answered(one, begun(one, 0.1), 503, 0.2, retry_after_s=3.0)
    assert paused(one, 0.2) == pytest.approx(3.2)
    assert answered(one, begun(one, 3.2), 200, 3.3)


def test_a_refusal_is_the_answer_when_waiting_would_be_too_long():
    one = course(dispatch(1), deadline=2.0)
    assert answered(one, begun(one), 429, retry_after_s=5.0)


def test_a_refusal_is_the_answer_when_the_budget_is_spent():
    of = dispatch(budget_burst=1.0, budget_share=0.0, budget_per_s=0.0)
    one = course(of)
    assert not answered(one, begun(one), 503)
    assert answered(one, begun(one, 0.1), 503)


def test_a_first_loss_is_made_good_without_the_budget():
    """A dead instance does no work, so the load only moves."""
    one = course(dispatch(budget_burst=0.0, budget_share=0.0, budget_per_s=0.0))
    first = begun(one)
    one.lost(first, "reset", 0.1, sent=True)
    second = begun(one, 0.1)
    assert second.instance is not first.instance
    one.lost(second, "reset", 0.2, sent=True)
    with pytest.raises(NoInstanceError, match=r"n0.*reset"):
        one.next(0.2)


def test_who_refuses_connections_is_not_asked_by_later_queries():
    of = dispatch()
    one = course(of)
    dead = begun(one).instance
    one.lost(one._live[0], "refused", 0.0, sent=False)
    assert {begun(course(of)).instance for _ in range(50)} == {*of.instances.all} - {dead}


def test_an_instance_that_is_down_is_asked_when_no_other_is_left():
    of = dispatch(2)
    for instance in of.instances.all:
        of.instances.refused(instance, "refused", 0.0)
    assert begun(course(of))


def test_more_than_half_shunned_is_panic_and_all_are_used():
    of = dispatch(4)
    for instance in of.instances.all[:2]:
        of.instances.shun(instance, "429", 5.0, 0.0)
    assert {begun(course(of)).instance for _ in range(50)} == {*of.instances.all[2:]}
    of.instances.shun(of.instances.all[2], "429", 5.0, 0.0)
    assert {begun(course(of)).instance for _ in range(100)} == {*of.instances.all}


def test_failures_in_a_row_eject_longer_each_time():
    of = dispatch()
    bad = of.instances.all[0]
    rests: list[float] = []
    now = 0.0
    for _ in range(12):
        for _ in range(of.settings.eject_after):
            of.instances.failed(bad, "answered 500", now)
        rests.append(bad.shunned_until - now)
        now = bad.shunned_until
    assert rests[0] <= 0.5 * 1.25
    assert rests[3] > 4 * rests[0]
    assert max(rests) <= 30.0 * 1.25
    of.instances.succeeded(bad)
    assert bad.ejections == 0


def test_a_bad_query_does_not_eject_who_answers_it():
    of = dispatch(1)
    for _ in range(20):
        one = course(of)
        answered(one, begun(one), 400, leaving=True)
    assert of.instances.all[0].state(0.2) == "used"


def test_connection_close_under_way_means_that_it_leaves():
    of = dispatch()
    one = course(of)
    first = begun(one)
    assert answered(one, first, 200, leaving=True)
    assert first.instance.state(0.2) == "shunned"
    assert first.instance.state(2.2) == "used"


# ---- what is not the instance's fault -----------------------------------------------------------


def test_what_the_services_code_raised_is_no_failure_of_the_instance():
    """One user whose queries fail must not drive a client from healthy nodes."""
    of = dispatch(1)
    for _ in range(20):
        one = course(of)
        assert answered(one, begun(one), 500, error_type="ValueError")
    assert of.instances.all[0].state(0.2) == "used"
    assert of.instances.all[0].failures == 0


@pytest.mark.parametrize(
    ("status", "error_type"), [(500, ""), (502, ""), (500, "WorkerDiedError"), (504, "ValueError")]
)
def test_other_server_errors_count_against_the_instance(status: int, error_type: str):
    of = dispatch(1)
    for _ in range(of.settings.eject_after):
        one = course(of)
        assert answered(one, begun(one), status, error_type=error_type)
    assert of.instances.all[0].state(0.2) == "shunned"


def test_a_kept_connection_that_ends_without_a_word_is_no_failure_of_the_instance():
    """The instance closes it as idle in the moment in which it is used again."""
    of = dispatch(1, budget_burst=0.0, budget_share=0.0, budget_per_s=0.0)
    for _ in range(20):
        one = course(of)
        one.lost(begun(one), "closed", 0.0, sent=True, stale=True)
        again = begun(one)  # at once and for nothing, also by the only one there is
        assert answered(one, again, 200)
    assert of.instances.all[0].failures == 0


def test_kept_connections_that_end_again_and_again_are_paid_for():
    one = course(dispatch(2, budget_burst=0.0, budget_share=0.0, budget_per_s=0.0))
    one.lost(begun(one), "closed", 0.0, sent=True, stale=True)
    one.lost(begun(one), "closed", 0.0, sent=True, stale=True)
    with pytest.raises(NoInstanceError, match="closed"):
        one.next(0.0)


def test_an_answer_too_large_to_read_is_no_failure_of_the_instance():
    of = dispatch(1)
    for _ in range(20):
        one = course(of)
        one.too_large(begun(one))
        one.close(0.1)
    assert of.instances.all[0].state(0.2) == "used"
    assert of.instances.all[0].in_flight == 0


# ---- where a service is --------------------------------------------------------------------------

NONE_LEFT: dict[str, Any] = {"budget_burst": 0.0, "budget_share": 0.0, "budget_per_s": 0.0}


def asked(of: Dispatch, service: str, having: set[str], now: float = 0.0) -> tuple[int, list[str]]:
    """The status that a query of the service ends with, and whom it asked."""
    one = Course(of, "e/run", now, now + 10.0, hedged=False, service=service)
    hosts: list[str] = []
    while True:
        attempt = begun(one, now)
        hosts.append(attempt.instance.address.host)
        status = 200 if hosts[-1] in having else 404
        if answered(one, attempt, status, now, error_type="" if status == 200 else UNKNOWN):
            return status, hosts


UNKNOWN = "UnknownServiceError"


@pytest.mark.parametrize("count", [2, 3, 20])
def test_a_service_is_found_wherever_it_is(count: int):
    """Whatever the budget says: who knows no service has done no work, and says so once."""
    for seed in range(20):
        of = dispatch(count, **NONE_LEFT)
        of.chance.seed(seed)
        without: list[str] = []
        for _ in range(20):
            status, hosts = asked(of, "s", {"n1"})
            assert (status, hosts[-1]) == (200, "n1")
            without += hosts[:-1]
        assert len(without) == len(set(without))  # who lacks it is remembered
        assert {one.state(0.0) for one in of.instances.all} == {"used"}  # and nobody shunned


def test_who_lacks_one_service_is_asked_for_others():
    of = dispatch(2)
    asked(of, "s", {"n1"})
    hosts = {asked(of, "other", {"n0", "n1"})[1][0] for _ in range(50)}
    assert hosts == {"n0", "n1"}


def test_a_service_that_is_nowhere_is_the_404_and_asked_for_once():
    of = dispatch(5, **NONE_LEFT)
    status, hosts = asked(of, "s", set())
    assert (status, sorted(hosts)) == (404, ["n0", "n1", "n2", "n3", "n4"])
    status, hosts = asked(of, "s", set(), 0.1)
    assert (status, len(hosts)) == (404, 1)


@pytest.mark.parametrize("probe_s", [0.0, 2.0])
def test_a_lack_is_forgotten_with_the_next_probe_or_in_time(probe_s: float):
    of = dispatch(2, probe_s=probe_s)
    asked(of, "s", {"n1"})
    if probe_s:
        of.instances.probed(of.instances.all[0], "", 1.0)
    later = 1.0 if probe_s else 3.0
    assert {asked(of, "s", {"n0", "n1"}, later)[1][0] for _ in range(50)} == {"n0", "n1"}


def test_a_404_of_another_kind_is_the_answer():
    for error_type in ("", "NotFoundError"):
        one = course(dispatch())
        assert answered(one, begun(one), 404, error_type=error_type)


@pytest.mark.parametrize("lack", ["UnknownGenerationError", "UnknownEndpointError"])
def test_what_one_has_not_loaded_is_asked_for_elsewhere_and_not_for_ever(lack: str):
    of = dispatch(3)
    one = course(of)
    hosts = {begun(one).instance}
    for _ in range(2):
        assert not answered(one, one._live[0], 404, error_type=lack)
        hosts.add(begun(one, 0.1).instance)
    assert len(hosts) == 3
    assert answered(one, one._live[0], 404, error_type=lack)


def test_a_service_that_is_not_ready_is_asked_for_elsewhere_and_its_node_not_shunned():
    of = dispatch(2)
    one = Course(of, "e/run", 0.0, 10.0, hedged=False, service="s")
    first = begun(one)
    assert not answered(one, first, 503, error_type="NotServingError", retry_after_s=1.0)
    assert begun(one, 0.1).instance is not first.instance
    assert first.instance.state(0.2) == "used"
    later = [Course(of, "e/run", 0.5, 9.0, hedged=False, service="s") for _ in range(20)]
    assert first.instance not in {begun(one, 0.5).instance for one in later}
    later = [Course(of, "e/run", 1.5, 9.0, hedged=False, service="s") for _ in range(50)]
    assert first.instance in {begun(one, 1.5).instance for one in later}


def test_that_the_one_who_has_it_does_not_answer_is_not_told_as_a_404():
    of = dispatch(2, attempts_max=1)
    has, lacks = of.instances.all
    of.instances.refused(has, "cannot be connected to", 0.0)
    one = Course(of, "e/run", 0.0, 1.0, hedged=False, service="s")
    assert begun(one).instance is lacks
    assert not answered(one, one._live[0], 404, error_type=UNKNOWN)
    one.lost(begun(one, 0.1), "cannot be connected to", 0.1, sent=False)
    with pytest.raises(NoInstanceError, match=r"n0.*cannot be conn.*n1.*not have the service"):
        one.next(0.2)


def test_nobody_who_lacks_the_service_is_a_hedge():
    of = dispatch(2)
    warm(of)
    asked(of, "s", {"n1"})
    one = Course(of, "e/run", 0.0, 10.0, hedged=True, service="s")
    assert begun(one).instance.address.host == "n1"
    assert paused(one, 1.0) > 1.0
    assert of.hedges == 0


# ---- hedges ----------------------------------------------------------------------------------


def test_a_second_instance_is_asked_after_the_usual_time():
    of = dispatch()
    warm(of, 0.01)
    one = course(of)
    first = begun(one)
    assert paused(one, 0.0) == pytest.approx(0.01)
    second = begun(one, 0.01)
    assert second.hedge
    assert second.instance is not first.instance
    assert paused(one, 0.02) > 0.02  # and no third
    assert answered(one, second, 200, 0.03)
    one.close(0.03)
    assert [i.in_flight for i in of.instances.all] == [0, 0, 0]


def test_functions_are_not_hedged_until_declared():
    of = dispatch()
    warm(of)
    one = course(of, hedged=False)
    begun(one)
    assert paused(one, 1.0) > 1.0
    assert of.hedges == 0


def test_nothing_is_hedged_before_there_are_enough_samples():
    of = dispatch()
    warm(of, count=of.settings.hedge_samples_min - 1)
    one = course(of)
    begun(one)
    assert paused(one, 1.0) > 1.0


def test_hedges_are_paid_for():
    of = dispatch(budget_burst=1.0, budget_share=0.0, budget_per_s=0.0)
    warm(of)
    for expected in (1, 1):
        one = course(of)
        begun(one)
        one.next(0.5)
        one.close(0.6)
        assert of.hedges == expected


def test_a_lost_hedge_leaves_the_first_attempt_alone():
    of = dispatch()
    warm(of)
    one = course(of)
    first = begun(one)
    hedge = begun(one, 0.5)
    one.lost(hedge, "reset", 0.6, sent=True)
    assert paused(one, 0.6) > 0.6
    assert answered(one, first, 200, 0.7)


def test_a_refused_hedge_leaves_the_first_attempt_alone():
    of = dispatch()
    warm(of)
    one = course(of)
    first = begun(one)
    assert not answered(one, begun(one, 0.5), 503, 0.6)
    assert answered(one, first, 200, 0.7)


# ---- time ------------------------------------------------------------------------------------


def test_a_query_has_one_deadline():
    of = dispatch()
    one = course(of, deadline=2.0)
    first = begun(one)
    assert paused(one) <= 2.0
    with pytest.raises(DeadlineError, match=r"n[0-2]"):
        one.next(2.0)
    one.close(2.0)
    assert first.instance.in_flight == 0
    assert first.instance.failures == 1


def test_who_stops_answering_probes_loses_the_queries_that_wait_for_it():
    """A host that is frozen does not close its connections."""
    of = dispatch()
    one = course(of, hedged=False)
    first = begun(one)
    of.instances.probed(first.instance, "silent", 1.0, silent=True)
    assert paused(one, 1.0) == pytest.approx(1.0 + of.settings.probe_s)  # once may be chance
    of.instances.probed(first.instance, "silent", 3.0, silent=True)
    second = begun(one, 3.0)
    assert second.instance is not first.instance
    assert answered(one, second, 200, 3.1)


def test_a_probe_that_says_no_ends_with_one_that_says_yes():
    of = dispatch()
    one = of.instances.all[0]
    of.instances.probed(one, "is not ready (503)", 0.0)
    assert one.state(1.0) == "down"
    of.instances.probed(one, "", 1.0)
    assert one.state(1.0) == "used"


def test_a_probe_that_was_never_repeated_is_forgotten():
    of = dispatch()
    one = of.instances.all[0]
    of.instances.probed(one, "is not ready (503)", 0.0)
    assert one.state(60.0) == "used"


def test_instances_that_stay_are_still_known_when_the_list_changes():
    of = dispatch()
    kept = of.instances.all[1]
    kept.in_flight = 7
    of.instances.replace([Address(False, "n1", 80), Address(False, "n9", 80)])
    assert of.instances.all[0] is kept
    assert of.instances.all[1].in_flight == 0


def test_no_instance_known_is_said():
    with pytest.raises(NoInstanceError, match="list of instances is empty"):
        course(dispatch(0)).next(0.0)


def test_latencies_of_different_endpoints_are_not_mixed():
    of = dispatch(2)
    slow, quick = of.instances.all
    of.instances.took(slow, "heavy", 5.0, 0.0)
    of.instances.took(quick, "heavy", 5.0, 0.0)
    of.instances.took(slow, "light", 0.001, 0.0)
    of.instances.took(quick, "light", 0.002, 0.0)
    assert {of.instances.choose("light", (), 0.0) for _ in range(20)} == {slow}
