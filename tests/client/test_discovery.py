"""The list of instances: given, by DNS, or by the nodes themselves (D10, D11)."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.client.servers import Server, answer
from tests.serving.nodes import KEY, QUICK, NodeProcess, adder

from holdfast.client import (
    ApiNodes,
    AsyncApiNodes,
    DeadlineError,
    DnsName,
    NodeList,
    Settings,
    StaticList,
)
from holdfast.client.discovery import source_of
from holdfast.errors import InvalidInputError

OFTEN = Settings(probe_s=0.0, refresh_s=0.05)


def resolving(monkeypatch: pytest.MonkeyPatch, name: str, ips: list[str]) -> None:
    """``name`` has these addresses; the list may change."""
    real: Callable[..., Any] = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *more: Any, **told: Any) -> Any:
        if host != name:
            return real(host, port, *more, **told)
        if not ips:
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, int(port))) for ip in ips]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_url_or_several_are_a_list():
    assert [str(one) for one in source_of("http://a:1").known()] == ["http://a:1"]
    assert len(source_of(["http://a:1", "https://b"]).known()) == 2
    with pytest.raises(InvalidInputError):
        StaticList([])
    with pytest.raises(InvalidInputError):
        ApiNodes([], "s")


async def test_each_address_of_a_name_is_an_instance(monkeypatch: pytest.MonkeyPatch):
    ips = ["192.0.2.1", "192.0.2.2", "192.0.2.1"]
    resolving(monkeypatch, "nodes.test", ips)
    source = DnsName("http://nodes.test:12000/base")
    assert source.known() == []
    found = await source.find(None)
    assert [(one.ip, one.authority, one.prefix) for one in found] == [
        ("192.0.2.1", "nodes.test:12000", "/base"),
        ("192.0.2.2", "nodes.test:12000", "/base"),
    ]
    ips.clear()
    assert await source.find(None) == []


@pytest.mark.parametrize("kind", ["threads", "loop"])
def test_a_name_is_asked_before_the_first_query_and_again(
    kind: str, servers: list[Server], monkeypatch: pytest.MonkeyPatch
):
    ips = ["127.0.0.1"]
    resolving(monkeypatch, "nodes.test", ips)
    source = DnsName(f"http://nodes.test:{servers[0].port}")
    if kind == "threads":
        with ApiNodes(source, "s", settings=OFTEN) as client:
            assert client.run_function("f")["response"] == "a"
            ips[:] = ["127.0.0.1", "127.0.0.2"]
            while len(client.instances()) < 2:
                client.run_function("f")
            ips.clear()  # the name server is gone: what is known stays
            assert client.run_function("f")["response"] == "a"
            assert len(client.instances()) == 2
    else:

        async def run() -> None:
            async with AsyncApiNodes(source, "s", settings=OFTEN) as client:
                answered = await client.run_function("f")
                assert answered["response"] == "a"

        asyncio.run(run())
    assert servers[0].asked[0].headers["host"] == f"nodes.test:{servers[0].port}"


def test_a_name_that_has_no_address_is_said_by_the_deadline(monkeypatch: pytest.MonkeyPatch):
    resolving(monkeypatch, "nodes.test", [])
    told = Settings(deadline_s=0.2)
    with (
        ApiNodes(DnsName("http://nodes.test"), "s", settings=told) as client,
        pytest.raises(DeadlineError, match="no address"),
    ):
        client.run_function("f")


def test_nodes_tell_of_nodes(servers: list[Server]):
    """One seed is enough; those that come are used, those that leave are not."""
    first, second, third = servers
    listed = [first.url, second.url]
    for one in servers:
        one.get = lambda query: answer({"nodes": listed}, 200 if query.path == "/nodes" else 404)
    with ApiNodes(NodeList([first.url]), "s", settings=OFTEN) as client:
        while {one["node"] for one in client.instances()} != {first.url, second.url}:
            client.run_function("f")
        listed[:] = [second.url, third.url]
        first.stop()  # the seed itself may go: the others are asked
        while {one["node"] for one in client.instances()} != {second.url, third.url}:
            client.run_function("f")
        assert {client.run_function("f")["response"] for _ in range(20)} <= {"b", "c"}


@pytest.mark.parametrize(
    "document",
    [{}, [], {"nodes": []}, {"nodes": "x"}, {"nodes": [1]}, {"nodes": ["ftp://x"]}, None],
)
async def test_a_list_that_is_none_changes_nothing(servers: list[Server], document: Any):
    servers[0].get = lambda _: answer(document)
    assert await NodeList([servers[0].url]).find(None) == []


def test_a_real_node_tells_what_it_was_told(tmp_path: Path):
    """``nodes.txt`` in the data directory of any node."""
    nodes = [NodeProcess(tmp_path / f"n{n}", QUICK).start() for n in range(2)]
    try:
        for one in nodes:
            one.put(adder(tmp_path, "v1"))
        (nodes[0].data / "nodes.txt").write_text("".join(f"{one.url}\n" for one in nodes))
        with ApiNodes(NodeList([nodes[0].url]), "sums", KEY, settings=OFTEN) as client:
            while len(client.instances()) < 2:
                client.run_function("add", a=1)
            assert client.run_function("add", a=1)["response"] == 2
    finally:
        for one in nodes:
            one.stop()


# ---- TLS --------------------------------------------------------------------------------------


def certificate(folder: Path, name: str) -> Path:
    """A key and its own certificate for a name, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.mark.parametrize("kind", ["threads", "loop"])
def test_tls_checks_the_name_and_not_the_address(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    resolving(monkeypatch, "nodes.test", ["127.0.0.1"])
    file = certificate(tmp_path, "nodes.test")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(file)
    trusting = ssl.create_default_context(cafile=str(file))
    server = Server("a", serving)
    told = Settings(probe_s=0.0, deadline_s=5.0)
    try:
        source = DnsName(f"https://nodes.test:{server.port}")
        if kind == "threads":
            with ApiNodes(source, "s", settings=told, tls=trusting) as client:
                assert {client.run_function("f")["response"] for _ in range(5)} == {"a"}
            with (
                ApiNodes(server.url, "s", settings=told, tls=trusting) as client,
                pytest.raises(Exception, match="IP address mismatch"),
            ):
                client.run_function("f")
        else:

            async def run() -> None:
                async with AsyncApiNodes(source, "s", settings=told, tls=trusting) as client:
                    answers = [await client.run_function("f") for _ in range(5)]
                    assert {one["response"] for one in answers} == {"a"}

            asyncio.run(run())
        assert server.connections <= 2
    finally:
        server.end()
