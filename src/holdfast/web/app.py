"""The assembly: APIs, authentication, errors and probes become one ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from litestar import Litestar, Router
from litestar.di import Provide
from prometheus_client import CollectorRegistry

from holdfast.core.events import EventFeed, Patience
from holdfast.core.settings import CoreSettings
from holdfast.core.status import Concerns, no_concerns
from holdfast.errors import ConfigError
from holdfast.identity import api as identity_api
from holdfast.identity.catalog import Catalog, Service
from holdfast.identity.policy import PolicyRegistry
from holdfast.identity.service import Identity
from holdfast.store.port import Store, Waker
from holdfast.web import cluster, errors, probes
from holdfast.web.apis import Api
from holdfast.web.auth import Authentication, check_policies, provide_caller
from holdfast.web.events import EventDesk
from holdfast.web.front import Front
from holdfast.web.metrics import RequestMetrics
from holdfast.web.probes import Health
from holdfast.web.services import Posts
from holdfast.web.settings import WebSettings

IDENTITY = Service(type="identity", name="keystone", path="/identity")


def _always() -> bool:
    return True


async def _no_node(_ident: str) -> UUID | None:
    return None


async def _no_remarks(_node: UUID) -> list[str]:
    return []


def _no_broker() -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class AppParts:
    """What an application is assembled from.

    ``apis``: the products' (identity and cluster are added here). ``ports``: local TCP
    port -> name of the API at its root. ``registered``: whether this process is a member
    whose lease can be trusted. ``find_node``: node name or UUID -> UUID;
    ``remarks``: what is to be said of a node with a job; ``concerns``: of the living members.
    ``lease_s``: that of members.
    ``waker``: told when the event log grows.
    ``broker``: what the status shows of it.
    """

    identity: Identity
    store: Store
    apis: tuple[Api, ...] = ()
    settings: WebSettings = field(default_factory=WebSettings)
    public_url: str = ""
    ports: Mapping[int, str] = field(default_factory=dict[int, str])
    registered: Callable[[], bool] = _always
    find_node: cluster.FindNode = _no_node
    remarks: cluster.Remarks = _no_remarks
    concerns: Concerns = no_concerns
    lease_s: float = CoreSettings().lease_s
    waker: Waker = field(default_factory=Patience)
    broker: cluster.BrokerView = _no_broker
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)


@dataclass(frozen=True)
class Application:
    """An assembled application: what the server calls, its routes, and its health."""

    asgi: Front
    litestar: Litestar
    health: Health


def create_app(parts: AppParts) -> Application:
    """Assemble. Raises ``ConfigError`` for a route without a policy or an impossible mount."""
    health = Health(
        parts.store,
        registered=parts.registered,
        ready_check_s=parts.settings.ready_check_s,
    )
    apis = (_identity_api(parts), *parts.apis, _cluster_api(parts, health))
    _check_mounts(apis, parts.ports)
    policies = PolicyRegistry((probes.METRICS,), *(api.policies for api in apis))
    app = _litestar(parts, apis, policies, health)
    check_policies(app, policies)
    front = Front(
        app,
        apis,
        health=health,
        metrics=RequestMetrics(parts.registry),
        ports=parts.ports,
        public_url=parts.public_url,
        access_log=parts.settings.access_log,
    )
    return Application(front, app, health)


def _litestar(
    parts: AppParts, apis: tuple[Api, ...], policies: PolicyRegistry, health: Health
) -> Litestar:
    @asynccontextmanager
    async def working(_app: Litestar) -> AsyncGenerator[None]:
        ever = [parts.identity.purge_forever, *(run for api in apis for run in api.background)]
        tasks = [asyncio.create_task(run()) for run in ever]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    probe_handlers: list[Any] = list(
        probes.handlers(health, parts.registry, metrics_public=parts.settings.metrics_public)
    )
    return Litestar(
        route_handlers=[
            *(Router(path=api.prefix, route_handlers=[api.router]) for api in apis),
            *probe_handlers,
        ],
        middleware=[Authentication(parts.identity, policies)],
        dependencies={"caller": Provide(provide_caller, sync_to_thread=False)},
        exception_handlers={Exception: errors.answer},
        request_max_body_size=parts.settings.body_bytes_max,
        lifespan=[working],
        openapi_config=None,
        logging_config=None,
        debug=False,
    )


def _identity_api(parts: AppParts) -> Api:
    services = [IDENTITY, *(api.service for api in parts.apis if api.service is not None)]
    catalog = Catalog(services, parts.identity.settings.region)
    return Api(
        name="identity",
        prefix=IDENTITY.path,
        router=identity_api.router(parts.identity, catalog),
        policies=identity_api.POLICIES,
        error_body=identity_api.error_body,
        service=IDENTITY,
    )


def _cluster_api(parts: AppParts, health: Health) -> Api:
    desk = EventDesk(
        store=parts.store,
        feed=EventFeed(parts.store, parts.waker),
        identity=parts.identity,
        find_node=parts.find_node,
        draining=lambda: health.draining,
        settings=parts.settings,
    )
    posts = Posts(ports=parts.ports, lease_s=parts.lease_s)
    said = cluster.Said(parts.remarks, parts.concerns, parts.broker)
    return cluster.api(parts.store, parts.find_node, desk, said, posts)


def _check_mounts(apis: tuple[Api, ...], ports: Mapping[int, str]) -> None:
    prefixes = [api.prefix for api in apis]
    for prefix in prefixes:
        if prefixes.count(prefix) > 1 or prefix.count("/") != 1 or len(prefix) < 2:
            raise ConfigError(f"the API prefix {prefix!r} is taken, or not of the form /name")
    names = [api.name for api in apis]
    for port, name in ports.items():
        if name not in names:
            raise ConfigError(f"port {port}: there is no API {name!r}; there are: {names}")
