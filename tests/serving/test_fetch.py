"""Pulling a package by URL: only what was named, only from where that is allowed."""

from __future__ import annotations

import hashlib
from ipaddress import ip_network
from pathlib import Path

import pytest
from aiohttp import web

from holdfast.serving.errors import FetchError
from holdfast.serving.packages.fetch import FetchSettings, check_address, fetch

DATA = b"a package" * 1000
DIGEST = hashlib.sha256(DATA).hexdigest()
LOCAL = FetchSettings(schemes=("http",), private_networks=["127.0.0.0/8"], timeout_s=5)


@pytest.fixture
async def base():
    """A web server with a file, redirects to it and elsewhere, and one that never ends."""

    async def file(request: web.Request) -> web.Response:
        assert "Authorization" not in request.headers
        return web.Response(body=DATA)

    async def to(request: web.Request) -> web.Response:
        raise web.HTTPFound(request.query["url"])

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(bytes(1 << 16))

    app = web.Application()
    app.router.add_get("/file", file)
    app.router.add_get("/to", to)
    app.router.add_get("/endless", endless)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port: int = runner.addresses[0][1]
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


async def test_what_has_the_digest_is_written(base: str, tmp_path: Path):
    await fetch(f"{base}/file", DIGEST, tmp_path / "out", LOCAL)
    assert (tmp_path / "out").read_bytes() == DATA
    await fetch(f"{base}/to?url=/file", DIGEST, tmp_path / "out", LOCAL)


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/to?url=file:///etc/passwd", "only http"),
        ("/to?url=http://169.254.169.254/latest", "private address"),
        ("/to?url=http://[::ffff:10.0.0.1]/", "private address"),
        ("/to?url=/to?url=/to", "cannot be fetched|redirects|status"),
        ("/endless", "More than"),
        ("/nothing", "status 404"),
    ],
)
async def test_what_leads_elsewhere_or_never_ends_is_refused(
    base: str, tmp_path: Path, path: str, told: str
):
    settings = FetchSettings(
        schemes=("http",), private_networks=["127.0.0.0/8"], timeout_s=5, bytes_max=1 << 20
    )
    with pytest.raises(FetchError, match=told):
        await fetch(base + path, DIGEST, tmp_path / "out", settings)


async def test_another_digest_is_refused(base: str, tmp_path: Path):
    with pytest.raises(FetchError, match="digest"):
        await fetch(f"{base}/file", "0" * 64, tmp_path / "out", LOCAL)


async def test_loopback_is_private_unless_it_is_listed(base: str, tmp_path: Path):
    with pytest.raises(FetchError, match="private address"):
        await fetch(f"{base}/file", DIGEST, tmp_path / "out", FetchSettings(schemes=("http",)))
    with pytest.raises(FetchError, match="only https"):
        await fetch(f"{base}/file", DIGEST, tmp_path / "out", FetchSettings())


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "::1", "fe80::1%eth0", "::ffff:127.0.0.1", "0.0.0.0", "224.0.0.1"]
)
def test_addresses_that_are_not_public_are_refused(address: str):
    with pytest.raises(PermissionError):
        check_address(address, [])
    check_address("10.0.0.1", [ip_network("10.0.0.0/24")])
    check_address("8.8.8.8", [])
