"""The demonstration's client: the public APIs, spoken as any client of Ironic would."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any

import aiohttp
import msgspec

from holdfast.cli.client import Cloud
from holdfast.errors import HoldfastError, UnavailableError

Document = dict[str, Any]

MICROVERSION = {"X-OpenStack-Ironic-API-Version": "1.82"}
STATE_FIELDS = "uuid,name,provision_state,power_state,last_error,conductor"


class RefusedError(HoldfastError):
    """The API answered with an error."""

    code = "refused"


class Api:
    """Identity, bare metal and cluster API at one address."""

    def __init__(self, cloud: Cloud) -> None:
        self._auth = cloud.auth
        self._auth_url = cloud.auth_url
        self._root = cloud.auth_url.removesuffix("/v3").removesuffix("/identity")
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=10), connector=aiohttp.TCPConnector(limit=16)
        )
        self._token = ""

    async def __aenter__(self) -> Api:
        await self._log_in()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        fault: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._session.close()

    @property
    def baremetal_url(self) -> str:
        """The root of the bare metal API, for ramdisk agents."""
        return f"{self._root}/baremetal"

    async def _log_in(self) -> None:
        auth = self._auth
        user = {"name": auth["username"], "password": auth["password"]}
        domain = {"id": auth.get("user_domain_id", "default")}
        project = {"name": auth.get("project_name"), "domain": domain}
        body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {**user, "domain": domain}},
                },
                "scope": {"project": project},
            }
        }
        async with self._session.post(f"{self._auth_url}/auth/tokens", json=body) as response:
            if response.status != 201:
                raise RefusedError(f"cannot log in: {await response.text()}")
            self._token = response.headers["X-Subject-Token"]

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request; raises ``RefusedError`` or ``UnavailableError``."""
        headers = {"X-Auth-Token": self._token, **MICROVERSION}
        try:
            async with self._session.request(
                method, f"{self._root}{path}", json=body, headers=headers
            ) as response:
                text = await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            raise UnavailableError(f"no answer from {self._root}{path}: {error!r}") from error
        if status == UnavailableError.status:
            raise UnavailableError(f"{method} {path}: {text[:300]!r}")
        if status >= 400:
            raise RefusedError(f"{method} {path}: {status} {text[:300]!r}")
        return msgspec.json.decode(text) if text else None

    async def read(self, path: str) -> Any:
        """GET, tried again while the answering process is being replaced."""
        for _ in range(20):
            try:
                return await self.call("GET", path)
            except UnavailableError:
                await asyncio.sleep(0.1)
        return await self.call("GET", path)

    async def create(self, name: str, driver_info: Document, mac: str) -> str:
        """Enrol a machine with its port; returns the node's UUID."""
        node: Document = await self.call(
            "POST",
            "/baremetal/v1/nodes",
            {"driver": "redfish", "name": name, "driver_info": driver_info},
        )
        port = {"node_uuid": node["uuid"], "address": mac}
        await self.call("POST", "/baremetal/v1/ports", port)
        return str(node["uuid"])

    async def provision(self, node: str, target: str) -> None:
        """Ask for a change of provision state."""
        path = f"/baremetal/v1/nodes/{node}/states/provision"
        await self.call("PUT", path, {"target": target})

    async def nodes(self) -> list[Document]:
        """All nodes, in short."""
        document = await self.read(f"/baremetal/v1/nodes?fields={STATE_FIELDS}&limit=1000")
        return list(document["nodes"])

    async def cluster(self, path: str) -> Document:
        """A document of the cluster API."""
        document: Document = await self.read(f"/cluster/v1{path}")
        return document
