"""``holdfast package``: build, verify and deploy packages of query services."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.context import Cli
from holdfast.errors import ConfigError, ConflictError, HoldfastError, UnavailableError

if TYPE_CHECKING:
    import aiohttp

_PATH = click.Path(exists=True, path_type=Path)


@click.group()
def package() -> None:
    """Packages: a service with its endpoints, models and keys, in one file."""


@package.command("build")
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--to", "target", type=click.Path(path_type=Path), help="File to write.")
@click.option("--generation", help="Its name.  [default: made of the content's digest]")
@click.option("--key", type=_PATH, help="Sign with this Ed25519 key (PEM).")
@click.pass_obj
def build_package(
    obj: Cli, folder: Path, target: Path | None, generation: str | None, key: Path | None
) -> None:
    """Build the package of FOLDER, which has a service.toml."""
    import msgspec

    from holdfast.serving.packages.build import build, read_description
    from holdfast.serving.packages.signing import read_key

    out = target or Path(f"{read_description(folder).id}.hfpkg")
    built = build(
        folder, out, generation=generation, key=read_key(key) if key is not None else None
    )
    document: dict[str, Any] = msgspec.to_builtins(built)
    obj.show(document, list(document), [list(document.values())])


@package.command("keygen")
@click.argument("file", type=click.Path(path_type=Path))
def keygen(file: Path) -> None:
    """Make a signing key; shows the public half, for the nodes' trusted_keys."""
    from holdfast.serving.packages.signing import new_key

    if file.exists():
        raise ConflictError(f"{file} is there already: nothing was changed.")
    click.echo(new_key(file))


@package.command("verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--trust", multiple=True, help="A public key (hex) that must have signed it.")
@click.pass_obj
def verify(obj: Cli, file: Path, trust: tuple[str, ...]) -> None:
    """Check a package as a node would, without loading it."""
    from holdfast.serving.packages.opening import Limits, open_package, require_signed

    opened = open_package(file, Limits(), trust)
    if trust:
        require_signed(opened)
    document: dict[str, Any] = {
        "service": opened.manifest.service.id,
        "generation": opened.manifest.generation,
        "format": opened.manifest.format,
        "endpoints": [endpoint.id for endpoint in opened.manifest.service.endpoints],
        "files": len(opened.manifest.files),
        "digest": opened.digest,
        "signed_by": opened.signed_by,
    }
    obj.show(document, list(document), [list(document.values())])


@package.command("deploy")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--nodes", required=True, help="URLs of nodes, with commas between them.")
@click.option(
    "--quorum", type=int, help="How many must have it before any switches. [default: all]"
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default="./apinode",
    help="Where admin.key is, unless HOLDFAST_APINODE_KEY says the key.",
)
@click.pass_obj
def deploy(obj: Cli, file: Path, nodes: str, quorum: int | None, data: Path) -> None:
    """Upload FILE to all nodes, load and test it there, then activate it (D4)."""
    from holdfast.serving.packages.opening import Limits, open_package

    opened = open_package(file, Limits(), ())
    urls = [url.strip() for url in nodes.split(",") if url.strip()]
    wanted = len(urls) if quorum is None else quorum
    if not 1 <= wanted <= len(urls):
        raise ConfigError(f"--quorum is between 1 and {len(urls)}.")
    service, generation = opened.manifest.service.id, opened.manifest.generation
    reports = asyncio.run(_deploy(file, urls, service, generation, wanted, admin_key(data)))
    columns = ["node", "state", "detail"]
    document = {"service": service, "generation": generation, "nodes": reports}
    obj.show(document, columns, [[one[column] for column in columns] for one in reports])
    active = sum(one["state"] == "active" for one in reports)
    if active < wanted:
        raise UnavailableError(f"{active} of {len(urls)} nodes serve it; wanted were {wanted}.")


async def _deploy(
    file: Path, urls: list[str], service: str, generation: str, quorum: int, key: str
) -> list[dict[str, str]]:
    """First everyone loads it; only if enough could does anyone switch."""

    async def prepare(url: str) -> dict[str, str]:
        try:
            async with NodeApi(url, key) as api:
                await api.upload(service, file)
                await api.call("POST", f"services/{service}/generations/{generation}/preload")
        except HoldfastError as error:
            return {"node": url, "state": "failed", "detail": error.message}
        return {"node": url, "state": "loaded", "detail": ""}

    async def activate(report: dict[str, str]) -> dict[str, str]:
        if report["state"] != "loaded":
            return report
        try:
            async with NodeApi(report["node"], key) as api:
                await api.call("POST", f"services/{service}/actions/switchTo/{generation}")
        except HoldfastError as error:
            return {**report, "state": "failed", "detail": error.message}
        return {**report, "state": "active"}

    reports = await asyncio.gather(*[prepare(url) for url in urls])
    if sum(one["state"] == "loaded" for one in reports) < quorum:
        return reports
    return list(await asyncio.gather(*[activate(report) for report in reports]))


def admin_key(data: Path) -> str:
    """The admin key: HOLDFAST_APINODE_KEY, or that of a data directory; ``ConfigError``."""
    from holdfast.serving.front.keys import KEY_FILE

    told = os.environ.get("HOLDFAST_APINODE_KEY")
    path = data / KEY_FILE
    if told:
        return told
    if not path.is_file():
        raise ConfigError(f"Set HOLDFAST_APINODE_KEY, or say --data: there is no {path}.")
    return path.read_text().strip()


class NodeApi:
    """The admin API of one node; errors are ``ConflictError`` or ``UnavailableError``."""

    def __init__(self, url: str, key: str) -> None:
        self._url = url.rstrip("/")
        self._key = key
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> NodeApi:
        import aiohttp

        basic = base64.b64encode(f"{self._key}:".encode()).decode()
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Basic {basic}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=600),
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def upload(self, service: str, file: Path) -> None:
        """Create the service if it is not there, and send the package."""
        services = (await self.call("GET", "services"))["services"]
        if all(one["serviceId"] != service for one in services):
            await self.call("POST", "services/", body=b'{"serviceId":"%b"}' % service.encode())
        with file.open("rb") as opened:
            digest = await asyncio.to_thread(hashlib.file_digest, opened, "sha256")
        path = f"services/{service}/generations/actions/upload?sha256={digest.hexdigest()}"
        await self.call("POST", path, body=_chunks(file))

    async def call(
        self, method: str, path: str, body: bytes | AsyncIterator[bytes] | None = None
    ) -> dict[str, Any]:
        """One call, its answer as JSON."""
        import aiohttp

        if self._session is None:
            raise UnavailableError("The session is not open.")
        try:
            async with self._session.request(
                method, f"{self._url}/admin/api/{path}", data=body
            ) as response:
                document: dict[str, Any] = await response.json(content_type=None)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise UnavailableError(f"{self._url} does not answer: {error}.") from None
        if response.status >= 400:
            told = str(document.get("message", response.status))
            raise ConflictError(f"{self._url}: {told}")
        return document


async def _chunks(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as opened:
        while chunk := await asyncio.to_thread(opened.read, 1 << 20):
            yield chunk
