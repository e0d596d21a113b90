from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from tests.baremetal.people import ADMIN, ALICE, BOB, BaremetalFixture

from holdfast.baremetal.errors import NodeLockedError
from holdfast.baremetal.resources import PORTS
from holdfast.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError

MAC = "52:54:00:00:00:01"


async def shown(fixture: BaremetalFixture, uuid: object, *fields: str) -> dict[str, Any]:
    return await fixture.baremetal.read.one(PORTS, ADMIN, str(uuid), fields)


async def test_a_port_is_known_by_its_address_in_one_spelling(fixture: BaremetalFixture):
    node = await fixture.node(name="n1")
    port = await fixture.baremetal.ports.create(
        ADMIN, {"address": "52-54-00-00-00-AB", "node_uuid": "n1"}
    )
    seen = await shown(fixture, port, "address", "node_uuid", "pxe_enabled")
    assert seen["address"] == "52:54:00:00:00:ab"
    assert (seen["node_uuid"], seen["pxe_enabled"]) == (str(node), True)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"address": None}, "address"),
        ({"address": "nonsense"}, "nonsense"),
        ({"node_uuid": None}, "node_uuid"),
        ({"node_uuid": str(uuid4())}, "could not be found"),
        ({"wings": 2}, "wings"),
        ({"internal_info": {}}, "internal_info"),
        ({"extra": []}, "extra"),
        ({"pxe_enabled": "perhaps"}, "pxe_enabled"),
    ],
)
async def test_bad_input_is_refused_by_its_name(
    fixture: BaremetalFixture, fields: dict[str, Any], named: str
):
    node = await fixture.node()
    document = {"address": MAC, "node_uuid": str(node), **fields}
    with pytest.raises(InvalidInputError, match=named):
        await fixture.baremetal.ports.create(ADMIN, document)


async def test_an_address_is_taken_once(fixture: BaremetalFixture):
    node = str(await fixture.node())
    await fixture.baremetal.ports.create(ADMIN, {"address": MAC, "node_uuid": node})
    with pytest.raises(ConflictError, match=f"MAC address {MAC} already exists"):
        await fixture.baremetal.ports.create(ADMIN, {"address": MAC.upper(), "node_uuid": node})


async def test_a_patch_changes_and_resets(fixture: BaremetalFixture):
    node = str(await fixture.node())
    ports = fixture.baremetal.ports
    port = str(await ports.create(ADMIN, {"address": MAC, "node_uuid": node, "pxe_enabled": False}))
    await ports.update(
        ADMIN,
        port,
        [
            {"op": "replace", "path": "/extra", "value": {"a": 1}},
            {"op": "remove", "path": "/pxe_enabled"},
            {"op": "add", "path": "/local_link_connection/switch_id", "value": "0a:00"},
        ],
    )
    seen = await shown(fixture, port, "extra", "pxe_enabled", "local_link_connection")
    assert bytes(seen["extra"]) == b'{"a": 1}'
    assert seen["pxe_enabled"] is True
    assert bytes(seen["local_link_connection"]) == b'{"switch_id": "0a:00"}'
    with pytest.raises(InvalidInputError, match="mandatory"):
        await ports.update(ADMIN, port, [{"op": "remove", "path": "/address"}])


async def test_a_port_moves_only_between_nodes_that_are_both_the_callers(
    fixture: BaremetalFixture,
):
    mine, other = str(await fixture.node(ALICE)), str(await fixture.node(BOB))
    leased = str(await fixture.node(BOB, lessee="alice"))
    ports = fixture.baremetal.ports
    port = str(await ports.create(ALICE, {"address": MAC, "node_uuid": mine}))
    for target, refusal in ((other, InvalidInputError), (leased, ForbiddenError)):
        with pytest.raises(refusal):
            await ports.update(
                ALICE, port, [{"op": "replace", "path": "/node_uuid", "value": target}]
            )
    with pytest.raises(NotFoundError):
        await ports.delete(BOB, port)


async def test_ports_of_a_node_in_hand_stay_as_they_are(fixture: BaremetalFixture):
    node = await fixture.node()
    ports = fixture.baremetal.ports
    port = str(await ports.create(ADMIN, {"address": MAC, "node_uuid": str(node)}))
    job = await fixture.busy(node)
    with pytest.raises(NodeLockedError):
        await ports.delete(ADMIN, port)
    await fixture.end(job.id)
    await ports.delete(ADMIN, port)
    with pytest.raises(NotFoundError):
        await shown(fixture, port, "uuid")
