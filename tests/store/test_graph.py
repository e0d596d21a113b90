"""The rules of graphs and reservations by themselves."""

from __future__ import annotations

from uuid import UUID

import pytest

from holdfast.errors import InvalidInputError
from holdfast.store.graph import (
    EVERYBODY,
    Edge,
    EdgeKind,
    Known,
    Tail,
    Want,
    checked,
    enter,
    reserved,
)
from holdfast.store.model import JobState, Json, QueuedJob

A, B, C, D = (UUID(int=n) for n in range(1, 5))


def job(key: UUID, **fields: Json) -> QueuedJob:
    return QueuedJob(**{"id": key, "kind": "k", "queue": "q", **fields})


def want(key: UUID, exclusive: str = "", shared: str = "") -> Want:
    return Want(key, EVERYBODY, tuple(exclusive), tuple(shared))


def test_a_batch_keeps_its_order_as_far_as_it_can():
    batch = [job(D, after=(A,)), job(C), job(A), job(B, after_end=(D,))]
    assert [one.id for one in checked(batch)] == [C, A, D, B]


@pytest.mark.parametrize(
    "wrong",
    [
        [job(A, after=(A,))],
        [job(A, after=(B,)), job(B, after=(C,)), job(C, after_end=(A,))],
        [job(A), job(A)],
        [job(A, queue="")],
        [job(A, queue="Upper")],
        [job(A, shared=("x" * 501,))],
        [job(A, exclusive=tuple(str(n) for n in range(1_001)))],
    ],
)
def test_what_cannot_be_run_is_refused(wrong: list[QueuedJob]):
    with pytest.raises(InvalidInputError):
        checked(wrong)


def test_a_dependency_outweighs_an_order_between_the_same_two():
    known = {A: Known(JobState.RUNNING, passed=False, parent=None)}
    [entry], edges = enter([job(B, after=(A,), after_end=(A,))], known, None)
    assert edges == [Edge(A, B, EdgeKind.DEPENDENCY)]
    assert (entry.state, entry.remaining) == (JobState.BLOCKED, 1)


def test_what_fails_at_once_is_not_before_its_parents_turn():
    known = {
        A: Known(JobState.RUNNING, passed=False, parent=None),
        B: Known(JobState.FAILED, passed=True, parent=A),
    }
    [failed, fine], edges = enter([job(C, after=(B,)), job(D)], known, A)
    assert (failed.state, failed.passed, fine.successors) == (JobState.FAILED, True, 1)
    assert edges == [Edge(D, A, EdgeKind.ORDER)]


def test_shared_ones_wait_for_the_last_exclusive_and_it_for_all_of_them():
    tails = {(EVERYBODY, name): Tail() for name in "xy"}
    wants = [want(A, "x"), want(B, shared="x"), want(C, shared="xy"), want(D, "xy")]
    assert reserved(wants, tails, ()) == {A: [], B: [A], C: [A], D: [B, C]}
    assert tails[EVERYBODY, "x"] == Tail(D, [])


def test_what_has_passed_is_not_waited_for():
    tails = {(EVERYBODY, "x"): Tail(A, [B, C])}
    assert reserved([want(D, "x")], tails, {A, B}) == {D: [C]}
    tails = {(EVERYBODY, "x"): Tail(A, [B, C])}
    assert reserved([want(D, "x")], tails, {B, C}) == {D: [A]}


def test_a_resource_wanted_both_ways_is_wanted_exclusively():
    tails = {(EVERYBODY, "x"): Tail(None, [A])}
    assert reserved([want(B, "x", "x")], tails, ()) == {B: [A]}
    assert tails[EVERYBODY, "x"] == Tail(B, [])


def test_the_children_of_different_holders_do_not_compete():
    tails = {(A, "x"): Tail(C), (B, "x"): Tail()}
    assert reserved([Want(D, B, ("x",), ())], tails, ()) == {D: []}
