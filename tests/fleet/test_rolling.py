"""Who gets a new generation when: zone by zone, so many at a time, and back if one fails."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from holdfast.fleet.model import Actual, NodeView, Served, Service
from holdfast.fleet.rolling import Broken, Move, Pending, Settled, Terms, advance, formed, set_back
from holdfast.serving.operating.baseline import Counts

OLD, NEW = UUID(int=1), UUID(int=2)
SERVICE = Service(id=UUID(int=9), project="p", name="sums", generation=OLD, next=NEW)


def node(number: int, zone: str = "a", **served: Any) -> NodeView:
    """A node that serves the old generation well, or as told."""
    of = {"wanted": OLD, "generation": OLD, "ready": True, "serving_s": 100.0, **served}
    return NodeView(
        id=UUID(int=100 + number),
        slot=f"n{number}",
        host="h",
        zone=zone,
        actual=Actual(services={SERVICE.id: Served(**of)}),
    )


def moved(service: Service, *nodes: NodeView) -> Service:
    return replace(service, moved=tuple(one.id for one in nodes))


def well(one: NodeView) -> NodeView:
    """The same node once it serves the new generation."""
    served = Served(wanted=NEW, generation=NEW, ready=True, serving_s=100.0)
    return replace(one, actual=Actual(services={SERVICE.id: served}))


def test_the_first_zone_is_done_before_the_next_begins():
    east, west = [node(1), node(2)], [node(3, "b")]
    assert advance(SERVICE, [*west, *east], Terms()) == Move((east[0].id,))
    one = moved(SERVICE, east[0])
    assert isinstance(advance(one, [*east, *west], Terms()), Pending)
    assert advance(one, [well(east[0]), east[1], *west], Terms()) == Move((east[1].id,))
    both = moved(SERVICE, *east)
    assert advance(both, [*map(well, east), *west], Terms()) == Move((west[0].id,))
    assert advance(moved(SERVICE, *east, *west), [*map(well, [*east, *west])], Terms()) == Settled(
        3
    )


def test_a_node_counts_as_done_only_once_it_has_answered_for_the_time_of_the_watch():
    first, second = node(1), node(2)
    fresh = node(1, wanted=NEW, generation=NEW, serving_s=4.0)
    one = moved(SERVICE, first)
    assert isinstance(advance(one, [fresh, second], Terms(watch_s=5.0)), Pending)
    assert advance(one, [well(first), second], Terms(watch_s=5.0)) == Move((second.id,))


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"error": "endpoint 'add': no"}, "n1 on h: endpoint 'add': no"),
        ({"generation": NEW, "answers": 10, "errors": 6}, "6 of 10"),
    ],
)
def test_a_node_that_fails_its_gate_breaks_the_rollout(told: dict[str, Any], why: str):
    bad = node(1, **{"wanted": NEW, **told})
    found = advance(moved(SERVICE, bad), [bad, node(2)], Terms(errors_max=0.1))
    assert isinstance(found, Broken)
    assert why in found.reason


def test_queries_that_fail_anyway_break_no_rollout():
    """One user's fail before and after; the last node has no other to be compared with."""
    new = {"wanted": NEW, "generation": NEW, "answers": 100, "errors": 52}
    old = node(2, answers=1000, errors=500)
    fresh = node(1, **new)
    one = moved(SERVICE, fresh)
    assert advance(one, [fresh, old], Terms(errors_max=0.01)) == Move((old.id,))
    begun = node(2, answers=10**6, errors=500, recent=Counts(1000, 500))  # lately
    assert advance(one, [fresh, begun], Terms(errors_max=0.01)) == Move((old.id,))
    last = [node(n, **new, before=Counts(1000, 500)) for n in (1, 2)]
    assert advance(moved(SERVICE, *last), last, Terms(errors_max=0.01)) == Settled(2)


def test_a_generation_that_errs_more_than_the_old_one_breaks_the_rollout():
    new = {"wanted": NEW, "generation": NEW, "answers": 100, "errors": 97}
    fresh, old = node(1, **new, before=Counts(500, 250)), node(2, answers=1000, errors=500)
    found = advance(moved(SERVICE, fresh), [fresh, old], Terms(errors_max=0.01))
    assert isinstance(found, Broken)
    assert "97 of 100" in found.reason


def test_one_query_that_failed_before_lets_no_dead_generation_through():
    bad = {"wanted": NEW, "generation": NEW, "answers": 200, "errors": 200}
    fresh, old = node(1, **bad, before=Counts(1, 1)), node(2, answers=1, errors=1)
    for nodes in ([fresh, old], [fresh]):
        assert isinstance(advance(moved(SERVICE, fresh), nodes, Terms(errors_max=0.01)), Broken)


def test_one_error_in_fifty_after_none_in_a_thousand_breaks_nothing():
    new = {"wanted": NEW, "generation": NEW, "answers": 50, "errors": 1}
    fresh, old = node(1, **new), node(2, answers=1000)
    for terms in (Terms(errors_max=0.01), Terms()):
        assert advance(moved(SERVICE, fresh), [fresh, old], terms) == Move((old.id,))


def test_an_error_of_the_old_generation_breaks_nothing():
    old = node(1, error="it cannot be loaded")
    assert advance(moved(SERVICE, old), [old], Terms()) == Pending(
        "waiting for n1; 0 of 1 API nodes done"
    )


def test_who_does_not_answer_goes_first_and_the_others_stay():
    out, fine = node(2, "b", ready=False), node(1)
    assert advance(SERVICE, [fine, out], Terms()) == Move((out.id,))
    assert isinstance(advance(moved(SERVICE, out), [fine, out], Terms()), Pending)


def test_a_moved_node_that_is_gone_holds_nothing_up():
    gone, left = node(1), node(2)
    assert advance(moved(SERVICE, gone), [left], Terms()) == Move((left.id,))


def test_nodes_of_other_zones_are_let_be():
    service = replace(SERVICE, zones=("b",))
    assert advance(service, [node(1, "a"), node(2, "b")], Terms()) == Move((node(2).id,))


def test_without_any_node_it_waits():
    assert isinstance(advance(SERVICE, [], Terms()), Pending)
    assert isinstance(formed(replace(SERVICE, next=None), [], Terms()), Pending)


def test_a_service_is_formed_by_as_many_nodes_as_wanted_whatever_fails_beside():
    service = replace(SERVICE, next=None)
    bad = node(2, generation=None, ready=False, error="no")
    assert formed(service, [node(1), bad], Terms(ready_min=1)) == Settled(1)
    assert isinstance(formed(service, [node(1), bad], Terms()), Broken)


def test_going_back_is_over_once_every_node_has_the_old_generation_or_says_why_not():
    service = replace(SERVICE, next=None)
    assert isinstance(set_back(service, [node(1, wanted=NEW)]), Pending)
    assert isinstance(set_back(service, [node(1, generation=NEW)]), Pending)
    assert set_back(service, [node(1), node(2, generation=NEW, error="gone")]) == Settled(0)


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), min_size=1, max_size=9),
    st.integers(1, 4),
    st.data(),
)
def test_never_more_change_than_may_and_every_rollout_ends(
    places: list[tuple[str, bool]], most: int, data: st.DataObject
):
    nodes = {
        one.id: one
        for one in (node(n, zone, ready=ready) for n, (zone, ready) in enumerate(places))
    }
    service, terms = SERVICE, Terms(max_unavailable=most)
    broken = {one.id for one in nodes.values() if not nodes[one.id].served(SERVICE.id).ready}  # pyright: ignore[reportOptionalMemberAccess]
    while not isinstance(verdict := advance(service, list(nodes.values()), terms), Settled):
        under_way = [one for one in service.moved if nodes[one] != well(nodes[one])]
        if isinstance(verdict, Move):
            assert not set(verdict.nodes) & set(service.moved)
            service = replace(service, moved=(*service.moved, *verdict.nodes))
            under_way += verdict.nodes
            assert len(under_way) <= most
            assert len(set(under_way) - broken) <= max(0, most - len(broken - set(under_way)))
        else:
            assert isinstance(verdict, Pending)
            ready = data.draw(st.sampled_from(under_way))
            nodes[ready] = well(nodes[ready])
            broken.discard(ready)
    assert set(service.moved) == set(nodes)
