"""How many connections to the database the processes of a deployment may open (T3).

Every part of a deployment shares one database, so all of them are in one sum: it is the same
whichever part is planned, and on one host it is what the doctor compares.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

POSTGRES_CONNECTIONS: Final = 100  # max_connections as PostgreSQL ships
SPARE_CONNECTIONS: Final = 10  # for people, backups and superuser_reserved_connections
SUPERVISOR_CONNECTIONS: Final = 2
OWN_CONNECTIONS: Final = 2  # beside its pool a member renews its lease on one, and LISTENs on one
API_NODE_CONNECTIONS: Final = 3  # a pool of two and a lease; it LISTENs to nothing

Number = Annotated[int, msgspec.Meta(ge=0)]


class Processes(msgspec.Struct, frozen=True, kw_only=True):
    """What has connections, on ``hosts`` hosts taken together. Gateways have none."""

    hosts: Number = 0
    conductors: Number = 0
    apis: Number = 0
    engines: Number = 0
    api_nodes: Number = 0
    pool_max: Number = 0
    """``database.pool_max``, of each process but API nodes."""
    pool_overflow: Number = 0
    """``engine.pool_overflow``: above the pool, of engines only (X18)."""

    def beside(self, others: Processes) -> Processes:
        """One deployment of two parts: the same API processes answer for both, on shared hosts."""
        return Processes(
            hosts=max(self.hosts, others.hosts),
            conductors=self.conductors + others.conductors,
            apis=max(self.apis, others.apis),
            engines=self.engines + others.engines,
            api_nodes=max(self.api_nodes, others.api_nodes),
            pool_max=max(self.pool_max, others.pool_max),
            pool_overflow=max(self.pool_overflow, others.pool_overflow),
        )

    def connections(self) -> int:
        """The most they may open at a time."""
        each = self.pool_max + OWN_CONNECTIONS
        return (
            (self.conductors + self.apis) * each
            + self.engines * (each + self.pool_overflow)
            + self.api_nodes * API_NODE_CONNECTIONS
            + self.hosts * SUPERVISOR_CONNECTIONS
        )

    def words(self) -> str:
        """How ``connections`` come about."""
        own = "lease + wake-up"
        parts = [
            f"({self.conductors} conductors + {self.apis} API processes) × "
            f"(pool {self.pool_max} + {own})"
        ]
        if self.engines:
            parts.append(
                f"{self.engines} engines × (pool {self.pool_max} + overflow "
                f"{self.pool_overflow} + {own})"
            )
        if self.api_nodes:
            parts.append(f"{self.api_nodes} API nodes × {API_NODE_CONNECTIONS}")
        parts.append(f"{self.hosts} supervisors × {SUPERVISOR_CONNECTIONS}")
        return " + ".join(parts)


def connections_fault(wanted: int, limit: int) -> str:
    """What is wrong with ``max_connections`` of the database, and the fix; empty if nothing is."""
    if wanted <= limit:
        return ""
    return (
        f"max_connections of the database is {limit}, and {wanted} may be asked for: set "
        f"max_connections = {wanted}, or lower the pools, the overflow or the numbers of processes"
    )
