"""The planner: each input of I9-I13 moves the answer as it must; each figure says why."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from holdfast.errors import InvalidInputError
from holdfast.ops.planner import costs
from holdfast.ops.planner.answer import Plan
from holdfast.ops.planner.baremetal import plan
from holdfast.ops.planner.connections import Processes
from holdfast.ops.planner.costs import Cost, Costs, DriverCosts
from holdfast.ops.planner.estate import Estate, Images, Tuning

REDFISH = DriverCosts(
    gateway_look_ms=Cost(0.5, "test"), look_requests=Cost(2), look_bytes=Cost(4000)
)
SLOW = DriverCosts(gateway_look_ms=Cost(30), look_requests=Cost(4), look_bytes=Cost(9000))
COSTS = Costs(
    nodes_measured=Cost(1000),
    conductor_idle=Cost(0.02),
    gateway_idle=Cost(0.02),
    api_idle=Cost(0.02),
    engine_idle=Cost(0.02),
    conductor_look_ms=Cost(0.2),
    database_look_ms=Cost(0.1),
    conductor_step_ms=Cost(1),
    database_step_ms=Cost(1.5),
    steps_per_deploy=Cost(20),
    commands_per_deploy=Cost(30),
    api_get_ms=Cost(0.3),
    database_get_ms=Cost(0.1),
    engine_operation_ms=Cost(4),
    database_operation_ms=Cost(5),
    api_resource_ms=Cost(0.5),
    conductor_mb=Cost(90),
    gateway_mb=Cost(80),
    api_mb=Cost(100),
    engine_mb=Cost(95),
    drivers={"redfish": REDFISH, "ipmi": SLOW},
)


def planned(**given: Any) -> Plan:
    return plan(Estate(**{"nodes": 5000, **given}), COSTS)


def value(answer: Plan, name: str) -> float:
    return answer.figure(name).value


def needs(answer: Plan, role: str, what: str) -> float:
    [limit] = [one for one in answer.limits if (one.role, one.what) == (role, what)]
    return limit.needs


def test_i7_a_single_node_still_takes_two_conductors_on_two_hosts():
    answer = planned(nodes=1)
    assert value(answer, "conductors") == 2
    assert value(answer, "api_processes") == 2
    assert value(answer, "hosts") == 2
    assert value(answer, "gateways") == 1


def test_i8_conductors_may_share_hosts_or_have_their_own():
    assert "(I8)" in planned().figure("hosts").how


def test_i9_slower_conductor_hardware_takes_more_conductors():
    fast, slow = planned(nodes=200_000), planned(nodes=200_000, speed=0.25)
    assert needs(slow, "conductor", "CPU") > 3.9 * needs(fast, "conductor", "CPU")
    assert value(slow, "conductors") > value(fast, "conductors")
    one_core = planned(nodes=2_000_000, cores=1)
    assert value(one_core, "hosts") > value(planned(nodes=2_000_000, cores=64), "hosts")


@pytest.mark.parametrize("worse", [{"bmc_latency_ms": 30_000.0}, {"dead_share": 0.9}])
def test_i10_slow_or_dead_controllers_mean_fewer_nodes_per_conductor(worse: dict[str, Any]):
    tuning = Tuning(looks_in_flight_max=100)
    good = planned(nodes=20_000, tuning=tuning)
    bad = planned(nodes=20_000, tuning=tuning, **worse)
    assert value(bad, "nodes_per_conductor_max") < value(good, "nodes_per_conductor_max")
    assert value(bad, "conductors") > value(good, "conductors")
    assert bad.limiting["conductor"] == "BMC latency"


def test_i11_polling_twice_as_often_costs_twice_as_much():
    slow, quick = planned(sync_interval_s=60), planned(sync_interval_s=30)
    ratio = needs(quick, "gateway", "CPU") / needs(slow, "gateway", "CPU")
    assert 1.9 < ratio < 2.01
    off = planned(sync_interval_s=0)
    assert needs(off, "conductor", "BMC latency") == 0
    assert any("not looked at" in note for note in off.notes)


def test_i12_the_driver_and_the_network_count():
    assert needs(planned(driver="ipmi"), "gateway", "CPU") > 50 * needs(planned(), "gateway", "CPU")
    thin = planned(nodes=100_000, network_mbit_s=10)
    assert thin.limiting["gateway"] == "network"
    assert value(thin, "gateways") > 1
    assert any("this release runs one" in warning for warning in thin.warnings)
    with pytest.raises(InvalidInputError, match=r"\[drivers.snmp\]"):
        planned(driver="snmp")


def test_i13_simultaneous_provisioning_takes_conductors_by_what_it_costs():
    few, many = planned(concurrent_deploys=10), planned(concurrent_deploys=200_000)
    # 222.2 deployments/s × 20 steps × 1 ms + 83.3 looks/s × 0.2 ms = 4.46 cores ÷ 0.58 = 7.69
    assert needs(many, "conductor", "CPU") == pytest.approx(7.69, abs=0.01)
    assert value(many, "conductors") == 16  # twice over for the loss of a host
    assert value(few, "conductors") == 2


def test_i13_places_for_deployments_are_a_setting_and_no_conductors():
    """A conductor may be given more places: the planner says how many."""
    answer = planned(concurrent_deploys=2000)
    assert value(answer, "conductors") == 2
    assert value(answer, "concurrent_deploys_max_needed") == 2000  # one of two may be lost
    [said] = [one for one in answer.warnings if "max_concurrent_deploy" in one]
    assert "set provisioning.concurrent_deploys_max = 2000" in said
    zones = planned(concurrent_deploys=2000, zones=3)
    assert value(zones, "concurrent_deploys_max_needed") == 1000
    for most in (2000, 0):  # 0: no limit
        enough = planned(concurrent_deploys=2000, tuning=Tuning(concurrent_deploys_max=most))
        assert not any("max_concurrent_deploy" in one for one in enough.warnings)


def test_i10_controllers_slower_than_they_are_waited_for_are_a_warning():
    slow = planned(bmc_latency_ms=10_001.0)
    assert any("power_sync.timeout_max_s" in warning for warning in slow.warnings)
    assert not any("timeout_max_s" in one for one in planned(bmc_latency_ms=10_000.0).warnings)


def test_i14_the_answer_is_a_number_of_conductors_with_its_reason():
    answer = planned(nodes=1_000_000)
    figure = answer.figure("conductors")
    assert figure.value >= 2
    assert "CPU asks for" in figure.how
    assert answer.limiting["conductor"] == "CPU"
    for one in answer.figures:
        assert one.how
        assert one.unit
        assert any(char.isdigit() for char in one.how), one


@pytest.mark.parametrize(
    ("nodes", "level"), [(200, None), (202, "I15"), (600, "I15"), (602, "I16"), (9000, "I16")]
)
def test_i15_i16_the_references_levels_are_warnings_by_nodes_per_conductor(
    nodes: int, level: str | None
):
    """100 recommended, degrading from about 300: over two conductors here."""
    answer = planned(nodes=nodes)
    assert value(answer, "nodes_per_conductor") == nodes / 2
    said = [warning for warning in answer.warnings if "Ironic" in warning]
    assert bool(said) == bool(level)
    if level:
        assert level in said[0]
        assert ("100" if level == "I15" else "300") in said[0]


def test_t6_the_references_levels_are_shown_as_superseded_and_nothing_is_sized_by_them():
    answer = planned(nodes=9000)
    assert value(answer, "conductors") == 2
    [said] = [warning for warning in answer.warnings if "Ironic" in warning]
    assert "superseded" in said
    assert "3,500" in said
    # What it is sized by is said as well: the measured unit costs.
    assert any("0.2 ms of CPU" in note for note in answer.notes)


def test_a_size_that_was_never_tried_is_said_to_be_reckoned():
    assert not any("reckoned" in w for w in planned(nodes=2000).warnings)
    assert any("measured with 1,000" in w for w in planned(nodes=2002).warnings)


def test_p17_the_loss_of_a_zone_leaves_enough():
    assert any("P17" in warning for warning in planned().warnings)
    answer = planned(nodes=3_000_000, zones=3)
    need = needs(answer, "conductor", "CPU")
    left = value(answer, "conductors") * 2 / 3
    assert left >= need
    assert not any("P17" in warning for warning in answer.warnings)
    assert value(planned(nodes=1, zones=3), "conductors") == 3


def test_database_connections_are_processes_times_their_pools():
    answer = planned(tuning=Tuning(pool_max=20))
    # (2 conductors + 2 APIs) × (20 + lease + wake-up) + 2 supervisors × 2
    assert value(answer, "database_connections") == 4 * 22 + 2 * 2
    many = planned(tuning=Tuning(pool_max=50))
    assert any("set max_connections = 222" in warning for warning in many.warnings)
    enough = planned(tuning=Tuning(pool_max=50), connections_max=222)
    assert not any("max_connections" in warning for warning in enough.warnings)


def test_engines_of_the_same_deployment_share_its_database():
    engines = Processes(hosts=3, engines=12, apis=6, pool_max=10, pool_overflow=20)
    answer = plan(Estate(nodes=5000), COSTS, engines)
    # (2 conductors + 6 APIs, which answer for both) × 12 + 12 × 32 + 3 supervisors × 2
    assert value(answer, "database_connections") == 8 * 12 + 12 * 32 + 3 * 2
    assert "12 engines × (pool 10 + overflow 20" in answer.figure("database_connections").how


def test_i17_a_disk_too_small_for_the_cache_is_a_warning():
    images = Images(source="http", images=5, disk_free_gb=10)
    assert any("I17" in warning for warning in planned(images=images).warnings)
    enough = Images(source="http", images=5, disk_free_gb=100)
    assert not any("I17" in warning for warning in planned(images=enough).warnings)


def test_images_that_pass_through_conductors_take_their_network():
    through = planned(concurrent_deploys=100, images=Images(source="local"))
    past = planned(concurrent_deploys=100, images=Images(source="swift"))
    assert through.limiting["conductor"] == "network"
    assert value(through, "conductors") > value(past, "conductors")


def test_the_measured_costs_that_ship_make_a_plan():
    file = costs.load()
    assert file.measured["day"]
    for cost in (file.costs.conductor_look_ms, file.costs.drivers["redfish"].gateway_look_ms):
        assert cost.how != costs.OWN
    answer = plan(Estate(nodes=5000), file.costs)
    assert value(answer, "conductors") == 2
    assert msgspec.to_builtins(answer)["figures"]
