"""What is known of latencies, and what repetitions there may be."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from holdfast.client.budget import Budget
from holdfast.client.latency import PeakEwma, Tail


def test_a_worse_latency_counts_at_once_and_fades():
    mean = PeakEwma(decay_s=3.0)
    mean.add(0.01, 0.0)
    mean.add(1.0, 0.1)
    assert mean.at(0.1) == 1.0
    mean.add(0.01, 0.2)
    assert 0.9 < mean.at(0.2) < 1.0
    assert mean.at(30.0) < 0.01  # also while nobody asks


@given(st.lists(st.floats(0.0, 10.0), min_size=1, max_size=50))
def test_the_mean_is_never_above_the_worst(spent: list[float]):
    mean = PeakEwma(decay_s=3.0)
    for turn, one in enumerate(spent):
        mean.add(one, float(turn))
        assert 0.0 <= mean.at(float(turn)) <= max(spent) + 1e-9


def test_the_tail_is_known_once_there_are_enough_and_follows():
    tail = Tail(0.95, 100)
    for number in range(99):
        tail.add(number / 100)
    assert tail.value is None
    tail.add(0.99)
    assert tail.value == 0.95
    for _ in range(600):
        tail.add(5.0)
    assert tail.value == 5.0


@given(
    events=st.lists(st.tuples(st.booleans(), st.floats(0.0, 1.0)), max_size=300),
    share=st.floats(0.0, 0.5),
    burst=st.floats(0.0, 20.0),
    per_s=st.floats(0.0, 5.0),
)
def test_the_budget_is_never_overdrawn(
    events: list[tuple[bool, float]], share: float, burst: float, per_s: float
):
    budget = Budget(share, burst, per_s)
    now, queries, taken = 0.0, 0, 0
    for is_query, after_s in events:
        now += after_s
        if is_query:
            queries += 1
            budget.deposit()
        else:
            taken += budget.take(now)
    assert taken <= burst + share * queries + per_s * now + 1e-6
