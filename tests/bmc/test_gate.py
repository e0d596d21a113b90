"""The gate's rules (architecture, "Gateway"), for every sequence of messages."""

from __future__ import annotations

import contextlib
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.bmc.errors import BmcError, FloorNeededError, StaleTermError, StaleTokenError
from holdfast.bmc.gate import Gate, Mark

HERE = UUID(int=1)
OTHER = UUID(int=2)
BMCS = (UUID(int=10), UUID(int=11))
BMC = BMCS[0]

numbers = st.integers(min_value=0, max_value=6)
bmcs = st.sampled_from(BMCS)
events = st.one_of(
    st.tuples(st.just("floor"), bmcs, numbers, numbers),
    st.tuples(st.just("lost floor"), bmcs, numbers, numbers),  # meant for another incarnation
    st.tuples(st.just("arrive"), bmcs, numbers, numbers),
    st.tuples(st.just("record"), bmcs, st.just(0), st.just(0)),
    st.tuples(st.just("send"), bmcs, numbers, numbers),  # a command admitted some time before
    st.tuples(st.just("restart"), bmcs, st.just(0), st.just(0)),
)


class World:
    """A gate, the disk under it, and what was executed through it."""

    def __init__(self) -> None:
        self.disk: dict[UUID, Mark] = {}
        self.gate = Gate(HERE, self.disk)
        self.admitted: list[tuple[UUID, int, int]] = []
        self.floors: dict[UUID, set[int]] = {bmc: set() for bmc in BMCS}
        self.executed: dict[UUID, list[tuple[int, int]]] = {bmc: [] for bmc in BMCS}

    def step(self, what: str, bmc: UUID, term: int, token: int) -> None:
        match what:
            case "floor":
                self.gate.floor(bmc, incarnation=HERE, term=term, floor=token)
                self.floors[bmc].add(term)
            case "lost floor":
                self.gate.floor(bmc, incarnation=OTHER, term=term, floor=token)
            case "arrive":
                self.gate.admit(bmc, term, token)
                self.admitted.append((bmc, term, token))
            case "record":
                self.record(bmc)
            case "restart":
                self.gate = Gate(HERE, self.disk)
                self.admitted.clear()
            case "send":
                if self.admitted:
                    self.send(*self.admitted.pop(token % len(self.admitted)))

    def record(self, bmc: UUID) -> None:
        mark = self.gate.unrecorded(bmc)
        if mark is not None:
            self.disk[bmc] = mark
            self.gate.recorded(bmc, mark)

    def send(self, bmc: UUID, term: int, token: int) -> None:
        self.record(bmc)
        self.gate.begin(bmc, term, token)
        self.executed[bmc].append((term, token))


@given(st.lists(events, max_size=60))
def test_no_sequence_executes_a_lower_token_or_term_after_a_higher_one(sequence):
    world = World()
    for event in sequence:
        try:
            world.step(*event)
        except BmcError:
            continue
    for bmc, executed in world.executed.items():
        assert [token for _, token in executed] == sorted(token for _, token in executed)
        assert [term for term, _ in executed] == sorted(term for term, _ in executed)
        assert {term for term, _ in executed} <= world.floors[bmc]


@given(st.lists(events, max_size=40))
def test_marks_only_rise(sequence):
    world = World()
    before = dict.fromkeys(BMCS, Mark(0, 0))
    for event in sequence:
        with contextlib.suppress(BmcError):
            world.step(*event)
        if event[0] == "restart":  # what was seen and not made durable was never acted on
            before = {bmc: world.gate.mark(bmc) or Mark(0, 0) for bmc in BMCS}
        for bmc in BMCS:
            mark = world.gate.mark(bmc) or Mark(0, 0)
            assert mark.term >= before[bmc].term
            assert mark.token >= before[bmc].token
            before[bmc] = mark


def known_gate(term: int = 5, token: int = 7) -> Gate:
    return Gate(HERE, {BMC: Mark(term, token)})


def test_nothing_is_admitted_before_the_floor():
    with pytest.raises(FloorNeededError):
        Gate(HERE, {}).admit(BMC, 1, 1)


def test_a_command_of_a_newer_term_needs_its_floor_first():
    with pytest.raises(FloorNeededError):
        known_gate().admit(BMC, 6, 100)


def test_a_command_of_an_older_term_is_refused_whatever_its_token():
    with pytest.raises(StaleTermError):
        known_gate().admit(BMC, 4, 100)


def test_a_command_below_the_floor_is_refused():
    gate = Gate(HERE, {})
    gate.floor(BMC, incarnation=HERE, term=5, floor=7)
    with pytest.raises(StaleTokenError):
        gate.admit(BMC, 5, 6)
    gate.admit(BMC, 5, 7)


def test_a_higher_token_voids_a_lower_one_that_was_admitted_before():
    gate = known_gate()
    gate.admit(BMC, 5, 7)
    gate.admit(BMC, 5, 8)
    with pytest.raises(StaleTokenError):
        gate.begin(BMC, 5, 7)


def test_a_floor_for_another_incarnation_is_refused():
    with pytest.raises(StaleTermError):
        known_gate().floor(BMC, incarnation=OTHER, term=9, floor=9)


def test_a_floor_of_an_older_term_is_refused_and_one_of_the_same_never_lowers():
    gate = known_gate()
    with pytest.raises(StaleTermError):
        gate.floor(BMC, incarnation=HERE, term=4, floor=9)
    assert gate.floor(BMC, incarnation=HERE, term=5, floor=1) == Mark(5, 7)
    assert gate.floor(BMC, incarnation=HERE, term=6, floor=1) == Mark(6, 7)


def test_beginning_before_the_token_is_durable_is_a_bug_and_says_so():
    gate = known_gate()
    gate.admit(BMC, 5, 8)
    with pytest.raises(RuntimeError, match="not durable"):
        gate.begin(BMC, 5, 8)
    assert gate.unrecorded(BMC) == Mark(5, 8)
    gate.recorded(BMC, Mark(5, 8))
    assert gate.unrecorded(BMC) is None
    gate.begin(BMC, 5, 8)


def test_late_news_of_an_older_record_changes_nothing():
    gate = known_gate()
    gate.admit(BMC, 5, 9)
    gate.recorded(BMC, Mark(5, 9))
    gate.recorded(BMC, Mark(5, 8))
    gate.begin(BMC, 5, 9)
