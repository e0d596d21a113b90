"""Fifty deployments on real processes, while everything that can fail does (I3, I4).

One run (HOLDFAST_TEST_CHAOS_NODES machines), looked at from several sides. The verdict is
computed from what the machines' BMCs and the clients saw, never from Holdfast's own logs.
"""

from __future__ import annotations

import asyncio
import os

import pytest
from tests.chaos.cluster import Layout
from tests.chaos.network import Network, why_not
from tests.chaos.run import Outcome, fifty_deployments, play, seed_of_today

pytestmark = pytest.mark.chaos

HOSTS = 2
NODES = int(os.environ.get("HOLDFAST_TEST_CHAOS_NODES") or 50)


@pytest.fixture(scope="module")
def outcome() -> Outcome:
    """The run. Without namespaces (see ``network.why_not``) it has no partitions in it."""
    layout = Layout(nodes=NODES, unsupervised=HOSTS)
    seed = seed_of_today()
    if why_not() is None:
        with Network(HOSTS) as network:
            return asyncio.run(play(layout, fifty_deployments, seed=seed, network=network))
    return asyncio.run(play(layout, fifty_deployments, seed=seed, network=None))


def test_every_machine_becomes_active_and_none_ever_fails(outcome: Outcome):
    assert {node: state for node, state in outcome.states.items() if state != "active"} == {}
    assert outcome.failures == []
    assert outcome.deployments == NODES


def test_no_machine_is_commanded_by_two_owners_and_no_step_is_done_twice(outcome: Outcome):
    assert outcome.verdict.violations == []
    assert outcome.verdict.ok
    assert outcome.verdict.unreadable == 0
    assert outcome.verdict.effects >= 8 * NODES


def test_whatever_was_acknowledged_is_there(outcome: Outcome):
    assert outcome.never_created == []
    assert outcome.lost_writes == []
    assert outcome.writes > 0


def test_no_answer_is_an_internal_error(outcome: Outcome):
    assert [f"{r.what}: {r.status} {r.said}" for r in outcome.internal_errors] == []


def test_deployments_went_on_under_another_conductor(outcome: Outcome):
    assert [t for t in outcome.verdict.takeovers if t.same_job], "no fault has met any work"


def test_every_loss_of_a_conductor_ends_in_a_takeover(outcome: Outcome):
    # How quickly is a figure (benchmarks/takeover.py); that it happens is a promise.
    lost = [d for d in outcome.faults if d.kind.startswith(("kill, ", "pause", "partition"))]
    conductors = [d for d in lost if d.victim.startswith("conductor") and "gateway" not in d.kind]
    assert conductors
    assert [str(done) for done in conductors if done.takeover_s is None] == []


def test_partitions_dropped_packets_while_both_ends_lived(outcome: Outcome):
    if (reason := why_not()) is not None:
        pytest.skip(f"no partitions here: {reason}")
    partitions = [done for done in outcome.faults if done.dropped is not None]
    assert len(partitions) >= 4
    for done in partitions:
        assert done.both_lived, str(done)
        assert done.dropped is not None
        into, out_of = ("in" in done.kind, "out" in done.kind)
        assert done.dropped.into + done.dropped.out_of > 0, str(done)
        if into:
            assert done.dropped.out_of == 0, str(done)
        elif out_of:
            assert done.dropped.into == 0, str(done)
