"""An API node that is a member: it answers queries first, and asks what to serve second.

The node runs as it would alone (``serving``), from its own disk. Beside it a task registers it
as a member, reads what it shall serve and which other nodes there are, and says what it does.
Without a database, or while none answers, that task tries again and the node goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Final

import structlog
from msgspec.structs import replace

from holdfast.baremetal.models import KINDS
from holdfast.core.members import Membership
from holdfast.errors import HoldfastError
from holdfast.fleet.agent import Agent
from holdfast.fleet.neighbours import addresses
from holdfast.fleet.store import ROLE, Fleet
from holdfast.ops.metrics import Paged, Reading, registry
from holdfast.ops.roles.process import RoleProcess
from holdfast.ops.settings import http_url
from holdfast.serving.errors import DiskError
from holdfast.serving.handover import lock
from holdfast.serving.node import Node
from holdfast.serving.settings import FILE, NodeSettings, read_settings
from holdfast.store.pg.store import PgStore

log = structlog.get_logger(__name__)

_AGAIN_S: Final = 1.0
_CONNECTIONS_MAX: Final = 2


async def run(process: RoleProcess) -> int:
    """Answer queries until drained, whether there is a control plane or not."""
    data = process.datadir.root / "apinodes" / process.slot
    data.mkdir(parents=True, exist_ok=True)
    told = settings_of(process, data)
    held = lock(data, None)
    node = Node(data, told)
    for warning in node.warnings:
        log.warning("apinode.unsafe", why=warning)
    standing = Standing(process, node, told, data)

    async def waiting() -> list[str]:
        return [] if node.registry.settled else ["its packages to be loaded"]

    counted = registry(process.role, standing.gauges())
    counted.register(Paged(node.metrics))
    try:
        async with process.face(waiting, counted):
            await node.start()
            keeping = asyncio.create_task(standing.keep())
            draining = asyncio.create_task(_drain(process, node, standing))
            try:
                await node.stopped.wait()
            finally:
                draining.cancel()
                keeping.cancel()
                await asyncio.gather(keeping, draining, return_exceptions=True)
    finally:
        await node.stop()
        os.close(held)
    return process.DRAINED


def settings_of(process: RoleProcess, data: Path) -> NodeSettings:
    """Its own apinode.toml, else that of all nodes of the host; where to listen is the role's."""
    wanted = process.settings.apinode
    told = read_settings(data if (data / FILE).exists() else process.datadir.root)
    return replace(
        told,
        http=replace(told.http, host=wanted.host, port=wanted.port),
        node=replace(told.node, zone=told.node.zone or process.settings.host.zone),
    )


class Standing:
    """The node's place in the control plane, whenever there is one."""

    def __init__(self, process: RoleProcess, node: Node, told: NodeSettings, data: Path) -> None:
        self._process = process
        self._node = node
        self._zone = told.node.zone
        self._url = told.node.url
        self._agent = Agent(
            node.registry,
            told.packages,
            data,
            told.node.zone,
            asyncio.get_running_loop().time,
        )
        self._membership: Membership | None = None

    @property
    def told_to_drain(self) -> bool:
        """Whether somebody asked for it through the cluster API."""
        return self._membership is not None and self._membership.drain_wanted

    def gauges(self) -> dict[str, tuple[str, Reading]]:
        return {
            "holdfast_apinode_registered": (
                "Whether this API node is a member whose lease is trusted",
                lambda: float(self._membership is not None and self._membership.window.open()),
            ),
        }

    async def keep(self) -> None:
        """Be a member and follow what is wanted, for as long as this runs."""
        if not self._process.settings.database.url:
            log.info("apinode.alone", why="no database is configured")
            with contextlib.suppress(DiskError):
                await self._node.peers.follow(())  # it was a member of others, once
            return
        try:
            while True:
                try:
                    await self._stand()
                except HoldfastError as fault:
                    log.warning("apinode.alone", why=fault.message)
                except Exception:  # the node answers, whatever goes wrong here
                    log.exception("apinode.alone")
                await asyncio.sleep(_AGAIN_S)
        finally:
            await self._agent.close()

    async def _stand(self) -> None:
        """One membership, from its registration until its lease is over."""
        url = self._process.database_url
        host, port = self._process.settings.apinode.host, self._node.port
        async with PgStore.connected(url, KINDS, connections_max=_CONNECTIONS_MAX) as store:
            membership = self._process.membership(
                store, address=self._url or http_url(host, port), zone=self._zone
            )
            await membership.register()
            self._membership = membership
            following = asyncio.create_task(self._follow(store, membership))
            try:
                await membership.keep()
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                if self._node.presence.draining:
                    await membership.leave("drained")

    async def _follow(self, store: PgStore, membership: Membership) -> None:
        fleet, member = Fleet(store.db), membership.member
        while True:
            try:
                actual = self._agent.look(await fleet.wanted(), member.id)
                await fleet.report(member.id, member.epoch, actual)
                members = await store.members(ROLE)
                await self._node.peers.follow(addresses(members, member.host))
            except HoldfastError as fault:
                log.warning("apinode.not_told", why=fault.message)
            except Exception:  # the node answers, whatever goes wrong here
                log.exception("apinode.not_told")
            await asyncio.sleep(self._process.settings.apinode.look_s)

    async def leave(self) -> None:
        """Say that this node is leaving; a database that is away need not know."""
        if self._membership is not None and self._membership.window.open():
            try:
                await self._membership.mark_draining()
            except HoldfastError as fault:
                log.warning("apinode.leave_unconfirmed", why=fault.message)


async def _drain(process: RoleProcess, node: Node, standing: Standing) -> None:
    """Drain when a signal says so, or the cluster API."""
    while not (process.draining.is_set() or standing.told_to_drain):
        try:
            async with asyncio.timeout(0.5):
                await process.draining.wait()
        except TimeoutError:
            continue
    node.begin_drain()
    await standing.leave()
