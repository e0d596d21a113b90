"""What the processes of a host are given, and what is kept from them."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest

from holdfast.ops.config import Entry, Loaded, Settings
from holdfast.ops.datadir import DataDir
from holdfast.ops.house import build
from holdfast.ops.settings import DatabaseSettings
from holdfast.store.embedded import EmbeddedPostgres

URL = "postgresql://holdfast:secret@db/holdfast"


async def test_the_gateway_is_told_neither_the_database_nor_the_master_key(tmp_path: Path):
    loaded = Loaded(settings=Settings(database=DatabaseSettings(url=URL)), file=None, entries={})
    environ = {"HOLDFAST_DATABASE__URL": URL, "HOLDFAST_MASTER_KEY": "ab" * 32, "LANG": "C"}
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        house = await build(loaded, DataDir(tmp_path / "data").prepare(), [sock], environ)
    for spec in house.specs:
        env = (await spec.launch()).env
        assert env["LANG"] == "C"
        known = {name for name in ("HOLDFAST_DATABASE__URL", "HOLDFAST_MASTER_KEY") if name in env}
        assert len(known) == (0 if spec.role == "rack" else 2), spec.slot
        assert any("secret" in value for value in env.values()) == (spec.role != "rack")
    assert "rack" in {spec.role for spec in house.specs}


@pytest.mark.parametrize(
    ("url", "host", "entries", "allowed"),
    [
        ("", "127.0.0.1", {}, "true"),
        ("", "0.0.0.0", {}, None),
        (URL, "127.0.0.1", {}, None),
        ("", "127.0.0.1", {("bmc", "allow_loopback"): Entry(value=False, source="")}, None),
    ],
)
async def test_bmcs_on_the_own_host_are_for_whoever_is_there_alone(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    host: str,
    entries: dict[tuple[str, ...], Entry],
    allowed: str | None,
):
    """The simulated fleet of ``up`` is on loopback; of a host that others use, nothing is."""
    embedded = SimpleNamespace(dsn=URL)
    monkeypatch.setattr(EmbeddedPostgres, "prepare", lambda _root: embedded)
    settings = Settings(database=DatabaseSettings(url=url))
    loaded = Loaded(settings=settings, file=None, entries=entries)
    with socket.socket() as sock:
        sock.bind((host, 0))
        house = await build(loaded, DataDir(tmp_path / "data").prepare(), [sock], {})
    (rack,) = (spec for spec in house.specs if spec.role == "rack")
    assert (await rack.launch()).env.get("HOLDFAST_BMC__ALLOW_LOOPBACK") == allowed
