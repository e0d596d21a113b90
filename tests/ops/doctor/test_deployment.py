"""Members, epochs and keys: what is enough, and what is said otherwise."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from holdfast.fleet.model import Service
from holdfast.ops.doctor import deployment
from holdfast.ops.doctor.finding import Level
from holdfast.store.model import Member, MemberState
from holdfast.store.pg.keys import KeyReport


def member(
    host: str = "a", zone: str = "z1", role: str = "conductor", version: str = "1"
) -> Member:
    return Member(
        id=uuid4(),
        role=role,
        slot=f"{role}-1",
        host=host,
        zone=zone,
        group="",
        version=version,
        address="",
        epoch=1,
        state=MemberState.UP,
        drain_requested=False,
        lease_until=0.0,
        registered_at=0.0,
    )


@pytest.mark.parametrize(
    ("places", "level", "words"),
    [
        ([], Level.FAIL, "none is up"),
        ([("a", "z1")], Level.WARN, "I7"),
        ([("a", "z1"), ("a", "z2")], Level.WARN, "I7"),
        ([("a", "z1"), ("b", "z1")], Level.WARN, "P17"),
        ([("a", "z1"), ("b", "z2")], Level.OK, "2 up on 2 hosts in 2 zones"),
    ],
)
def test_i7_p17_two_conductors_on_two_hosts_in_two_zones(
    places: list[tuple[str, str]], level: Level, words: str
):
    living = [member(role="api"), *(member(host, zone) for host, zone in places)]
    [finding] = deployment.members(living)
    assert finding.level is level
    assert words in finding.found
    assert bool(finding.advice) == (level is not Level.OK)


def test_without_members_nothing_runs():
    [finding] = deployment.members([])
    assert finding.level is Level.WARN


def test_different_versions_are_told():
    living = [member("a", "z1"), member("b", "z2", version="2")]
    assert deployment.members(living)[-1].check == "versions"


@pytest.mark.parametrize(
    ("highest", "last", "used", "level"),
    [(0, 0, 0, "ok"), (7, 9, 9, "ok"), (9, 9, 9, "ok"), (10, 9, 9, "fail"), (1, 9, 12, "fail")],
)
def test_the_gateway_has_seen_nothing_that_the_database_has_not_drawn(
    highest: int, last: int, used: int, level: str
):
    finding = deployment.epochs(highest, last, used)
    assert finding.level.value == level
    assert ("--fix epochs" in finding.advice) == (level == "fail")


def test_secrets_that_nobody_can_open_are_found():
    assert deployment.keys(["a", "b"], {"a": 3, "b": 1}, [])[0].level is Level.OK
    [finding] = deployment.keys(["a"], {"a": 3, "lost": 2}, [])
    assert finding.level is Level.FAIL
    assert "2 were sealed by keys that are not here: lost" in finding.found


def test_a_process_without_the_key_that_seals_is_found():
    has = KeyReport(slot="api-1", host="x", current="a", known=("a", "b"))
    lacks = KeyReport(slot="conductor-9", host="y", current="a", known=("a",))
    silent = KeyReport(slot="new", host="y", current=None, known=())
    [finding] = deployment.keys(["b", "a"], {"b": 1}, [has, lacks, silent])
    assert finding.level is Level.FAIL
    assert "conductor-9" in finding.found
    assert "api-1" not in finding.found


A, B = UUID(int=1), UUID(int=2)


@pytest.mark.parametrize(
    ("routes", "here", "level"),
    [
        ({}, None, "ok"),
        ({}, A, "ok"),
        ({A: 3}, A, "ok"),
        ({A: 3}, None, "ok"),
        ({A: 3}, B, "fail"),
        ({A: 3, B: 1}, A, "fail"),
        ({A: 3, B: 1}, None, "fail"),
    ],
)
def test_a_deployment_has_one_gateway(routes: dict[UUID, int], here: UUID | None, level: str):
    finding = deployment.gateways(routes, here)
    assert finding.level.value == level
    assert ("--fix gateway" in finding.advice) == (level == "fail")


def test_what_shall_be_served_needs_an_api_node():
    service = Service(id=uuid4(), project="p", name="fraud", generation=uuid4())
    assert deployment.serving([], []) == []
    [finding] = deployment.serving([service], [member()])
    assert (finding.level, "fraud" in finding.found) == (Level.FAIL, True)
    [finding] = deployment.serving([service], [member(role="apinode")])
    assert finding.level is Level.OK
