from __future__ import annotations

from uuid import uuid4

import httpx
from tests.baremetal.api.test_nodes import at, fault

from holdfast.store.model import MemberSpec
from holdfast.store.pg.store import PgStore


async def conductors(store: PgStore, *slots: str) -> None:
    for slot in slots:
        spec = MemberSpec(id=uuid4(), role="conductor", slot=slot, host="h1")
        await store.register(spec, 60)


async def test_drivers_name_the_conductors_that_are_up(client: httpx.AsyncClient, store: PgStore):
    await conductors(store, "c1", "c2")
    (driver,) = (await client.get("/v1/drivers")).json()["drivers"]
    assert (driver["name"], driver["hosts"]) == ("redfish", ["c1.h1", "c2.h1"])
    assert "default_boot_interface" not in driver
    (driver,) = (await client.get("/v1/drivers?detail=True")).json()["drivers"]
    assert driver["default_boot_interface"] == "redfish-virtual-media"
    assert (await client.get("/v1/drivers?type=classic")).json() == {"drivers": []}
    assert (await client.get("/v1/drivers?type=magic")).status_code == 400
    (brief,) = (await client.get("/v1/drivers?fields=name")).json()["drivers"]
    assert set(brief) == {"name", "links"}


async def test_a_driver_explains_its_properties(client: httpx.AsyncClient):
    shown = (await client.get("/v1/drivers/redfish")).json()
    assert "redfish-virtual-media" in shown["enabled_boot_interfaces"]
    properties = (await client.get("/v1/drivers/redfish/properties")).json()
    assert "redfish_address" in properties
    other = await client.get("/v1/drivers/properties?driver_name=redfish")
    assert other.json() == properties
    missing = await client.get("/v1/drivers/toaster")
    assert missing.status_code == 404
    assert "redfish" in fault(missing)
    assert (await client.get("/v1/drivers/redfish/vendor_passthru/methods")).json() == {}


async def test_conductors_are_members_of_the_core(client: httpx.AsyncClient, store: PgStore):
    await conductors(store, "c1", "c2", "c3")
    first = (await client.get("/v1/conductors?limit=2")).json()
    assert [c["hostname"] for c in first["conductors"]] == ["c1.h1", "c2.h1"]
    path = first["next"].replace("http://hf:8080/baremetal", "")
    second = (await client.get(path)).json()
    assert [c["hostname"] for c in second["conductors"]] == ["c3.h1"]
    assert "next" not in second
    one = (await client.get("/v1/conductors?detail=True")).json()["conductors"][0]
    assert (one["alive"], one["drivers"]) == (True, ["redfish"])
    shown = (await client.get("/v1/conductors/c3.h1")).json()
    assert (shown["hostname"], shown["conductor_group"]) == ("c3.h1", "")
    assert (await client.get("/v1/conductors/none")).status_code == 404
    assert (await client.get("/v1/conductors", headers=at(48))).status_code == 404
