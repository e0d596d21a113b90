"""Connections to strangers: TLS, what it costs, and where none goes (security.md)."""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.bmc.fakes import command
from tests.bmc.mockbmc import PASSWORD, USER, MockBmc

from holdfast.bmc.errors import BmcRefusedError, BmcUnreachableError
from holdfast.bmc.outbound import is_within
from holdfast.bmc.redfish import Redfish
from holdfast.bmc.settings import LINK_LOCAL_NETWORKS, PRIVATE_NETWORKS, BmcSettings, networks

SECRETS = {"username": USER, "password": PASSWORD}


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "mock BMC")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "bmc.pem"
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


async def test_tls_is_verified_by_the_given_ca_and_handshaken_once(certificate):
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate)
    made: list[tuple[str, bool]] = []
    settings = BmcSettings(allow_loopback=True, ca_folders=(str(certificate.parent),))
    driver = Redfish(settings, lambda scheme, new: made.append((scheme, new)))
    async with MockBmc(tls) as bmc:
        for _ in range(3):
            sent = command(address=bmc.url, verify_ca=str(certificate))
            assert (await driver.execute(sent, SECRETS))["power_state"] == "power off"
        assert made.count(("https", True)) == 1
        with pytest.raises(BmcUnreachableError, match="certificate is not trusted"):
            await driver.execute(command(address=bmc.url), SECRETS)
        sent = command(address=bmc.url, verify_ca=False)
        assert (await driver.execute(sent, SECRETS))["power_state"] == "power off"
        await driver.close()


async def test_what_speaks_no_tls_is_unreachable_by_https():
    driver = Redfish(BmcSettings(allow_loopback=True), lambda *_: None)
    async with MockBmc() as bmc:
        sent = command(address=bmc.url.replace("http:", "https:"))
        with pytest.raises(BmcUnreachableError, match="TLS"):
            await driver.execute(sent, SECRETS)
        await driver.close()


@pytest.mark.parametrize(
    ("address", "private", "link_local"),
    [
        ("127.0.0.1", True, False),
        ("10.1.2.3", True, False),
        ("172.32.0.1", False, False),
        ("fd00::1", True, False),
        ("::ffff:10.0.0.1", True, False),
        ("::ffff:169.254.169.254", False, True),
        ("169.254.169.254", False, True),
        ("fe80::1%eth0", False, True),
        ("8.8.8.8", False, False),
    ],
)
def test_networks_hold_what_they_should(address, private, link_local):
    assert is_within(address, networks(PRIVATE_NETWORKS)) is private
    assert is_within(address, networks(LINK_LOCAL_NETWORKS)) is link_local


@pytest.fixture
async def bmc() -> AsyncIterator[MockBmc]:
    async with MockBmc() as running:
        yield running


async def test_a_network_that_is_denied_is_refused_for_good_by_address_and_by_name(bmc: MockBmc):
    settings = BmcSettings(allow_loopback=True, denied_networks=("127.0.0.0/8", "::1/128"))
    driver = Redfish(settings, lambda *_: None)
    for host in ("127.0.0.1", "localhost"):
        address = bmc.url.replace("127.0.0.1", host)
        with pytest.raises(BmcRefusedError, match="denied_networks") as refused:
            await driver.execute(command(address=address), SECRETS)
        assert not refused.value.transient
    await driver.close()
    assert bmc.journal == []


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.1.2.3", "localhost", "0.0.0.0", "[::ffff:127.0.0.1]"]
)
async def test_what_listens_on_the_gateways_own_host_is_not_reached_unless_that_is_allowed(
    bmc: MockBmc, host: str
):
    driver = Redfish(BmcSettings(), lambda *_: None)
    with pytest.raises(BmcRefusedError, match="allow_loopback"):
        await driver.execute(command(address=bmc.url.replace("127.0.0.1", host)), SECRETS)
    await driver.close()
    assert bmc.journal == []
