"""Which processes a host has, how each is started, and what they share.

Children get what they need by environment and inherited descriptors: the data
directory, the database's address, the API's listening sockets.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import Final

import msgspec

from holdfast.errors import StoreUnavailableError
from holdfast.ops.children import Launch
from holdfast.ops.config import Loaded
from holdfast.ops.datadir import DataDir
from holdfast.ops.settings import http_url
from holdfast.ops.sockets import to_pass, url_of
from holdfast.ops.supervisor import ChildSpec
from holdfast.store.embedded import EmbeddedPostgres
from holdfast.store.keyring import MASTER_KEY_VARIABLE, Keyring

POSTGRES: Final = "postgres"
STOP_STAGES: Final = {"conductor": 0, "engine": 0, "apinode": 0, "api": 1, "rack": 2, POSTGRES: 3}
# The gateway has no access to the database, so it is not told where that is either.
# An API node, which runs others' code in processes below it, opens no secret.
KEPT_FROM: Final = {
    "rack": frozenset({"HOLDFAST_DATABASE__URL", MASTER_KEY_VARIABLE}),
    "apinode": frozenset({MASTER_KEY_VARIABLE}),
}
# A host that is all by itself: whoever can reach its APIs can reach what listens on it anyway.
_LOOPBACK: Final = ("bmc", "allow_loopback")
_ALLOW_LOOPBACK: Final = {"HOLDFAST_BMC__ALLOW_LOOPBACK": "true"}
_PREDECESSOR_S: Final = 30.0  # how long a database left behind by a killed supervisor may take


class House(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is decided before the first process starts."""

    specs: list[ChildSpec]
    roles: list[str]  # slots of the roles, in the order of their start
    database_url: str
    embedded: EmbeddedPostgres | None
    url: str  # the APIs' common address
    gateway_url: str  # of this host's own gateway; empty: it is another host's


async def build(
    loaded: Loaded,
    datadir: DataDir,
    sockets: Sequence[socket.socket],
    environ: Mapping[str, str],
) -> House:
    """Make the keys that are missing, prepare the database, and say what is to run."""
    settings = loaded.settings
    Keyring(datadir.master_key, environ).keys()
    datadir.secret(datadir.gateway_secret)
    datadir.member_id("")
    embedded = None
    if not settings.database.url:
        embedded = await asyncio.to_thread(EmbeddedPostgres.prepare, datadir.root)
    database_url = settings.database.url or (embedded.dsn if embedded else "")
    rack_port = settings.rack.port or _free_port()
    at_home = embedded is not None and all(_is_loopback(sock) for sock in sockets)
    shared = {
        **environ,
        "HOLDFAST_DATA_DIR": str(datadir.root),
        "HOLDFAST_DATABASE__URL": database_url,
        "HOLDFAST_RACK__PORT": str(rack_port),
        **(_ALLOW_LOOPBACK if at_home and _LOOPBACK not in loaded.entries else {}),
        **({"HOLDFAST_CONFIG": str(loaded.file.absolute())} if loaded.file else {}),
    }
    counts = {
        "rack": 0 if settings.rack.url else 1,
        "conductor": settings.conductor.processes,
        "engine": settings.engine.processes,
        "api": settings.api.processes,
        "apinode": settings.apinode.processes,
    }
    roles = [(f"{role}-{n}", role) for role, count in counts.items() for n in range(1, count + 1)]
    first = settings.apinode.port
    specs = [_role(slot, role, datadir, shared, sockets, first) for slot, role in roles]
    if embedded is not None:
        specs.append(_postgres(datadir))
    return House(
        specs=specs,
        roles=[slot for slot, _ in roles],
        database_url=database_url,
        embedded=embedded,
        url=settings.api.public_url or url_of(sockets[0]),
        gateway_url="" if settings.rack.url else http_url(settings.rack.host, rack_port),
    )


def _role(
    slot: str,
    role: str,
    datadir: DataDir,
    shared: Mapping[str, str],
    sockets: Sequence[socket.socket],
    port: int,
) -> ChildSpec:
    mine = sockets if role == "api" else ()
    kept = {k: v for k, v in shared.items() if k not in KEPT_FROM.get(role, ())}
    launch = Launch(
        argv=(sys.executable, "-P", "-m", "holdfast.cli.main", "run", role, "--slot", slot),
        env={**kept, **(to_pass(mine) if mine else {}), **_port_of(role, slot, port)},
        pass_fds=tuple(sock.fileno() for sock in mine),
    )

    async def same() -> Launch:
        return launch

    return ChildSpec(
        slot=slot,
        role=role,
        launch=same,
        output=datadir.log(slot),
        stop_stage=STOP_STAGES[role],
    )


def _port_of(role: str, slot: str, first: int) -> dict[str, str]:
    """API nodes have ports of their own, one after the other (0: each takes a free one)."""
    if role != "apinode" or not first:
        return {}
    return {"HOLDFAST_APINODE__PORT": str(first + int(slot.rpartition("-")[2]) - 1)}


def _postgres(datadir: DataDir) -> ChildSpec:
    async def launch() -> Launch:
        prepared = await asyncio.to_thread(EmbeddedPostgres.prepare, datadir.root)
        await _predecessor_gone(prepared)
        options = {k: v for k, v in prepared.spawn_options.items() if k != "env"}
        return Launch(
            argv=prepared.argv,
            env=prepared.env,
            options=options,
            death_signal=prepared.stop_signal,
        )

    return ChildSpec(
        slot=POSTGRES,
        role=POSTGRES,
        launch=launch,
        output=datadir.log(POSTGRES),
        stop_stage=STOP_STAGES[POSTGRES],
        stop_signal=signal.SIGINT,  # "fast shutdown"
        kill_signal=signal.SIGQUIT,  # "immediate shutdown": recovers at the next start
        leaves=False,
    )


async def _predecessor_gone(prepared: EmbeddedPostgres) -> None:
    """A killed supervisor's postmaster may still be shutting down; see to it that it does."""
    if (pid := prepared.running_pid()) is None:
        return
    os.kill(pid, prepared.stop_signal)
    try:
        async with asyncio.timeout(_PREDECESSOR_S):
            while prepared.running_pid() is not None:
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise StoreUnavailableError(
            f"a PostgreSQL (process {pid}) that nobody supervises still runs on this data "
            "directory and does not stop; stop it"
        ) from None


def _is_loopback(sock: socket.socket) -> bool:
    return ip_address(str(sock.getsockname()[0])).is_loopback


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
