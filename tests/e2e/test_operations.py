"""Looking after a running system: the doctor examines it, its keys change under it."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.e2e.running import Running

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def system() -> Iterator[Running]:
    running = Running()
    running.start()
    yield running
    running.close()
    shutil.rmtree(running.folder, ignore_errors=True)


@pytest.fixture
async def up(system: Running) -> Running:
    await system.until("Ctrl-C drains and stops")
    return system


class Client:
    """Speaks to the APIs with one token, which is never renewed."""

    def __init__(self, up: Running) -> None:
        clouds = yaml.safe_load((up.folder / "data" / "clouds.yaml").read_text())
        auth = clouds["clouds"]["holdfast"]["auth"]
        self._root = auth["auth_url"].removesuffix("/identity/v3")
        domain = {"id": "default"}
        user = {"name": auth["username"], "password": auth["password"], "domain": domain}
        identity = {"methods": ["password"], "password": {"user": user}}
        scope = {"project": {"name": auth["project_name"], "domain": domain}}
        self._token = ""
        answer = self._send("POST", "/identity/v3/auth/tokens", {
            "auth": {"identity": identity, "scope": scope}
        })  # fmt: skip
        self._token = str(answer.headers["X-Subject-Token"])

    def _send(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"Content-Type": "application/json", "X-Auth-Token": self._token}
        headers["X-OpenStack-Ironic-API-Version"] = "1.82"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._root + path, data, headers, method=method)
        return urllib.request.urlopen(request, timeout=10)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        with self._send(method, path, body) as answer:
            return json.loads(answer.read())


async def test_the_doctor_examines_a_running_system(up: Running):
    findings = {f["check"]: f for f in up.ask("doctor")["findings"]}
    failed = [finding for finding in findings.values() if finding["level"] == "fail"]
    assert failed == []
    assert findings["gateway"]["level"] == "ok"
    assert findings["epochs"]["level"] == "ok"
    assert "I7" in findings["conductors"]["found"]
    assert "HA" in findings["replication"]["found"] or "alone" in findings["replication"]["found"]
    api = up.environ["HOLDFAST_API__PORT"]
    assert findings[f"port {api}"]["found"] == "the API answers"


async def test_the_doctors_status_says_whether_something_fails(up: Running):
    secret = up.folder / "data" / "gateway.secret"
    secret.chmod(0o644)
    done = up.run("doctor")
    secret.chmod(0o600)
    assert done.returncode == 1
    assert f"chmod 600 {secret}" in done.stdout
    assert up.run("doctor").returncode == 0


async def test_the_master_key_changes_under_a_running_system(up: Running):
    client = Client(up)
    info = {"redfish_address": "http://127.0.0.1:1", "redfish_password": "calvin"}
    node = client.call("POST", "/baremetal/v1/nodes", {"driver": "redfish", "driver_info": info})
    before = up.ask("keys", "list")["keys"]
    assert [(key["state"], key["secrets"]) for key in before] == [("seals", 2)]

    done = up.ask("keys", "rotate")

    assert done["retired"] == [before[0]["id"]]
    assert (done["secrets_moved"], done["secrets_unreadable"]) == (2, 0)
    [after] = up.ask("keys", "list")["keys"]
    assert (after["id"], after["secrets"]) == (done["current"], 2)
    assert len(after["known_by"]) == 6
    # Tokens given before it are good, and what is sealed now opens: the masked secret stays.
    path = f"/baremetal/v1/nodes/{node['uuid']}"
    change = [{"op": "add", "path": "/driver_info/redfish_username", "value": "root"}]
    changed = client.call("PATCH", path, change)
    assert changed["driver_info"]["redfish_password"] == "******"
    assert up.run("doctor").returncode == 0


async def test_epochs_can_jump_under_a_running_system(up: Running):
    done = up.ask("doctor", "--fix", "epochs")
    assert done["last"] > 0
    await up.until_true(
        lambda: all(ring["unowned_shards"] == 0 for ring in up.ask("ring")["rings"]),
        "every shard has an owner",
    )
    assert up.run("doctor").returncode == 0
