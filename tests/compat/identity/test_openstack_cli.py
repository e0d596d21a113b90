"""People, projects, roles and application credentials with the unmodified ``openstack`` CLI.

And that the event log says who did all that.
"""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from tests.compat.clients import Client
from tests.compat.programs import clean_environ, until
from tests.compat.system import HOLDFAST, System

pytestmark = pytest.mark.compat

PASSWORD = "ann's password"


def cloud(folder: Path, system: System, name: str, auth_type: str, **auth: str) -> Client:
    """A client of another user, with a clouds.yaml of its own."""
    url = f"{system.url}/identity/v3"
    entry = {"auth_type": auth_type, "region_name": "RegionOne", "auth": {"auth_url": url, **auth}}
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({"clouds": {name: entry}}))
    return Client(path, name)


def as_ann(folder: Path, system: System, password: str) -> Client:
    who = {"username": "ann", "password": password, "user_domain_id": "default"}
    where = {"project_name": "blue", "project_domain_id": "default"}
    return cloud(folder, system, f"ann-{len(password)}", "v3password", **who, **where)


@pytest.fixture(scope="module")
def client(system: System) -> Client:
    return Client(system.clouds)


@pytest.fixture(scope="module")
def ann(client: Client, system: System, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """A member of the project blue."""
    client.done("project", "create", "--tag", "a", "--description", "d", "blue")
    client.done("user", "create", "--password", PASSWORD, "--email", "ann@example.org", "ann")
    client.done("role", "add", "--user", "ann", "--project", "blue", "member")
    return as_ann(tmp_path_factory.mktemp("ann"), system, PASSWORD)


@pytest.fixture(scope="module")
def robot(ann: Client, system: System, tmp_path_factory: pytest.TempPathFactory) -> Client:
    """Ann's application credential, for reading only."""
    made = ann.json("application", "credential", "create", "--role", "reader", "robot")
    proof = {
        "application_credential_id": made["ID"],
        "application_credential_secret": made["Secret"],
    }
    folder = tmp_path_factory.mktemp("robot")
    return cloud(folder, system, "robot", "v3applicationcredential", **proof)


def test_users_projects_and_assignments_are_shown_as_made(client: Client, ann: Client):
    assert client.json("user", "show", "ann")["email"] == "ann@example.org"
    assert client.json("project", "show", "blue")["tags"] == ["a"]
    assert [user["Name"] for user in client.json("user", "list", "--project", "blue")] == ["ann"]
    rows = client.json("role", "assignment", "list", "--names", "--user", "ann")
    assert [(row["Role"], row["Project"]) for row in rows] == [("member", "blue@Default")]


def test_the_catalog_says_where_the_services_are(client: Client, ann: Client, system: System):
    listed = {row["Type"]: row for row in ann.json("catalog", "list")}
    assert {"baremetal", "identity"} <= set(listed)
    shown = ann.json("catalog", "show", "baremetal")
    assert system.baremetal_url in str(shown["endpoints"])
    services = {row["Type"]: row["ID"] for row in client.json("service", "list")}
    assert {"baremetal", "identity"} <= set(services)
    urls = {row["URL"] for row in client.json("endpoint", "list", "--service", "baremetal")}
    assert urls == {system.baremetal_url}
    assert client.json("service", "show", "baremetal")["id"] == services["baremetal"]
    (public,) = client.json("endpoint", "list", "--service", "baremetal", "--interface", "public")
    assert client.json("endpoint", "show", public["ID"])["url"] == system.baremetal_url
    assert [row["Region"] for row in client.json("region", "list")] == ["RegionOne"]
    assert client.json("region", "show", "RegionOne")["region"] == "RegionOne"


def status_of(system: System, token: str) -> int:
    """How Bare Metal answers somebody with this token."""
    headers = {"X-Auth-Token": token}
    request = urllib.request.Request(f"{system.baremetal_url}/v1/nodes", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status
    except urllib.error.HTTPError as refusal:
        return refusal.code


def worthless(system: System, token: str) -> None:
    """A process that has just seen it believes in it for ``token_cache_s``, and no longer."""
    until(lambda: status_of(system, token) == 401, "the token is worth nothing", 10)


def test_a_revoked_token_is_soon_worth_nothing_everywhere(ann: Client, system: System):
    token = ann.json("token", "issue")["id"]
    assert status_of(system, token) == 200
    ann.done("token", "revoke", token)
    worthless(system, token)


def test_with_its_role_taken_a_token_is_worth_nothing(client: Client, ann: Client, system: System):
    token = ann.json("token", "issue")["id"]
    where = ["--user", "ann", "--project", "blue", "member"]
    client.done("role", "remove", *where)
    worthless(system, token)
    assert "no role in that project" in ann.refused("token", "issue")
    client.done("role", "add", *where)
    ann.done("token", "issue")


def test_projects_users_and_roles_are_changed_and_removed(client: Client):
    client.done("project", "create", "brief")
    client.done("user", "create", "--password", "bo's password", "--project", "brief", "bo")
    client.done("role", "add", "--user", "bo", "--system", "all", "reader")
    rows = client.json("role", "assignment", "list", "--names", "--user", "bo", "--system", "all")
    assert [(row["Role"], row["System"]) for row in rows] == [("reader", "all")]
    client.done("role", "remove", "--user", "bo", "--system", "all", "reader")
    assert client.json("role", "assignment", "list", "--user", "bo") == []
    client.done("user", "set", "--email", "bo@example.org", "--description", "d", "bo")
    assert client.json("user", "show", "bo")["email"] == "bo@example.org"
    client.done("project", "set", "--description", "changed", "--disable", "brief")
    shown = client.json("project", "show", "brief")
    assert (shown["description"], shown["enabled"]) == ("changed", False)
    assert {"admin", "member", "reader"} <= {row["Name"] for row in client.json("role", "list")}
    assert client.json("role", "show", "member")["name"] == "member"
    client.done("user", "delete", "bo")
    client.done("project", "delete", "brief")
    assert "No User found" in client.refused("user", "show", "bo")
    assert "No Project found" in client.refused("project", "show", "brief")


def test_a_disabled_project_lets_nobody_in(client: Client, ann: Client):
    client.done("project", "set", "--disable", "blue")
    assert "no role in that project" in ann.refused("token", "issue")
    client.done("project", "set", "--enable", "blue")
    ann.done("token", "issue")


def test_an_application_credential_is_listed_and_shown(ann: Client, robot: Client):
    (listed,) = ann.json("application", "credential", "list")
    assert listed["Name"] == "robot"
    assert "Secret" not in ann.json("application", "credential", "show", "robot")


def test_it_reads_and_does_no_more_than_its_role_lets_it(robot: Client):
    assert robot.json("baremetal", "node", "list") == []
    complaint = robot.refused("baremetal", "node", "create", "--driver", "redfish")
    assert "needs the role admin" in complaint
    complaint = robot.refused("application", "credential", "create", "another")
    assert "restricted application credential" in complaint


def test_what_it_cannot_be_is_refused_with_the_reason(ann: Client):
    rules = '[{"method": "GET", "path": "/v1/nodes", "service": "baremetal"}]'
    complaint = ann.refused("application", "credential", "create", "--access-rules", rules, "ruled")
    assert "access_rules are not supported" in complaint
    complaint = ann.refused("application", "credential", "create", "--role", "admin", "mighty")
    assert "what you lack" in complaint


def test_what_is_fixed_is_refused_with_the_reason(client: Client):
    assert "the roles are fixed" in client.refused("role", "create", "operator")
    assert "one domain" in client.refused("domain", "create", "other")


def test_passwords_are_changed_by_their_owner_and_by_administrators(
    client: Client, ann: Client, system: System, tmp_path: Path
):
    ann.done("user", "password", "set", "--original-password", PASSWORD, "--password", "new one!")
    assert "requires authentication" in ann.refused("token", "issue")
    as_ann(tmp_path, system, "new one!").done("token", "issue")
    client.done("user", "set", "--password", PASSWORD, "ann")
    ann.done("token", "issue")


def test_with_its_user_disabled_or_itself_deleted_it_proves_nothing(
    client: Client, ann: Client, robot: Client
):
    client.done("user", "set", "--disable", "ann")
    assert "requires authentication" in robot.refused("token", "issue")
    client.done("user", "set", "--enable", "ann")
    robot.done("token", "issue")
    ann.done("application", "credential", "delete", "robot")
    assert "requires authentication" in robot.refused("token", "issue")


def events(system: System, *words: str) -> list[dict[str, Any]]:
    """``holdfast events``."""
    done = subprocess.run(
        [*HOLDFAST, "events", "-o", "json", "--limit", "1000", *words],
        env={**clean_environ(), **system.environ, "OS_CLIENT_CONFIG_FILE": str(system.clouds)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return json.loads(done.stdout)["events"]


def test_the_log_says_who_did_all_that(robot: Client, system: System):
    told = events(system, "--kind", "audit.*")
    kinds = {event["kind"] for event in told}
    assert {
        "audit.project.create", "audit.user.create", "audit.user.update", "audit.role.grant",
        "audit.application_credential.create", "audit.application_credential.delete",
        "audit.login",
    } <= kinds  # fmt: skip
    by_ann = [event for event in told if (event["actor"] or {}).get("name") == "ann@blue"]
    assert "audit.application_credential.create" in {event["kind"] for event in by_ann}
    failed = [event for event in told if event["kind"] == "audit.login"]
    assert {event["result"] for event in failed} == {"failed"}
    assert PASSWORD not in json.dumps(told)
