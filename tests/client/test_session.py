"""A session of requests over several nodes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import requests
from tests.client.servers import Server, answer

from holdfast.client import DnsName, Settings, session
from holdfast.errors import ConfigError, InvalidInputError

UNPROBED = Settings(probe_s=0.0)
PATH = "/public/api/v1/s/e"


def test_any_nodes_url_stands_for_all(servers: list[Server]):
    """D11. What the client sends arrives as it sent it; also below a base that ends in a slash."""
    urls = [one.url for one in servers]
    with session(urls, settings=UNPROBED) as made:
        for one in servers[:2]:
            one.stop()
        for url in (*urls, urls[0] + "/"):
            told = made.post(f"{url}{PATH}/predict?x=1", data='{"a": 1}', auth=("key", ""))
            assert told.status_code == 200
            assert told.json() == {"response": "c"}
    asked = servers[2].asked
    assert {(one.path, one.body) for one in asked} == {(f"{PATH}/predict?x=1", b'{"a": 1}')}
    assert asked[0].headers["authorization"] == "Basic a2V5Og=="
    assert "holdfast-deadline-ms" in asked[0].headers
    assert "accept-encoding" not in asked[0].headers


def test_another_base_may_stand_for_them(servers: list[Server]):
    urls = [one.url for one in servers]
    with session(urls, base_uri="http://all-of-them/", settings=UNPROBED) as made:
        assert made.post(f"http://all-of-them{PATH}/run", data=b"{}").json()["response"] in "abc"
    with pytest.raises(ConfigError, match="base_uri"):
        session(DnsName("http://nodes.test"))


def test_an_error_is_the_clients_to_read(servers: list[Server]):
    for one in servers:
        one.reply = lambda _: answer({"errorType": "QueryError"}, 400, "X-Told: yes\r\n")
    with session([one.url for one in servers], settings=UNPROBED) as made:
        told = made.post(f"{servers[0].url}{PATH}/predict")
    assert (told.status_code, told.json(), told.headers["x-told"]) == (
        400,
        {"errorType": "QueryError"},
        "yes",
    )
    with pytest.raises(requests.HTTPError):
        told.raise_for_status()


def test_failures_are_those_of_requests(servers: list[Server]):
    with session([one.url for one in servers], settings=UNPROBED) as made:
        for one in servers:
            one.hold = True
        with pytest.raises(requests.ReadTimeout, match="deadline"):
            made.post(f"{servers[0].url}{PATH}/run", data=b"{}", timeout=(1.0, 0.2))
        for one in servers:
            one.stop()
        with pytest.raises(requests.ConnectionError, match="cannot be connected to"):
            made.post(f"{servers[0].url}{PATH}/run", data=b"{}")


def test_the_admin_api_is_not_spread_over_nodes(servers: list[Server]):
    """A service created on whichever node is least busy would be a mess."""
    with (
        session([one.url for one in servers], settings=UNPROBED) as made,
        pytest.raises(requests.exceptions.InvalidURL, match="each node's own"),
    ):
        made.post(f"{servers[0].url}/admin/api/services/", data=json.dumps({"serviceId": "s"}))
    assert not any(one.asked for one in servers)


def test_a_body_that_can_be_read_once_is_refused(servers: list[Server], tmp_path: Path):
    (tmp_path / "body").write_bytes(b"{}")
    with (
        session([one.url for one in servers], settings=UNPROBED) as made,
        (tmp_path / "body").open("rb") as body,
        pytest.raises(requests.exceptions.InvalidSchema, match="sent twice"),
    ):
        made.post(f"{servers[0].url}{PATH}/run", data=body)


def test_whom_to_trust_is_said_once(servers: list[Server]):
    with session([one.url for one in servers], settings=UNPROBED) as made:
        made.post(f"{servers[0].url}{PATH}/run", data=b"{}", verify=False)
        with pytest.raises(InvalidInputError, match="of the session"):
            made.post(f"{servers[0].url}{PATH}/run", data=b"{}", verify=True)
