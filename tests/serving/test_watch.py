"""How much processor time a worker's queries explain."""

from __future__ import annotations

from holdfast.serving.generations.mounted import WorkerSettings, bounded
from holdfast.serving.packages.manifest import Pool
from holdfast.serving.pool.watch import FREE_S, Budget


def killed_after_s(worked: float, used: float, cores: int = 2, looks: int = 1000) -> float | None:
    """When a worker is, of whose every second so much has queries, and that is used."""
    budget = Budget(cores)
    for second in range(1, looks):
        if budget.overdrawn(float(second), worked * second, used * second):
            return float(second)
    return None


def test_a_worker_may_use_all_cores_while_it_has_a_query():
    assert killed_after_s(worked=1.0, used=2.0) is None


def test_a_worker_may_use_a_little_while_it_has_none():
    assert killed_after_s(worked=0.0, used=0.05) is None


def test_a_worker_that_spins_while_it_has_no_query_is_killed_soon():
    spins = killed_after_s(worked=0.0, used=1.0)
    assert spins is not None
    assert spins <= FREE_S + 3


def test_quick_queries_do_not_explain_threads_that_spin():
    assert killed_after_s(worked=0.05, used=1.0) is not None


def test_what_was_not_used_is_not_kept_for_later():
    budget = Budget(2)
    assert not budget.overdrawn(1.0, 0.0, 0.0)
    assert not budget.overdrawn(1000.0, 999.0, 1.0)
    assert budget.overdrawn(1001.0, 999.0, 1.0 + FREE_S + 1)


def test_a_package_gets_what_it_asks_for_as_far_as_the_node_allows():
    settings = WorkerSettings(generation_max=8, waiting_max=100)
    assert bounded(Pool(floor=2, cruise=3, ceil=4, queue=5), settings) == Pool(
        floor=2, cruise=3, ceil=4, queue=5
    )
    most = bounded(Pool(floor=256, cruise=256, ceil=256, queue=10_000), settings)
    assert (most.floor, most.cruise, most.ceil) == (8, 8, 8)
    assert most.queue * most.ceil <= 100
