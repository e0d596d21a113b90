"""Conductors, gateways, API processes, connections and disk for a fleet of machines (I9-I18).

Everything is a rate times a measured cost, over what one process may be loaded with; what is
counted is then raised so that the loss of one zone (or of one host, with one zone) leaves
enough. Pure.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from holdfast.ops.planner.answer import Figure, Limit, Plan, number
from holdfast.ops.planner.connections import SPARE_CONNECTIONS, Processes, connections_fault
from holdfast.ops.planner.costs import Cost, Costs, DriverCosts
from holdfast.ops.planner.estate import Estate
from holdfast.ops.planner.images import cache_gb, instance_images_cached

PER_CONDUCTOR_RECOMMENDED: Final = 100  # I15
PER_CONDUCTOR_DEGRADED: Final = 300  # I16
MBIT_PER_GB: Final = 8000.0


class Loads(msgspec.Struct, frozen=True, kw_only=True):
    """What the fleet asks for, in a second."""

    looks: float
    """Looks at a BMC's power state."""
    steps: float
    """Job steps of deployments."""
    commands: float
    """BMC and agent commands of deployments."""
    in_flight: float
    """Looks under way at any time (Little's law)."""


def plan(estate: Estate, costs: Costs, others: Processes | None = None) -> Plan:
    """Size a deployment. ``others``: what else of it has connections to the same database.

    Raises ``InvalidInputError`` for a driver without costs.
    """
    driver = costs.driver(estate.driver)
    loads = _loads(estate, costs, driver)
    limits = [
        *_conductor_limits(estate, costs, loads),
        *_gateway_limits(estate, costs, driver, loads),
        _api_limit(estate, costs),
    ]
    need = {role: _most(limits, role) for role in ("conductor", "gateway", "api")}
    counts = [
        _redundant("conductors", need["conductor"], estate, "at least two for HA (I7)"),
        _gateways(need["gateway"]),
        _redundant("api_processes", need["api"], estate, "at least two, any answers any (I1)"),
    ]
    conductors, gateways, apis = (int(figure.value) for figure in counts)
    hosts = _hosts(estate, limits)
    processes = Processes(
        hosts=int(hosts.value), conductors=conductors, apis=apis, pool_max=estate.tuning.pool_max
    )
    figures = [
        *counts,
        hosts,
        *_shares(estate, limits, conductors),
        _places(estate, conductors),
        _connections(processes.beside(others or Processes())),
        _database_cores(estate, costs, loads),
        _memory(costs, conductors, gateways, apis, int(hosts.value)),
        cache_gb(estate.images, math.ceil(estate.concurrent_deploys / conductors)),
    ]
    answer = Plan(
        figures=figures,
        limits=limits,
        limiting={role: limit.what for role, limit in need.items()},
        processes=processes,
        warnings=[],
        notes=_notes(costs, driver, loads),
    )
    return msgspec.structs.replace(answer, warnings=_warnings(estate, costs, answer))


def _loads(estate: Estate, costs: Costs, driver: DriverCosts) -> Loads:
    looks = estate.nodes / estate.sync_interval_s if estate.sync_interval_s else 0.0
    deploys = estate.concurrent_deploys / estate.deploy_s
    answering_s = driver.look_requests.value * estate.bmc_latency_ms / 1000
    dead = estate.dead_share
    tuning = estate.tuning
    held_s = (1 - dead) * answering_s + dead * tuning.dead_timeout_s / tuning.dead_intervals
    return Loads(
        looks=looks,
        steps=deploys * costs.steps_per_deploy.value,
        commands=deploys * costs.commands_per_deploy.value,
        in_flight=looks * held_s,
    )


def _conductor_limits(estate: Estate, costs: Costs, loads: Loads) -> list[Limit]:
    tuning, images = estate.tuning, estate.images
    cores = (
        loads.looks * costs.conductor_look_ms.value + loads.steps * costs.conductor_step_ms.value
    ) / (1000 * estate.speed)
    found = [
        Limit(
            role="conductor",
            what="CPU",
            needs=cores / _room(estate, costs.conductor_idle),
            how=f"({number(loads.looks)} looks/s × {number(costs.conductor_look_ms.value)} ms + "
            f"{number(loads.steps)} job steps/s of {number(estate.concurrent_deploys)} deployments "
            f"at once (I13) × {number(costs.conductor_step_ms.value)} ms) "
            f"÷ {_room_words(estate, costs.conductor_idle)}",
        ),
        Limit(
            role="conductor",
            what="BMC latency",
            needs=loads.in_flight / tuning.looks_in_flight_max,
            how=f"{number(loads.in_flight)} looks under way (rate × {number(estate.bmc_latency_ms)}"
            f" ms a request; {estate.dead_share:.1%} dead, waited for "
            f"{number(tuning.dead_timeout_s)} s once in {tuning.dead_intervals} intervals; I10) ÷ "
            f"power_sync.in_flight_max {tuning.looks_in_flight_max}",
        ),
    ]
    if instance_images_cached(images)[0]:
        each = images.raw_gb if images.force_raw else images.image_gb
        mbit_s = estate.concurrent_deploys * each * MBIT_PER_GB / estate.transfer_s
        found.append(
            Limit(
                role="conductor",
                what="network",
                needs=mbit_s / (estate.network_mbit_s * estate.load_max),
                how=f"{estate.concurrent_deploys} deployments × {number(each)} GB within "
                f"{number(estate.transfer_s)} s ÷ {estate.load_max:.0%} of "
                f"{number(estate.network_mbit_s)} Mbit/s (I12, I13)",
            )
        )
    return found


def _gateway_limits(estate: Estate, costs: Costs, driver: DriverCosts, loads: Loads) -> list[Limit]:
    commands = loads.looks + loads.commands
    cores = commands * driver.gateway_look_ms.value / (1000 * estate.speed)
    tuning = estate.tuning
    mbit_s = commands * driver.look_bytes.value * 8 / 1e6
    return [
        Limit(
            role="gateway",
            what="CPU",
            needs=cores / _room(estate, costs.gateway_idle),
            how=f"({number(loads.looks)} looks/s + {number(loads.commands)} commands/s of "
            f"deployments) × {number(driver.gateway_look_ms.value)} ms by {estate.driver} (I12) ÷ "
            f"{_room_words(estate, costs.gateway_idle)}",
        ),
        Limit(
            role="gateway",
            what="BMC latency",
            needs=loads.in_flight / tuning.gateway_looks_max,
            how=f"{number(loads.in_flight)} looks under way ÷ bmc.observations_max "
            f"{tuning.gateway_looks_max} (I10)",
        ),
        Limit(
            role="gateway",
            what="network",
            needs=mbit_s / (estate.network_mbit_s * estate.load_max),
            how=f"{number(commands)} commands/s × {number(driver.look_bytes.value)} bytes ÷ "
            f"{estate.load_max:.0%} of {number(estate.network_mbit_s)} Mbit/s (I12)",
        ),
    ]


def _api_limit(estate: Estate, costs: Costs) -> Limit:
    cores = estate.api_requests_s * costs.api_get_ms.value / (1000 * estate.speed)
    return Limit(
        role="api",
        what="CPU",
        needs=cores / _room(estate, costs.api_idle),
        how=f"{number(estate.api_requests_s)} requests/s × {number(costs.api_get_ms.value)} ms ÷ "
        f"{_room_words(estate, costs.api_idle)}",
    )


def _room(estate: Estate, idle: Cost) -> float:
    """What one process has of a core for work, of the kind of core that was measured on."""
    return max(0.01, estate.load_max - idle.value / estate.speed)


def _room_words(estate: Estate, idle: Cost) -> str:
    return (
        f"speed {number(estate.speed)} (I9) ÷ ({estate.load_max:.0%} of a core - "
        f"{idle.value:.1%} that an idle one takes)"
    )


def _most(limits: list[Limit], role: str) -> Limit:
    return max((limit for limit in limits if limit.role == role), key=lambda limit: limit.needs)


def _failure_units(estate: Estate) -> tuple[int, str]:
    """Over how many units of failure the processes are spread, and what a unit is."""
    return (estate.zones, "zone") if estate.zones > 1 else (2, "host")


def _redundant(name: str, need: Limit, estate: Estate, least: str) -> Figure:
    units, unit = _failure_units(estate)
    count = max(units, math.ceil(need.needs * units / (units - 1)))
    return Figure(
        name=name,
        value=count,
        unit="processes",
        how=f"{need.what} asks for {number(need.needs)}; × {units}/{units - 1}, so that the loss "
        f"of one {unit} of {units} leaves enough; {least}",
    )


def _gateways(need: Limit) -> Figure:
    return Figure(
        name="gateways",
        value=max(1, math.ceil(need.needs)),
        unit="rack processes",
        how=f"{need.what} asks for {number(need.needs)}",
    )


def _hosts(estate: Estate, limits: list[Limit]) -> Figure:
    units, unit = _failure_units(estate)
    spare = units / (units - 1)
    cores = sum(limit.needs for limit in limits if limit.what == "CPU") * spare
    links = sum(limit.needs for limit in limits if limit.what == "network") * spare
    return Figure(
        name="hosts",
        value=max(units, math.ceil(cores / estate.cores), math.ceil(links)),
        unit="hosts",
        how=f"{number(cores)} cores for all roles with one {unit} of {units} lost ÷ "
        f"{estate.cores} cores a host, and {number(links)} hosts' networks (I12); at least two "
        "for HA (I7). Conductors may share them with the other roles or have their own (I8)",
    )


def _shares(estate: Estate, limits: list[Limit], conductors: int) -> list[Figure]:
    """Nodes per conductor, as planned and at most."""
    found = [
        Figure(
            name="nodes_per_conductor",
            value=math.ceil(estate.nodes / conductors),
            unit="nodes",
            how=f"{number(estate.nodes)} nodes ÷ {conductors} conductors, spread by the ring",
        )
    ]
    looking = [
        limit
        for limit in limits
        if limit.role == "conductor" and limit.what in ("CPU", "BMC latency") and limit.needs
    ]
    if looking:
        worst = max(looking, key=lambda limit: limit.needs)
        found.append(
            Figure(
                name="nodes_per_conductor_max",
                value=math.floor(estate.nodes / worst.needs),
                unit="nodes",
                how=f"{number(estate.nodes)} nodes ÷ the {number(worst.needs)} conductors that "
                f"{worst.what} asks for: what one can carry at these figures",
            )
        )
    return found


def _places(estate: Estate, conductors: int) -> Figure:
    """Places for deployments: a setting, and no capacity; what they cost is in the limits."""
    units, unit = _failure_units(estate)
    left = conductors - math.ceil(conductors / units)
    return Figure(
        name="concurrent_deploys_max_needed",
        value=math.ceil(estate.concurrent_deploys / left),
        unit="provisioning.concurrent_deploys_max",
        how=f"{number(estate.concurrent_deploys)} deployments at once (I13) ÷ the {left} "
        f"conductors that are left when a {unit} is lost; more than that wait in order, they do "
        "not fail",
    )


def _connections(all_processes: Processes) -> Figure:
    return Figure(
        name="database_connections",
        value=all_processes.connections(),
        unit="connections at most",
        how=f"{all_processes.words()}; gateways have none",
    )


def _database_cores(estate: Estate, costs: Costs, loads: Loads) -> Figure:
    milliseconds = (
        loads.looks * costs.database_look_ms.value
        + loads.steps * costs.database_step_ms.value
        + estate.api_requests_s * costs.database_get_ms.value
    )
    return Figure(
        name="database_cores",
        value=round(milliseconds / (1000 * estate.speed * estate.load_max), 3),
        unit="cores of the database's host",
        how=f"({number(loads.looks)} looks/s × {number(costs.database_look_ms.value)} ms + "
        f"{number(loads.steps)} job steps/s × {number(costs.database_step_ms.value)} ms + "
        f"{number(estate.api_requests_s)} requests/s × {number(costs.database_get_ms.value)} ms) ÷ "
        f"speed {number(estate.speed)} ÷ {estate.load_max:.0%}",
    )


def _memory(costs: Costs, conductors: int, gateways: int, apis: int, hosts: int) -> Figure:
    total = (
        conductors * costs.conductor_mb.value
        + gateways * costs.gateway_mb.value
        + apis * costs.api_mb.value
    )
    return Figure(
        name="memory_mb",
        value=math.ceil(total),
        unit="MB over all hosts",
        how=f"{conductors} × {number(costs.conductor_mb.value)} + {gateways} × "
        f"{number(costs.gateway_mb.value)} + {apis} × {number(costs.api_mb.value)} MB "
        f"(conductors, gateways, API processes) on {hosts} hosts; the database is not in it",
    )


def _warnings(estate: Estate, costs: Costs, answer: Plan) -> list[str]:
    found = [_reference(answer)]
    tried = int(costs.nodes_measured.value)
    if int(answer.figure("nodes_per_conductor").value) > tried:
        found.append(
            f"a conductor with that many nodes is reckoned, not tried: the unit costs were "
            f"measured with {tried:,} and are taken to stay as they are"
        )
    if estate.zones == 1:
        found.append("all hosts are in one zone: its loss is the loss of everything (P17)")
    gateways = int(answer.figure("gateways").value)
    if gateways > 1:
        found.append(
            f"{gateways} gateways are asked for, and this release runs one for a deployment: "
            "split the fleet into deployments, or look at the power states less often"
        )
    connections = int(answer.figure("database_connections").value)
    found.append(connections_fault(connections + SPARE_CONNECTIONS, estate.connections_max))
    found += [_too_few_places(estate, answer), _too_slow(estate)]
    cache = answer.figure("image_cache_gb").value
    free = estate.images.disk_free_gb
    if free is not None and free < cache:
        found.append(
            f"{number(free)} GB free is too little for the image cache of {number(cache)} GB on "
            "each conductor's host (I17)"
        )
    return [warning for warning in found if warning]


def _too_few_places(estate: Estate, answer: Plan) -> str:
    most = estate.tuning.concurrent_deploys_max
    needed = int(answer.figure("concurrent_deploys_max_needed").value)
    if not most or most >= needed:
        return ""
    return (
        f"provisioning.concurrent_deploys_max (max_concurrent_deploy) is {most}, so not all of the "
        f"{number(estate.concurrent_deploys)} deployments go on at once when conductors are lost, "
        f"and some wait in order: set provisioning.concurrent_deploys_max = {needed}"
    )


def _too_slow(estate: Estate) -> str:
    timeout_s = estate.tuning.dead_timeout_s
    if not estate.sync_interval_s or estate.bmc_latency_ms <= 1000 * timeout_s:
        return ""
    return (
        f"a BMC that takes {number(estate.bmc_latency_ms)} ms to answer is given up after "
        f"{number(timeout_s)} s, and its power state stays unknown: raise power_sync.timeout_max_s"
    )


def _reference(answer: Plan) -> str:
    """The reference's figures per conductor, as warning levels and no more (I15, I16, T6)."""
    share = int(answer.figure("nodes_per_conductor").value)
    if share <= PER_CONDUCTOR_RECOMMENDED:
        return ""
    level = (
        f"above the {PER_CONDUCTOR_RECOMMENDED} that Ironic's reference recommends (I15)"
        if share <= PER_CONDUCTOR_DEGRADED
        else f"above the about {PER_CONDUCTOR_DEGRADED} at which Ironic's reference reports "
        "degradation (I16)"
    )
    return (
        f"{share:,} nodes per conductor is {level}. Those levels are Ironic's own and superseded "
        "there, too (now: a target of 300, 800-1,000 with little tuning, 3,500 reported); nothing "
        "here is sized by them, but by the measured costs below"
    )


def _notes(costs: Costs, driver: DriverCosts, loads: Loads) -> list[str]:
    """The unit costs behind it all, with where they come from."""
    entries = [
        ("a look at a power state, conductor", costs.conductor_look_ms),
        ("a look at a power state, gateway", driver.gateway_look_ms),
        ("a look at a power state, database", costs.database_look_ms),
        ("a job step, conductor", costs.conductor_step_ms),
        ("a job step, database", costs.database_step_ms),
        ("an API request, API process", costs.api_get_ms),
        ("an API request, database", costs.database_get_ms),
    ]
    found = [f"{what}: {number(cost.value)} ms of CPU ({cost.how})" for what, cost in entries]
    found.append(
        f"a deployment: {number(costs.steps_per_deploy.value)} job steps "
        f"({costs.steps_per_deploy.how}), {number(costs.commands_per_deploy.value)} commands "
        f"({costs.commands_per_deploy.how})"
    )
    if not loads.looks:
        found.append("sync_power_state_interval is 0: power states are not looked at")
    return found
