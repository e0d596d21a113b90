"""The broker as operators see it: its setting, its metrics, the status, the doctor (X4, X11)."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import MagicMock
from uuid import uuid4

import pytest

from holdfast.core.status import status_document
from holdfast.errors import ConfigError
from holdfast.ops import config
from holdfast.ops.broker import BrokerMetrics, broker_document
from holdfast.ops.doctor import Level, broker
from holdfast.ops.metrics import page, registry
from holdfast.sim.memstore import MemStore
from holdfast.store.broker.broker import Broker
from holdfast.store.model import QueuedJob

URL = "amqp://holdfast:calvin@127.0.0.1:1/v"
HINTS: Any = MagicMock()


def load(tmp_path: Path, text: str) -> config.Loaded:
    file = tmp_path / "holdfast.toml"
    file.write_text(text)
    return config.load(file, {})


@pytest.mark.parametrize(
    "text",
    [
        f'[broker]\nurl = "{URL}"',
        f'broker_url = "{URL}"',
        f'[DEFAULT]\ntransport_url = "{URL}"',
    ],
)
def test_the_broker_is_named_by_our_setting_or_by_those_of_others_x4(tmp_path: Path, text: str):
    assert load(tmp_path, text).settings.broker.url == URL


@pytest.mark.parametrize("url", ["http://u:calvin@b", "amqp://u:calvin@b:x", "amqp://u:calvin@"])
def test_a_url_that_is_none_is_a_fault_and_is_not_quoted(tmp_path: Path, url: str):
    with pytest.raises(ConfigError, match=r"broker\.url") as caught:
        load(tmp_path, f'[broker]\nurl = "{url}"')
    assert "calvin" not in str(caught.value)


def test_the_setting_is_never_shown():
    assert config.hidden(("broker", "url"))


def test_the_connection_and_the_hints_are_in_the_metrics_x11():
    shown = registry("engine")
    shown.register(BrokerMetrics(Broker(URL, HINTS)))
    text = page(shown).decode()
    assert "holdfast_broker_connected 0.0" in text
    assert 'holdfast_broker_hints_total{outcome="sent"} 0.0' in text
    assert 'holdfast_broker_hints_total{outcome="dropped"} 0.0' in text
    assert "calvin" not in text


async def test_the_status_shows_it_beside_depth_and_age_of_the_queues_x11():
    now = 0.0
    store = MemStore(lambda: now, {})
    await store.enqueue([QueuedJob(id=uuid4(), kind="k", queue="work")])
    now = 7.0
    away = Broker(URL, HINTS)
    document = await status_document(store, broker_document(away))
    assert document["queues"] == [
        {
            "queue": "work",
            "blocked": 0,
            "queued": 1,
            "running": 0,
            "waiting": 0,
            "oldest_s": 7.0,
        }
    ]
    assert document["broker"] == {
        "connected": False,
        "address": "127.0.0.1:1/v",
        "since": away.state.since,
    }
    assert any("nothing is lost" in warning for warning in document["warnings"])
    document = await status_document(store, broker_document(None))
    assert document["broker"] is None
    assert not any("broker" in warning for warning in document["warnings"])


async def test_the_doctor_asks_it_and_never_fails_for_it():
    assert await broker.examine("") == []
    [finding] = await broker.examine(URL)
    assert finding.level is Level.WARN
    assert "127.0.0.1:1/v" in finding.found
    assert "calvin" not in f"{finding}"
