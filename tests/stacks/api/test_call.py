"""What no request may have in it: a NUL, which no database can keep, is named and refused."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from tests.stacks.api.test_collection import TEMPLATE, body, create

HOT = "heat_template_version: 2021-04-16\n"


@pytest.mark.parametrize(
    "name",
    ["name", "status", "id", "owner_id", "tags", "not_tags_any", "limit", "marker", "sort_keys"],
)
async def test_a_query_with_a_nul_is_refused(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/stacks?{name}=%00")
    assert answer.status_code == 400, answer.text
    assert f"Invalid {name}" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/stacks/%00",
        "/stacks/a%00/00000000-0000-0000-0000-000000000000",
        "/resource_types/%00",
        "/software_configs/%00",
        "/software_deployments/%00",
        "/software_deployments/metadata/%00",
        "/software_deployments?server_id=%00",
        "/software_configs?marker=%00",
        "/stacks/{app}/resources/%00",
        "/stacks/{app}/resources/%00/events",
        "/stacks/{app}/events?marker=%00",
        "/stacks/{app}/events/%00",
        "/stacks/{app}/outputs/%00",
        "/stacks/{app}/resources?name=%00",
    ],
)
async def test_a_nul_in_a_path_is_nobodys_fault_but_the_askers(
    client: httpx.AsyncClient, path: str
) -> None:
    place = (await create(client)).partition("/stacks/")[2]
    answer = await client.get(path.replace("{app}", place))
    assert answer.status_code in {200, 400, 404}, (answer.status_code, answer.text)
    assert answer.status_code != 200 or not any(answer.json().values())


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"parameters": {"value": "a\0b"}}, "parameters.value"),
        ({"parameters": {"value": ["x", {"y": "\0"}]}}, "parameters.value[1].y"),
        ({"template": TEMPLATE | {"description": "\0"}}, "template.description"),
        ({"template": TEMPLATE | {"a\0": 1}}, "template.a"),
        ({"files": {"a.sh": "#!/bin/sh\0"}}, "files.a.sh"),
        ({"environment": {"parameters": {"value": "\0"}}}, "environment.parameters.value"),
        ({"tags": "\0"}, "tags"),
        ({"template": HOT + 'description: "a\\0b"'}, "line 2, column 14"),
        ({"environment": 'parameters: {value: "\\0"}'}, "line 1, column 21"),
        (
            {"template": '{"heat_template_version": "2021-04-16", "description": "\\u0000"}'},
            "description: The template",
        ),
    ],
)
async def test_a_nul_in_what_is_to_be_kept_is_refused_with_its_place(
    client: httpx.AsyncClient, changes: dict[str, Any], where: str
) -> None:
    for path in ("/stacks", "/stacks/preview"):
        answer = await client.post(path, json=body(**changes))
        assert answer.status_code == 400, answer.text
        message = answer.json()["error"]["message"]
        assert where in message, message
        assert "NUL" in message


async def test_the_letters_of_an_escape_are_no_nul(client: httpx.AsyncClient) -> None:
    await create(client, parameters={"value": "\\u0000"})


async def test_a_configuration_or_a_mark_with_a_nul_is_refused(client: httpx.AsyncClient) -> None:
    place = await create(client)
    config = {"name": "c", "config": "echo \0"}
    answer = await client.post("/software_configs", json=config)
    assert (answer.status_code, "config: there is a NUL" in answer.text) == (400, True)
    mark = {"mark_unhealthy": True, "resource_status_reason": "\0"}
    answer = await client.patch(f"{place}/resources/one", json=mark)
    assert answer.status_code == 400


async def test_what_a_machine_reports_is_kept_without_its_nuls(client: httpx.AsyncClient) -> None:
    config = (await client.post("/software_configs", json={"name": "c"})).json()
    given = {"config_id": config["software_config"]["id"], "server_id": "s"}
    made = (await client.post("/software_deployments", json=given)).json()["software_deployment"]
    said = {
        "status": "COMPLETE",
        "status_reason": "a\0b",
        "output_values": {"deploy_stdout": "\0"},
    }
    answer = await client.put(f"/software_deployments/{made['id']}", json=said)
    assert answer.status_code == 200, answer.text
    shown = answer.json()["software_deployment"]
    assert shown["status_reason"] == "a\ufffdb"
    assert shown["output_values"] == {"deploy_stdout": "\ufffd"}


@pytest.mark.parametrize("number", ["1e999", "-1e999"])
async def test_a_number_that_no_float_can_hold_is_refused(
    client: httpx.AsyncClient, number: str
) -> None:
    text = f'{{"heat_template_version": "2021-04-16", "description": {number}}}'
    answer = await client.post("/stacks", json=body(template=text))
    assert answer.status_code == 400, answer.text
    assert "too large" in answer.text


async def test_a_template_that_includes_itself_is_refused_with_its_circle(
    client: httpx.AsyncClient,
) -> None:
    """X20's limit of nesting: the way down is named."""
    one = HOT + "resources: {a: {type: two.yaml}}"
    two = HOT + "resources: {b: {type: one.yaml}}"
    asked = body(template=one, files={"one.yaml": one, "two.yaml": two})
    for path in ("/stacks", "/stacks/preview", "/validate?show_nested=true"):
        answer = await client.post(path, json=asked)
        assert answer.status_code in {400, 403}, answer.text
        message = answer.json()["error"]["message"]
        assert "two.yaml includes itself (two.yaml -> one.yaml -> two.yaml)" in message, message
        assert "by the resources a.b.a.b" in message
    deep = {f"{n}.yaml": HOT + f"resources: {{r{n}: {{type: {n + 1}.yaml}}}}" for n in range(6)}
    asked = body(template=deep["0.yaml"], files=deep | {"6.yaml": HOT + "resources: {}"})
    answer = await client.post("/stacks", json=asked)
    assert answer.status_code in {400, 403}
    assert "includes itself" not in answer.text
    assert "1.yaml -> 2.yaml -> 3.yaml" in answer.text


@pytest.mark.parametrize(
    "given",
    [
        {"min_wait": 1e300},
        {"min_wait": -1},
        {"min_wait": "inf"},
        {"min_wait": "nan"},
        {"min_wait": "1" + "0" * 400},
        {"max_jitter": 1e300},
        {"jitter_multiplier": 1e300},
        {"max_jitter": 31_536_000, "jitter_multiplier": 31_536_000},
    ],
)
async def test_a_delay_that_no_stack_has_time_for_is_refused_at_once(
    client: httpx.AsyncClient, given: dict[str, Any]
) -> None:
    delay = {"type": "OS::Heat::Delay", "properties": given}
    template = {"heat_template_version": "2021-04-16", "resources": {"d": delay}}
    answer = await client.post("/stacks", json=body(template=template))
    assert answer.status_code == 400, answer.text
    assert "resources.d.properties" in answer.text
