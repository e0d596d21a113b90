"""Addresses of APIs whose path names the project of the token."""

from __future__ import annotations

from holdfast.identity.catalog import PROJECT, Catalog, Service

CATALOG = Catalog(
    [
        Service(type="baremetal", name="ironic", path="/baremetal"),
        Service(type="orchestration", name="heat", path=f"/orchestration/v1/{PROJECT}"),
    ],
    "RegionOne",
)


def test_an_address_is_that_of_the_tokens_project():
    _, heat = CATALOG.view("http://hf", "p1")
    assert {one["url"] for one in heat["endpoints"]} == {"http://hf/orchestration/v1/p1"}


def test_a_token_without_a_project_is_not_led_to_a_projects_address():
    assert [one["type"] for one in CATALOG.view("http://hf")] == ["baremetal"]


def test_an_endpoint_keeps_its_id_whatever_the_project():
    ids = [
        [one["id"] for one in CATALOG.view("http://hf", project)[1]["endpoints"]]
        for project in ("p1", "p2")
    ]
    assert ids[0] == ids[1]
