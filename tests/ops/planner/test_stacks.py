"""The planner for stacks: the reference's table, its rule for pools, and rates (X5-X20, T1-T3)."""

from __future__ import annotations

from typing import Any

import pytest
from tests.ops.planner.test_baremetal import COSTS

from holdfast.ops.planner import baremetal, costs
from holdfast.ops.planner.answer import Plan
from holdfast.ops.planner.estate import Estate
from holdfast.ops.planner.stacks import PER_CORE, Controllers, plan, pool_fault, pool_needed


def planned(**given: Any) -> Plan:
    return plan(Controllers(**given), COSTS)


def value(answer: Plan, name: str) -> float:
    return answer.figure(name).value


@pytest.mark.parametrize(
    ("cores", "engines", "apis"),
    [(4, 2, 2), (8, 4, 4), (16, 8, 4), (32, 16, 8), (64, 16, 8), (2, 2, 2), (12, 4, 4)],
)
def test_x9_a_controller_runs_what_the_table_says_for_its_cores(
    cores: int, engines: int, apis: int
):
    """Between two rows the lower one, below the first the first."""
    answer = planned(cores=cores)
    assert (value(answer, "engine_processes"), value(answer, "api_processes")) == (engines, apis)
    assert "X9" in answer.figure("engine_processes").how


def test_x7_t1_two_to_four_per_core_is_the_upper_range_and_not_the_default():
    answer = planned(cores=8)
    assert PER_CORE == (2, 4)
    assert value(answer, "engine_processes_upper_from") == 16
    assert value(answer, "engine_processes_upper_to") == 32
    assert value(answer, "engine_processes") < 16
    assert any("X7" in warning for warning in planned(cores=8, engines=33).warnings)
    assert not any("X7" in warning for warning in planned(cores=8, engines=32).warnings)


def test_x10_more_engines_than_cores_are_said_to_be_safe():
    assert any("X10" in note for note in planned().notes)


@pytest.mark.parametrize(("engines", "pool"), [(4, 8), (5, 10), (8, 16), (16, 32)])
def test_x16_a_pool_has_two_connections_for_each_engine_of_a_controller(engines: int, pool: int):
    assert pool_needed(engines) == pool
    assert pool_fault(engines, pool) == ""
    assert f"database.pool_max = {pool}" in pool_fault(engines, pool - 1)


@pytest.mark.parametrize("given", [{"engines": 8}, {"cores": 16}, {"cores": 32}, {"cores": 128}])
def test_t2_what_breaks_the_rule_with_the_default_pool_is_caught_with_its_fix(
    given: dict[str, int],
):
    """The example of X8 and the upper rows of X9 with the pool of X18."""
    answer = planned(**given)
    [said] = [warning for warning in answer.warnings if "X16" in warning]
    needed = value(answer, "pool_max_needed")
    assert f"set database.pool_max = {needed:.0f}" in said
    assert not any("X16" in one for one in planned(**given, pool_max=int(needed)).warnings)


def test_x17_x18_the_defaults_of_the_reference_keep_the_rule():
    assert not any("X16" in warning for warning in planned(engines=4, apis=4).warnings)


def test_t3_all_connections_are_processes_times_pool_and_overflow():
    answer = planned(engines=4, apis=4, hosts=3)
    assert value(answer, "database_connections") == 3 * (4 + 4) * (10 + 20)
    # A pool that has to be larger is counted as it will be.
    assert value(planned(engines=8, apis=4, hosts=1), "database_connections") == 12 * (16 + 20)
    wanted = value(answer, "max_connections_needed")
    assert wanted > 3 * (4 * (10 + 20) + 4 * 10)  # our API processes have no overflow
    [said] = [warning for warning in answer.warnings if "max_connections" in warning]
    assert f"set max_connections = {wanted:.0f}" in said
    enough = planned(engines=4, apis=4, hosts=3, connections_max=int(wanted))
    assert not any("max_connections" in warning for warning in enough.warnings)


def test_both_parts_of_a_deployment_ask_for_the_same_connections():
    machines = baremetal.plan(Estate(nodes=5000), COSTS)
    stacks = planned(engines=4, apis=4, hosts=3)
    alone = value(stacks, "max_connections_needed")
    assert alone == 12 * (10 + 20 + 2) + 12 * (10 + 2) + 3 * 2 + 10
    wanted = value(
        plan(Controllers(engines=4, apis=4, hosts=3), COSTS, machines.processes),
        "max_connections_needed",
    )
    assert wanted == alone + 2 * (10 + 2)  # two conductors; hosts and API processes are shared
    other = baremetal.plan(Estate(nodes=5000), COSTS, stacks.processes)
    assert value(other, "database_connections") + 10 == wanted


def test_a_rate_of_operations_raises_what_the_table_says_and_says_why():
    few, many = planned(resources_per_hour=1000), planned(resources_per_hour=9_000_000)
    assert value(few, "engine_processes") == 4
    # 2,500 a second × 4 ms = 10 cores ÷ 0.58, by the one controller that is left of two.
    assert value(many, "engine_processes") == 18
    assert "CPU asks for 17.2" in many.figure("engine_processes").how
    assert any("add controllers" in warning for warning in many.warnings)
    assert not few.warnings or not any("an hour" in warning for warning in few.warnings)


def test_more_controllers_share_the_work_and_slow_cores_take_more_engines():
    rate = 9_000_000
    assert value(planned(resources_per_hour=rate, hosts=4), "engine_processes") == 6
    slow = planned(resources_per_hour=rate, hosts=4, speed=0.5)
    assert value(slow, "engine_processes") > 6


def test_operations_that_hold_an_engine_for_long_ask_for_places_and_not_for_cpu():
    answer = planned(resources_per_hour=36_000, held_ms=60_000)
    assert answer.limiting["engine"] == "operations in hand"
    assert value(answer, "engine_processes") == 6  # 10 a second × 60 s ÷ 100 places


def test_cores_bound_what_engines_can_do_and_engines_do_where_there_are_fewer():
    capacity = "resources_per_hour_max"
    assert value(planned(engines=8), capacity) == value(planned(engines=32), capacity)
    assert value(planned(engines=4), capacity) == pytest.approx(
        value(planned(engines=8), capacity) / 2, abs=1
    )


def test_one_controller_is_not_highly_available():
    assert any("highly available" in warning for warning in planned(hosts=1).warnings)
    assert not any("highly available" in warning for warning in planned(hosts=2).warnings)


def test_every_figure_says_how_it_was_made():
    answer = planned(cores=16, resources_per_hour=5000)
    for one in answer.figures:
        assert one.unit
        assert any(char.isdigit() for char in one.how), one


def test_the_measured_costs_that_ship_answer_how_many_engines_a_rate_takes():
    file = costs.load()
    assert file.costs.engine_operation_ms.how != costs.OWN
    answer = plan(Controllers(cores=8, resources_per_hour=1_000_000), file.costs)
    assert value(answer, "engine_processes") == 4
    assert value(answer, "resources_per_hour_max") > 1_000_000
