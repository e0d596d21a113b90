"""The whole life of stacks with the unmodified CLI."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.compat.clients import Client, whole_suite
from tests.compat.programs import until
from tests.compat.stacks import templates

pytestmark = pytest.mark.compat

QUICK = ("--wait", "--poll", "1")


@pytest.fixture(scope="module")
def at(folder: Path) -> Path:
    """Where the templates are."""
    place = folder / "templates"
    place.mkdir()
    templates.write(place)
    return place


@pytest.fixture(scope="module")
def app(client: Client, at: Path) -> Generator[str]:
    """A stack with nested ones, made and taken away by the CLI."""
    told = client.done(
        *("stack", "create", "-t", str(at / "app.yaml"), "-e", str(at / "env.yaml")),
        *("--tags", "blue,green", *QUICK, "app"),
    )
    assert "Stack CREATE completed successfully" in told
    yield "app"
    client.done("stack", "delete", "--yes", "--wait", "app")
    assert "app" not in [one["Stack Name"] for one in client.json("stack", "list")]
    gone = client.json("stack", "list", "--deleted")
    assert "DELETE_COMPLETE" in [one["Stack Status"] for one in gone if one["Stack Name"] == "app"]


def outputs(client: Client, name: str) -> dict[str, Any]:
    shown = client.json("stack", "output", "show", "--all", name)
    found: dict[str, Any] = {}
    for key, text in shown.items():
        one: dict[str, Any] = json.loads(text) if isinstance(text, str) else text
        found[key] = one["output_value"]
    return found


def test_a_stack_shows_what_it_is(client: Client, app: str):
    shown = client.json("stack", "show", app)
    assert shown["stack_status"] == "CREATE_COMPLETE"
    assert shown["description"] == "an application without a cloud"
    assert shown["tags"] == ["blue", "green"]
    assert shown["parameters"]["size"] == "3"
    assert shown["parameters"]["password"] == "******"
    found = outputs(client, app)
    assert found["members"] == [f"I am of {found['name']}"] * 3
    assert [one["Stack Name"] for one in client.json("stack", "list", "--tags", "blue")] == [app]
    assert client.json("stack", "list", "--tags", "red") == []
    nested = client.json("stack", "list", "--nested")
    assert {one["Parent"] for one in nested} > {None}
    assert "an application without a cloud" in client.done("stack", "template", "show", app)
    assert "swordfish" not in client.done("stack", "environment", "show", app)
    assert "I am of" in client.done("stack", "file", "list", app)


def test_resources_are_shown_at_every_depth(client: Client, app: str):
    flat = client.json("stack", "resource", "list", app)
    assert {one["resource_name"] for one in flat} == {"first", "name", "group"}
    deep = client.json("stack", "resource", "list", "-n", "5", app)
    assert [one["resource_name"] for one in deep].count("says") == 3
    one = client.json("stack", "resource", "show", app, "name")
    assert one["resource_status"] == "CREATE_COMPLETE"
    assert one["required_by"] == ["group"]
    assert one["attributes"]["value"]
    assert client.json("stack", "resource", "list", "--filter", "type=OS::Heat::None", app) == []
    assert client.json("stack", "resource", "metadata", app, "first") == {}


def test_history_is_listed_and_followed(client: Client, app: str):
    own = client.json("stack", "event", "list", app)
    statuses = [one["resource_status"] for one in own if one["resource_name"] == "app"]
    assert statuses[0] == "CREATE_IN_PROGRESS"
    assert "CREATE_COMPLETE" in statuses
    first = [one for one in own if one["resource_name"] == "first"]
    assert [one["resource_status"] for one in first][:2] == [
        "CREATE_IN_PROGRESS",
        "CREATE_COMPLETE",
    ]
    deep = client.done("stack", "event", "list", "--nested-depth", "5", app)
    assert "says" in deep
    one = client.json("stack", "event", "show", app, "first", first[0]["id"])
    assert one["resource_type"] == "OS::Heat::TestResource"


def test_a_stack_is_updated_checked_suspended_and_resumed(client: Client, app: str, at: Path):
    client.done("stack", "update", "--existing", "--parameter", "size=1", "--wait", app)
    assert len(outputs(client, app)["members"]) == 1
    dry = client.json("stack", "update", "--existing", "--dry-run", "--parameter", "size=2", app)
    assert {one["resource_name"] for one in dry["updated"]} >= {"group"}
    for action in ("check", "suspend", "resume"):
        client.done("stack", action, "--wait", app)
        state = client.json("stack", "show", app)["stack_status"]
        assert state == f"{action.upper()}_COMPLETE"
    client.done("stack", "resource", "mark", "unhealthy", app, "first", "it is tired")
    marked = client.json("stack", "resource", "show", app, "first")
    assert marked["resource_status"] == "CHECK_FAILED"
    before = marked["physical_resource_id"]
    client.done(
        *("stack", "update", "-t", str(at / "app.yaml"), "-e", str(at / "env.yaml")),
        *("--wait", app),
    )
    after = client.json("stack", "resource", "show", app, "first")
    assert after["physical_resource_id"] != before
    assert after["resource_status"].endswith("_COMPLETE")


@whole_suite
def test_an_update_is_cancelled_and_what_was_before_is_back(client: Client, at: Path):
    client.done("stack", "create", "-t", str(at / "slow.yaml"), *QUICK, "slow")
    update = ("stack", "update", "--existing", "--parameter", "value=b", "--parameter", "wait=60")
    client.done(*update, "slow")
    until(
        lambda: (
            client.json("stack", "resource", "show", "slow", "slow")["resource_status"]
            == "UPDATE_IN_PROGRESS"
        ),
        "the update is under way",
        30,
    )
    client.done("stack", "cancel", "--wait", "slow")
    shown = client.json("stack", "show", "slow")
    assert shown["stack_status"] == "ROLLBACK_COMPLETE"
    assert shown["parameters"]["value"] == "a"
    client.done("stack", "delete", "--yes", "slow")


def test_a_failure_says_which_resource_and_the_stack_can_be_deleted(client: Client, at: Path):
    client.refused("stack", "create", "-t", str(at / "fails.yaml"), *QUICK, "fails")
    shown = client.json("stack", "show", "fails")
    assert shown["stack_status"] == "CREATE_FAILED"
    assert "resources.bad" in shown["stack_status_reason"]
    assert "bad" in client.done("stack", "failures", "list", "fails")
    client.done("stack", "delete", "--yes", "--wait", "fails")


@whole_suite
def test_a_wait_condition_is_signalled_by_its_token(client: Client, at: Path):
    client.done("stack", "create", "-t", str(at / "waits.yaml"), "waits")

    def ready() -> dict[str, Any] | None:
        found = outputs(client, "waits")
        return found if found["token"] else None

    found = until(ready, "the handle is there", 30)
    place = next(
        one["href"]
        for one in client.json("stack", "show", "waits")["links"]
        if one["rel"] == "self"
    )
    body = {"id": "1", "data": "hello"}
    url = f"{place}/resources/handle/signal"
    assert httpx.post(url, json=body, headers={"X-Auth-Token": "no"}).status_code == 401
    answer = httpx.post(url, json=body, headers={"X-Auth-Token": found["token"]})
    assert answer.status_code == 200, answer.text
    until(
        lambda: client.json("stack", "show", "waits")["stack_status"] == "CREATE_COMPLETE",
        "the condition is met",
        30,
    )
    assert json.loads(outputs(client, "waits")["said"]) == {"1": "hello"}
    client.done("stack", "delete", "--yes", "waits")


@whole_suite
def test_a_stack_is_abandoned_and_adopted(client: Client, at: Path):
    client.done("stack", "create", "-t", str(at / "slow.yaml"), *QUICK, "moves")
    before = client.json("stack", "resource", "show", "moves", "slow")["physical_resource_id"]
    written = at / "moves.json"
    client.done("stack", "abandon", "--output-file", str(written), "moves")
    client.refused("stack", "show", "moves")
    client.done("stack", "adopt", "--adopt-file", str(written), "--wait", "moves")
    after = client.json("stack", "resource", "show", "moves", "slow")
    assert after["physical_resource_id"] == before
    assert client.json("stack", "show", "moves")["stack_status"] == "ADOPT_COMPLETE"
    client.done("stack", "delete", "--yes", "moves")


def test_what_cannot_be_is_refused_in_a_sentence(client: Client, app: str, at: Path):
    wrong = at / "wrong.yaml"
    wrong.write_text("heat_template_version: 2021-04-16\nresources: {a: {type: No::Such}}\n")
    said = client.refused("stack", "create", "-t", str(wrong), "wrong")
    assert "The Resource Type (No::Such) could not be found" in said
    said = client.refused("stack", "create", "-t", str(at / "slow.yaml"), app)
    assert "already exists" in said
    assert "Stack not found: nothing" in client.refused("stack", "show", "nothing")
    assert "not supported" in client.refused("stack", "snapshot", "create", app)


@whole_suite
def test_the_catalogue_is_listed(client: Client, at: Path):
    types = client.json("orchestration", "resource", "type", "list")
    assert "OS::Heat::TestResource" in [one["Resource Type"] for one in types]
    shown = client.done("orchestration", "resource", "type", "show", "OS::Heat::RandomString")
    assert "length" in shown
    template = client.done(
        *("orchestration", "resource", "type", "show", "--template-type", "hot"),
        "OS::Heat::RandomString",
    )
    assert "heat_template_version" in template
    versions = client.json("orchestration", "template", "version", "list")
    assert "heat_template_version.2021-04-16" in [one["Version"] for one in versions]
    functions = client.json(
        *("orchestration", "template", "function", "list", "heat_template_version.2021-04-16")
    )
    assert "get_file" in [one["Functions"] for one in functions]
    said = client.done("orchestration", "template", "validate", "-t", str(at / "slow.yaml"))
    assert "action_wait" not in said
    assert client.json("orchestration", "build", "info")["engine"]


def test_engines_and_apis_are_listed_x21(client: Client):
    services = client.json("orchestration", "service", "list")
    assert {one["Binary"] for one in services} == {"heat-eng", "heat-api"}
    assert {one["Status"] for one in services} >= {"up"}


@whole_suite
def test_software_is_configured_and_deployed(client: Client, at: Path):
    script = at / "hello.sh"
    script.write_text("#!/bin/sh\necho hello\n")
    config = client.json("software", "config", "create", "--config-file", str(script), "hello")
    deployment = client.json(
        *("software", "deployment", "create", "--config", config["id"], "--server", "s1"),
        *("--signal-transport", "NO_SIGNAL", "d"),
    )
    metadata = client.done("software", "deployment", "metadata", "show", "s1")
    assert "echo hello" in metadata
    client.done("software", "deployment", "delete", deployment["id"])
    client.done("software", "config", "delete", config["id"])
