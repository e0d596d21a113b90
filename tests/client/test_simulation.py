"""Five instances, one slow; deaths, returns, flaps: what queries see of it (performance.md)."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.client.simulation import Client, Server, World

from holdfast.client.errors import NoInstanceError
from holdfast.client.settings import Settings

MEAN_S = 0.005
PATIENT = Settings(deadline_s=1000.0)


def five_of_which_one_is_slow(**more: object) -> tuple[Client, list[Server], int]:
    world = World(7)
    servers = [Server(world, MEAN_S) for _ in range(4)] + [Server(world, 20 * MEAN_S)]
    client = Client(world, servers, PATIENT, **more)
    count = client.load(rate=800.0, seconds=30.0)
    world.run(until=900.0)
    assert len(client.times) == count
    assert client.errors == []
    return client, servers, count


def test_a_slow_instance_costs_nothing_where_round_robin_drowns():
    robin, _, _ = five_of_which_one_is_slow(round_robin=True, hedged=False)
    client, servers, count = five_of_which_one_is_slow(hedged=False)
    assert robin.quantile(0.99) > 10.0
    assert client.quantile(0.99) < 0.05
    assert servers[4].asked < 0.05 * count


def test_hedges_cut_the_tail_for_little_more_load():
    plain, _, _ = five_of_which_one_is_slow(hedged=False)
    client, servers, count = five_of_which_one_is_slow()
    extra = sum(one.asked for one in servers) / count - 1
    assert 0.0 < extra <= 0.065
    assert client.quantile(0.99) < plain.quantile(0.99)
    assert client.quantile(0.999) < 0.7 * plain.quantile(0.999)
    assert servers[4].asked < 0.02 * count  # hedges do not make it look better than it is


def test_equal_instances_get_equal_shares():
    world = World(3)
    servers = [Server(world, MEAN_S) for _ in range(5)]
    client = Client(world, servers, PATIENT)
    count = client.load(rate=800.0, seconds=20.0)
    world.run(until=100.0)
    assert all(0.15 <= one.asked / count <= 0.27 for one in servers)


@pytest.mark.parametrize("probe_s", [0.0, 2.0])
def test_no_query_fails_when_an_instance_dies_and_it_is_used_again_when_it_returns(probe_s: float):
    world = World(1)
    servers = [Server(world, MEAN_S) for _ in range(3)]
    client = Client(world, servers, Settings(probe_s=probe_s))
    client.load(rate=400.0, seconds=30.0)
    if probe_s:
        client.probing(30.0)
    world.at(5.0, servers[0].die)
    world.at(15.0, servers[0].come_back)
    at_return: list[int] = []
    world.at(15.0, lambda: at_return.append(servers[0].asked))
    world.run(until=60.0)
    assert client.errors == []
    assert servers[0].asked > at_return[0] + 500


def test_no_query_fails_while_instances_flap():
    world = World(2)
    servers = [Server(world, MEAN_S) for _ in range(5)]
    client = Client(world, servers, Settings())
    client.load(rate=300.0, seconds=60.0)
    client.probing(60.0)
    for turn in range(50):
        one = servers[turn % 4]  # one at a time, and one is spared
        world.at(1.0 + turn, one.die)
        world.at(1.6 + turn, one.come_back)
    world.run(until=100.0)
    assert client.errors == []


def test_all_down_is_a_clear_error_and_soon():
    world = World(4)
    servers = [Server(world, MEAN_S) for _ in range(3)]
    for one in servers:
        one.die()
    client = Client(world, servers, Settings())
    client.ask()
    world.run(until=20.0)
    (error,) = client.errors
    assert isinstance(error, NoInstanceError)
    assert error.message.count("refused") == 3
    assert client.times[0] < 1.0


def test_all_down_queries_do_not_hammer():
    """Beyond one round over the instances, each repetition is paid for."""
    world = World(5)
    servers = [Server(world, MEAN_S) for _ in range(3)]
    client = Client(world, servers, Settings())
    for one in servers:
        one.die()
    count = client.load(rate=100.0, seconds=10.0)
    world.run(until=60.0)
    assert len(client.errors) == count
    # At most a token per ten queries, one a second, and the ten at first; each pays for a round.
    paid = count * 0.1 + 10 + 11
    assert client.dispatch.retries <= count * 2 + paid * 3


def test_the_budget_prevents_a_storm_when_all_refuse():
    world = World(6)
    servers = [Server(world, MEAN_S, workers=1, queue=4) for _ in range(3)]
    client = Client(world, servers, Settings(), hedged=True)
    count = client.load(rate=1500.0, seconds=10.0)  # they can do 600
    world.run(until=60.0)
    asked = sum(one.asked for one in servers)
    assert sum(one.refused for one in servers) > 0.3 * count
    assert asked <= 1.12 * count + 30
    # Those that could be answered were: overload costs no more than what is over.
    answered = count - len(client.errors)
    assert answered > 0.8 * 600 * 10


def test_when_all_come_back_queries_are_answered_at_once():
    world = World(8)
    servers = [Server(world, MEAN_S) for _ in range(3)]
    client = Client(world, servers, Settings())
    client.load(rate=100.0, seconds=20.0)
    client.probing(30.0)
    for one in servers:
        world.at(5.0, one.die)
        world.at(10.0, one.come_back)
    failed: list[int] = []
    world.at(10.05, lambda: failed.append(len(client.errors)))
    world.run(until=60.0)
    assert failed[0] > 300
    assert len(client.errors) <= failed[0] + 15


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 6), chaos=st.integers(0, 40))
def test_every_query_ends_by_its_deadline_and_nothing_stays_in_flight(
    seed: int, count: int, chaos: int
):
    world = World(seed)
    servers = [Server(world, MEAN_S, queue=world.chance.choice((0, 3, 1000))) for _ in range(count)]
    told = Settings(deadline_s=2.0, probe_s=random.Random(seed).choice((0.0, 0.5)))
    client = Client(world, servers, told)
    asked = client.load(rate=200.0, seconds=3.0)
    for _ in range(chaos):
        one = world.chance.choice(servers)
        world.at(world.chance.random() * 3.0, world.chance.choice((one.die, one.come_back)))
    if told.probe_s:
        client.probing(6.0)
    world.run(until=30.0)
    assert len(client.times) == asked
    assert max(client.times, default=0.0) <= told.deadline_s + 1e-9
    assert all(one.in_flight == 0 for one in client.dispatch.instances.all)
    assert sum(one.asked for one in servers) <= asked * told.attempts_max
