"""Engines, API processes, pools and connections for stacks (X5-X20, T1-T3).

What to run on a controller is the reference's table by its cores; what a rate of operations
asks for is reckoned from measured costs, and raises the table's figure where it is more. Pure.
"""

from __future__ import annotations

import math
from typing import Annotated, Final

import msgspec

from holdfast.ops.planner.answer import Figure, Limit, Plan, number
from holdfast.ops.planner.connections import (
    POSTGRES_CONNECTIONS,
    SPARE_CONNECTIONS,
    Processes,
    connections_fault,
)
from holdfast.ops.planner.costs import Cost, Costs
from holdfast.ops.planner.estate import Count, NotNegative, Positive

TABLE: Final = ((4, 2, 2), (8, 4, 4), (16, 8, 4), (32, 16, 8))
"""X9: cores of a controller -> engine processes, API processes; the last row is "32+"."""
PER_CORE: Final = (2, 4)  # X7
POOL_PER_ENGINE: Final = 2  # X16
IO_BOUND: Final = (
    "engines wait for others most of their time, so there may safely be more of them than cores "
    "(X10); more than the table's pay off once operations wait for an engine"
)


class Controllers(msgspec.Struct, frozen=True, kw_only=True):
    """The hosts that run stacks, and what is asked of them. Each runs the same."""

    cores: Count = 8
    """Of one controller."""
    hosts: Count = 2
    engines: Count | None = None
    """Engine processes of each controller; None: as many as are needed."""
    apis: Count | None = None
    """API processes of each controller; None: the table's."""
    resources_per_hour: NotNegative = 0.0
    """Operations on resources: creations, updates, checks and deletions."""
    held_ms: NotNegative = 50.0
    """How long an operation has an engine's attention; what it waits for afterwards is free."""
    speed: Positive = 1.0
    """Of one core, relative to the machine the costs were measured on."""
    load_max: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.6
    pool_max: Count = 10
    """``database.pool_max``, of each process (X18)."""
    pool_overflow: Annotated[int, msgspec.Meta(ge=0)] = 20
    """``engine.pool_overflow``: connections above the pool (X18), of engines only."""
    jobs_max: Count = 100
    """``engine.jobs_max``: operations one engine has in hand."""
    connections_max: Count = POSTGRES_CONNECTIONS
    """``max_connections`` of the database."""


def row_of(cores: int) -> tuple[int, int, int]:
    """The table's row for a controller: the last that asks for no more cores than it has."""
    fitting = [row for row in TABLE if row[0] <= cores]
    return fitting[-1] if fitting else TABLE[0]


def pool_needed(engines: int) -> int:
    """The smallest pool for that many engines on a controller (X16, taken literally: T3)."""
    return engines * POOL_PER_ENGINE


def pool_fault(engines: int, pool_max: int) -> str:
    """What is wrong with a pool, and the fix; empty if nothing is (X16, T2)."""
    needed = pool_needed(engines)
    if pool_max >= needed:
        return ""
    return (
        f"database.pool_max (heat_db_max_pool_size) is {pool_max}, and {engines} engines ask for "
        f"at least {engines} × {POOL_PER_ENGINE} = {needed} (X16): set database.pool_max = "
        f"{needed}, or run at most {pool_max // POOL_PER_ENGINE} engines on a controller"
    )


def plan(asked: Controllers, costs: Costs, others: Processes | None = None) -> Plan:
    """Size the engines of a deployment.

    ``others``: what else of it has connections to the same database.
    """
    limits = _limits(asked, costs)
    most = {
        role: max((one for one in limits if one.role == role), key=lambda one: one.needs)
        for role in ("engine", "api")
    }
    engines = _engines(asked, most["engine"])
    apis = _apis(asked, most["api"])
    per_host = int(engines.value), int(apis.value)
    processes = _processes(asked, *per_host)
    figures = [
        engines,
        *_range(asked),
        apis,
        _pool(int(engines.value)),
        _connections(asked, *per_host),
        _connections_max(processes.beside(others or Processes())),
        _capacity(asked, costs, int(engines.value)),
        _database_cores(asked, costs),
        _memory(costs, *per_host),
    ]
    answer = Plan(
        figures=figures,
        limits=limits,
        limiting={role: limit.what for role, limit in most.items()},
        processes=processes,
        warnings=[],
        notes=[IO_BOUND, *_notes(costs)],
    )
    return msgspec.structs.replace(answer, warnings=_warnings(asked, answer))


def _limits(asked: Controllers, costs: Costs) -> list[Limit]:
    """What the rate of operations asks for, over all controllers."""
    per_s = asked.resources_per_hour / 3600
    rate = f"{number(asked.resources_per_hour)} operations an hour"
    cpu = per_s * costs.engine_operation_ms.value / (1000 * asked.speed)
    api = per_s * costs.api_resource_ms.value / (1000 * asked.speed)
    return [
        Limit(
            role="engine",
            what="CPU",
            needs=cpu / _room(asked, costs.engine_idle),
            how=f"{rate} × {number(costs.engine_operation_ms.value)} ms ÷ "
            f"{_room_words(asked, costs.engine_idle)}",
        ),
        Limit(
            role="engine",
            what="operations in hand",
            needs=per_s * asked.held_ms / (1000 * asked.jobs_max),
            how=f"{rate} × {number(asked.held_ms)} ms each ÷ engine.jobs_max {asked.jobs_max}; "
            "one that waits for a timer, a signal or another resource is in nobody's hand",
        ),
        Limit(
            role="api",
            what="CPU",
            needs=api / _room(asked, costs.api_idle),
            how=f"{rate}, all asked for by templates, × {number(costs.api_resource_ms.value)} ms "
            f"÷ {_room_words(asked, costs.api_idle)}",
        ),
    ]


def _room(asked: Controllers, idle: Cost) -> float:
    """What one process has of a core for work, of the kind of core that was measured on."""
    return max(0.01, asked.load_max - idle.value / asked.speed)


def _room_words(asked: Controllers, idle: Cost) -> str:
    return f"speed {number(asked.speed)} ÷ ({asked.load_max:.0%} of a core - {idle.value:.1%} idle)"


def _engines(asked: Controllers, need: Limit) -> Figure:
    row = row_of(asked.cores)
    value, how = row[1], _table_words(asked, row)
    left = max(1, asked.hosts - 1)
    needed = math.ceil(need.needs / left)
    if asked.engines is not None:
        value, how = asked.engines, f"as you say; {how}, is {row[1]}"
    elif needed > value:
        value = needed
        how += (
            f", is {row[1]}; {need.what} asks for {number(need.needs)} over {left} controllers, "
            "so that one may be lost"
        )
    return Figure(name="engine_processes", value=value, unit="of each controller", how=how)


def _apis(asked: Controllers, need: Limit) -> Figure:
    row = row_of(asked.cores)
    value, how = row[2], _table_words(asked, row)
    needed = math.ceil(need.needs / max(1, asked.hosts - 1))
    if asked.apis is not None:
        value, how = asked.apis, f"as you say; {how}, is {row[2]}"
    elif needed > value:
        value, how = needed, f"{how}, is {row[2]}; {need.what} asks for {number(need.needs)}"
    return Figure(name="api_processes", value=value, unit="of each controller", how=how)


def _table_words(asked: Controllers, row: tuple[int, int, int]) -> str:
    more = "+" if row is TABLE[-1] else ""
    return f"{asked.cores} cores: the reference's table, row of {row[0]}{more} (X9)"


def _range(asked: Controllers) -> list[Figure]:
    """The reference's other advice contradicts its table: shown as the upper range (T1)."""
    return [
        Figure(
            name=f"engine_processes_upper_{end}",
            value=asked.cores * per_core,
            unit="of each controller",
            how=f"{asked.cores} cores × {per_core}: the upper range is {PER_CORE[0]}-"
            f"{PER_CORE[1]} per core (X7, T1), for stacks that mostly wait",
        )
        for end, per_core in zip(("from", "to"), PER_CORE, strict=True)
    ]


def _pool(engines: int) -> Figure:
    return Figure(
        name="pool_max_needed",
        value=pool_needed(engines),
        unit="database.pool_max",
        how=f"{engines} engines of a controller × {POOL_PER_ENGINE} (X16); it is the pool of each "
        "process (X18), and still has to be as large as that (T3)",
    )


def _pools(asked: Controllers, engines: int) -> int:
    """A pool as it will have to be."""
    return max(asked.pool_max, pool_needed(engines))


def _connections(asked: Controllers, engines: int, apis: int) -> Figure:
    pool = _pools(asked, engines)
    processes = (engines + apis) * asked.hosts
    return Figure(
        name="database_connections",
        value=processes * (pool + asked.pool_overflow),
        unit="connections at most",
        how=f"{asked.hosts} controllers × ({engines} engines + {apis} API processes) × (pool {pool}"
        f" + overflow {asked.pool_overflow}) (T3): the reference's sum. Here API processes have no "
        "overflow, see the next line",
    )


def _processes(asked: Controllers, engines: int, apis: int) -> Processes:
    """What stacks run, over all controllers."""
    return Processes(
        hosts=asked.hosts,
        engines=asked.hosts * engines,
        apis=asked.hosts * apis,
        pool_max=_pools(asked, engines),
        pool_overflow=asked.pool_overflow,
    )


def _connections_max(all_processes: Processes) -> Figure:
    return Figure(
        name="max_connections_needed",
        value=all_processes.connections() + SPARE_CONNECTIONS,
        unit="max_connections",
        how=f"{all_processes.words()} + {SPARE_CONNECTIONS} to spare",
    )


def _capacity(asked: Controllers, costs: Costs, engines: int) -> Figure:
    """What the engines can do by their CPU; more engines than cores have no more of it."""
    busy = min(engines, asked.cores) * asked.hosts
    room = _room(asked, costs.engine_idle) * asked.speed
    return Figure(
        name="resources_per_hour_max",
        value=math.floor(busy * room * 1000 / costs.engine_operation_ms.value * 3600),
        unit="operations by the engines' CPU",
        how=f"{asked.hosts} controllers × {min(engines, asked.cores)} engines at a time × "
        f"{asked.load_max:.0%} of a core, less {costs.engine_idle.value:.1%} idle, at speed "
        f"{number(asked.speed)} ÷ {number(costs.engine_operation_ms.value)} ms; the database must "
        "keep up with it",
    )


def _database_cores(asked: Controllers, costs: Costs) -> Figure:
    milliseconds = asked.resources_per_hour / 3600 * costs.database_operation_ms.value
    return Figure(
        name="database_cores",
        value=round(milliseconds / (1000 * asked.speed * asked.load_max), 3),
        unit="cores of the database's host",
        how=f"{number(asked.resources_per_hour)} operations an hour × "
        f"{number(costs.database_operation_ms.value)} ms ÷ speed {number(asked.speed)} ÷ "
        f"{asked.load_max:.0%}",
    )


def _memory(costs: Costs, engines: int, apis: int) -> Figure:
    return Figure(
        name="memory_mb",
        value=math.ceil(engines * costs.engine_mb.value + apis * costs.api_mb.value),
        unit="MB of each controller",
        how=f"{engines} engines × {number(costs.engine_mb.value)} + {apis} API processes × "
        f"{number(costs.api_mb.value)} MB",
    )


def _warnings(asked: Controllers, answer: Plan) -> list[str]:
    engines = int(answer.figure("engine_processes").value)
    upper = int(answer.figure("engine_processes_upper_to").value)
    found = [pool_fault(engines, asked.pool_max)]
    wanted = int(answer.figure("max_connections_needed").value)
    found.append(connections_fault(wanted, asked.connections_max))
    if engines > upper:
        found.append(
            f"{engines} engines are more than {PER_CORE[1]} per core (X7): add controllers instead"
        )
    rate = answer.figure("resources_per_hour_max")
    if asked.resources_per_hour > rate.value:
        found.append(
            f"{number(asked.resources_per_hour)} operations an hour are more than the cores of "
            f"{asked.hosts} controllers can do ({number(rate.value)}): add controllers"
        )
    if asked.hosts < 2:
        found.append("one controller is not highly available: its loss stops all stacks")
    return [warning for warning in found if warning]


def _notes(costs: Costs) -> list[str]:
    """The unit costs behind it all, with where they come from."""
    entries = [
        ("an operation on a resource, engine", costs.engine_operation_ms),
        ("an operation on a resource, database", costs.database_operation_ms),
        ("a resource of a template, API process", costs.api_resource_ms),
    ]
    return [f"{what}: {number(cost.value)} ms of CPU ({cost.how})" for what, cost in entries]
