"""An API node: everything of it put together, from its start to the end of its drain.

::

    starting --all loaded or failed--> serving --TERM or drain--> noticed --notice over--> finishing
       isAlive 503                      200          503, answers go on        no new connections
"""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from holdfast import __version__
from holdfast.errors import ConfigError, NotFoundError
from holdfast.serving.front.admin import BASE as ADMIN
from holdfast.serving.front.admin import Admin
from holdfast.serving.front.answers import Answer, json_answer
from holdfast.serving.front.audit import Audit
from holdfast.serving.front.http import Connection
from holdfast.serving.front.keys import KEY_VARIABLE, AdminKeys
from holdfast.serving.front.metrics import CONTENT_TYPE, text
from holdfast.serving.front.openapi import openapi
from holdfast.serving.front.queries import BASE as PUBLIC
from holdfast.serving.front.queries import Queries, path_of
from holdfast.serving.front.request import Request, Sink
from holdfast.serving.front.room import Room
from holdfast.serving.generations.mounted import Mounter, WorkerSettings
from holdfast.serving.generations.registry import Registry
from holdfast.serving.handover import Succession
from holdfast.serving.packages.store import PackageStore
from holdfast.serving.peers import LOOK_S, NODES_PATH, Peers
from holdfast.serving.pool.scratch import remove
from holdfast.serving.pool.spawner import Spawner
from holdfast.serving.presence import Presence
from holdfast.serving.settings import FILE as SETTINGS_FILE
from holdfast.serving.settings import NodeSettings
from holdfast.serving.workers.users import choose_user

_SWEEP_S: Final = 1.0
_HEAL_S: Final = 15.0
_CLOSING_S: Final = 1.0  # how long idle connections have to ask once more, and be told to leave
_LOOK_S: Final = 0.02
_BACKLOG: Final = 4096
_HERE: Final = frozenset({"127.0.0.1", "::1"})
_ANYWHERE: Final = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - what is compared with


class Node:
    """One node. ``start``, then ``drain`` (which stops it) or ``stop``."""

    def __init__(self, data: Path, settings: NodeSettings) -> None:
        self.settings = settings.http
        self.room = Room(settings.http)
        self.connections = self.room.connections
        self.closing = False  # every answer is the last of its connection
        self.stopped: asyncio.Event = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._scratch = _fresh(data / "scratch", os.getpid())
        packages = settings.packages
        store = PackageStore(
            data / "packages",
            packages.limits,
            packages.trusted_keys,
            signed_only=packages.signed_only,
        )
        self._spawner = Spawner(
            self._scratch, settings.workers.libraries, settings.workers.node_max
        )
        workers, self.warnings = _as_whom(settings, data)
        mounter = Mounter(store, self._spawner, workers, settings.connections)
        self.registry = Registry(data / "services", store, mounter)
        self._audit = Audit(data / "audit", settings.audit)
        self._queries = Queries(self.registry, self._audit, time.monotonic)
        self.peers = Peers(data, settings.node, self._loop.time)
        zone, clock = settings.node.zone, self._loop.time
        self.presence = Presence(data, self.peers, zone, lambda: self.registry.settled, clock)
        self.replace: Callable[[], None] | None = None  # puts a successor in its place
        self.succession = Succession()
        self._zone = settings.node.zone
        self._workers_user = workers.limits.user or pwd.getpwuid(os.geteuid()).pw_name
        self._keys = AdminKeys(data, os.environ.get(KEY_VARIABLE, ""))
        self._admin = Admin(
            self.registry,
            self._keys,
            packages,
            self._scratch,
            self,
        )
        self._server: asyncio.Server | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._started = time.time()

    # ---- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen at once (the probe says no), and load what was served before.

        Returns when all is loaded or has failed, or ``loading_max_s`` are over: the probe waits
        no longer for the rest, which goes on loading. Raises ``ConfigError`` if the port cannot be
        had, ``LoadError`` if no worker can be forked.
        """
        await self._spawner.start()
        await self.accept(self._listen())
        loading = self._loop.create_task(self.registry.start())
        stopped = self._loop.create_task(self.stopped.wait())
        await asyncio.wait(
            {loading, stopped},
            timeout=self.settings.loading_max_s,
            return_when=asyncio.FIRST_COMPLETED,
        )
        stopped.cancel()
        if loading.done():
            loading.result()
        else:
            self._tasks.append(loading)
        self.registry.settled = True

    async def load(self) -> None:
        """Load what the disk says now, and listen to nobody yet: as a successor does.

        Raises ``ConfigError``, ``LoadError``.
        """
        await self._spawner.start()
        await self.registry.follow()
        self.registry.settled = True

    async def accept(self, listening: socket.socket) -> None:
        """Take connections; raises ``ConfigError`` if the port cannot be had."""
        self._keys.read()  # an older process may have changed them
        try:
            self._server = await self._loop.create_server(
                lambda: Connection(self, self._loop.time), sock=listening, backlog=_BACKLOG
            )
        except OSError as error:
            raise self._no_port(error) from None
        if self.settings.host not in _ANYWHERE:
            self.peers.here(f"http://{self.address()}")
        for work in (self._sweep(), self._heal(), self._look()):
            self._tasks.append(self._loop.create_task(work))

    @property
    def accepting(self) -> bool:
        """Whether it has begun to take connections."""
        return self._server is not None

    def _no_port(self, error: OSError) -> ConfigError:
        return ConfigError(f"{self.address()} cannot be listened on: {error}.")

    def _listen(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.settings.host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((self.settings.host, self.settings.port))
        except OSError as error:
            listening.close()
            raise self._no_port(error) from None
        return listening

    @property
    def port(self) -> int:
        """The port listened on."""
        sockets = self._server.sockets if self._server is not None else ()
        return int(sockets[0].getsockname()[1]) if sockets else self.settings.port

    def address(self) -> str:
        host = self.settings.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"

    def listening_fd(self) -> int:
        """The socket that a successor takes over."""
        return self._server.sockets[0].fileno() if self._server is not None else -1

    def begin_drain(self, *, succeeded: bool = False) -> None:
        """Drain, in the background; a second call changes nothing.

        ``succeeded``: another process listens on the same port already, nobody needs notice. Nor
        does anybody for as long as the node has been out of the pool already.
        """
        if not self.presence.draining:
            out_s = self.presence.out_for_s()
            self.presence.draining = True
            notice_s = 0.0 if succeeded else max(0.0, self.settings.drain_notice_s - out_s)
            self._tasks.append(self._loop.create_task(self._drain(notice_s, succeeded)))

    async def _drain(self, notice_s: float, succeeded: bool) -> None:
        """The probe says no; whoever comes is answered and told to come to another (D17)."""
        await asyncio.sleep(notice_s)
        self.closing = True
        if succeeded and self._server is not None:
            self._server.close()
        await asyncio.sleep(
            _CLOSING_S if succeeded else min(_CLOSING_S, self.settings.drain_notice_s)
        )
        if self._server is not None:
            self._server.close()
        try:
            async with asyncio.timeout(self.settings.drain_max_s):
                while self.connections:  # each is gone once its last answer is with the client
                    for connection in list(self.connections):
                        connection.close_idle()
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError:
            pass
        await self.stop()

    async def stop(self) -> None:
        """Close everything now."""
        if self.stopped.is_set():
            return
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.close_idle()
        self.registry.close()
        await asyncio.sleep(0)  # the last answers are written
        for connection in list(self.connections):
            connection.abort()
        await self._spawner.stop()
        await self.peers.close()
        await asyncio.to_thread(self._audit.close)
        remove(self._scratch)
        current = asyncio.current_task()
        for task in self._tasks:
            if task is not current:
                task.cancel()
        self.stopped.set()

    async def _heal(self) -> None:
        while True:
            await asyncio.sleep(_HEAL_S)
            self.registry.heal()

    async def _look(self) -> None:
        while True:
            await self.peers.look()
            await asyncio.sleep(LOOK_S)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = self._loop.time()
            for connection in list(self.connections):
                connection.close_stale(now)
            self.presence.look()

    # ---- requests ------------------------------------------------------------------------------

    def sink(self, request: Request) -> Sink | None:
        return self._admin.sink(request) if b"/admin/" in request.url else None

    def admit(self, request: Request) -> None:
        """Raises unless whoever shows this head may send a long body."""
        if path_of(request.url).startswith(ADMIN):
            self._admin.check(request)
        else:
            self._queries.admit(request)

    def query(self, connection: Connection, request: Request) -> bool:
        if request.method == b"POST" and b"public/api/v1/" in request.url:
            self._queries.ask(connection, request)
            return True
        return False

    async def handle(self, connection: Connection, request: Request) -> Answer:
        path = path_of(request.url)
        if path.startswith(ADMIN):
            return await self._admin.handle(request)
        if request.method not in (b"GET", b"HEAD"):
            raise NotFoundError("There is nothing here that takes this method.")
        if path == "isAlive":
            return self._alive()
        if path == NODES_PATH:
            return json_answer(self.presence.document())
        if path == "metrics":
            if connection.peer not in _HERE:
                self._admin.check(request)
            return Answer(200, self.metrics(), CONTENT_TYPE)
        parts = path.removeprefix(PUBLIC).split("/")
        if path.startswith(PUBLIC) and len(parts) >= 2:
            return self._of_service(parts, request)
        raise NotFoundError(
            "Queries are below /public/api/v1/, the admin API below /admin/api/, the probe is "
            "/isAlive/."
        )

    def metrics(self) -> bytes:
        """What is counted, in Prometheus' text format."""
        return text(self.registry, self._gauges(), self._queries.refused)

    def _alive(self) -> Answer:
        why = self.presence.why_not()
        return json_answer({"alive": not why, "reason": why or None}, 503 if why else 200)

    def _of_service(self, parts: list[str], request: Request) -> Answer:
        """Documents of one service: OpenAPI, and whether it would answer."""
        runtime = self.registry.get(parts[0])
        if parts[1:] == ["swagger"]:
            return json_answer(openapi(self._queries.shown(runtime, request)))
        if parts[1:] in (["isReady"], ["v2", "health", "ready"]):
            ready = runtime.ready and not self.presence.why_not()
            reason = None if runtime.ready else self._queries.why_not(runtime, request)
            return json_answer({"ready": ready, "reason": reason}, 200 if ready else 503)
        if parts[1:] == ["v2", "health", "live"]:
            return json_answer({"live": True})
        if len(parts) == 4 and parts[1:3] == ["v2", "models"]:
            mounted = self._queries.shown(runtime, request)
            mounted.pool.check(parts[3], "infer")
            return json_answer(
                {
                    "name": parts[3],
                    "versions": [mounted.generation.id],
                    "platform": "holdfast",
                    "inputs": [],
                    "outputs": [],
                }
            )
        raise NotFoundError("A service has /swagger, /isReady and its endpoints' actions.")

    def status(self) -> dict[str, Any]:
        """The node in one document."""
        return {
            "version": __version__,
            "pid": os.getpid(),
            "state": "draining" if self.presence.draining else "serving",
            "alive": not self.presence.why_not(),
            "reason": self.presence.why_not() or None,
            "startedOn": int(self._started * 1000),
            "connections": len(self.connections),
            "queries": self.registry.queries(),
            "services": len(self.registry.services),
            "workersRunAs": self._workers_user,
            "warnings": self.warnings,
            "zone": self._zone,
            "nodes": self.peers.urls(),
            "loading": self.registry.loading(),
            "successor": msgspec.to_builtins(self.succession),
            "drainNoticeS": self.settings.drain_notice_s,
        }

    def _gauges(self) -> dict[str, float]:
        shipper = self._audit.shipper
        return {
            "connections": len(self.connections),
            "held_bytes": self.room.held_bytes,
            "unsent_bytes": self.room.unsent_bytes,
            "alive": float(not self.presence.why_not()),
            "audit_written": self._audit.written,
            "audit_dropped": self._audit.dropped,
            "audit_shipped": shipper.shipped if shipper is not None else 0,
            "audit_ship_dropped": shipper.dropped if shipper is not None else 0,
        }


def _as_whom(settings: NodeSettings, data: Path) -> tuple[WorkerSettings, list[str]]:
    """The workers' settings with the user that is fit, and what is to be warned of."""
    workers = settings.workers
    folders = [data / "packages", data / "scratch"]
    user, warning = choose_user(workers.limits.user, folders)
    warnings = [warning] if warning else []
    file = data / SETTINGS_FILE
    if user and settings.connections and file.stat().st_mode & stat.S_IROTH:
        warnings.append(
            f"{file} has databases' passwords, and the code of packages can read it: chmod 600."
        )
    limits = msgspec.structs.replace(workers.limits, user=user)
    return msgspec.structs.replace(workers, limits=limits), warnings


def _fresh(folder: Path, pid: int) -> Path:
    """A folder for this process; what killed ones left is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        if not Path(f"/proc/{old.name}").exists() or old.name == str(pid):
            remove(old)
    mine = folder / str(pid)
    mine.mkdir()
    return mine
