"""Logs are one JSON object a line, and hold no secret."""

from __future__ import annotations

import json
import logging

import pytest
import structlog

from holdfast.ops import logs
from holdfast.ops.settings import LogSettings


@pytest.fixture(autouse=True)
def _restored():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(captured: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in captured.splitlines()]


def test_a_line_says_when_how_bad_and_who(capsys: pytest.CaptureFixture[str]):
    logs.configure(LogSettings(format="json"), role="conductor", slot="conductor-1")
    structlog.get_logger().info("member.registered", epoch=7)
    [line] = lines(capsys.readouterr().err)
    assert line["event"] == "member.registered"
    assert (line["level"], line["slot"], line["epoch"]) == ("info", "conductor-1", 7)
    assert str(line["timestamp"]).endswith("Z")


@pytest.mark.parametrize(
    "key",
    ["password", "redfish_password", "admin_token", "X-Auth-Token", "Authorization", "master_key"],
)
def test_no_secret_is_logged(key: str, capsys: pytest.CaptureFixture[str]):
    logs.configure(LogSettings(format="json"))
    structlog.get_logger().warning("x", driver_info={key: "hunter2"}, **{key: "hunter2"})
    assert "hunter2" not in capsys.readouterr().err


def test_credentials_in_urls_are_hidden(capsys: pytest.CaptureFixture[str]):
    logs.configure(LogSettings(format="json"))
    structlog.get_logger().info("x", dsn="cannot reach postgresql://admin:hunter2@db:5432/x")
    [line] = lines(capsys.readouterr().err)
    assert line["dsn"] == "cannot reach postgresql://(hidden)@db:5432/x"


def test_what_libraries_log_comes_the_same_way(capsys: pytest.CaptureFixture[str]):
    logs.configure(LogSettings(format="json"), slot="api-1")
    logging.getLogger("aiohttp").warning("cannot reach %s", "http://u:hunter2@h/")
    logging.getLogger("aiohttp").info("chatter")
    [line] = lines(capsys.readouterr().err)
    assert line["event"] == "cannot reach http://(hidden)@h/"
    assert (line["logger"], line["slot"]) == ("aiohttp", "api-1")


def test_levels_below_the_configured_one_are_left_out(capsys: pytest.CaptureFixture[str]):
    logs.configure(LogSettings(format="json", level="warning"))
    structlog.get_logger().info("quiet")
    assert capsys.readouterr().err == ""
