from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from tests.baremetal.people import ADMIN, ALICE, BOB, REDFISH, BaremetalFixture, caller

from holdfast.baremetal.credentials import decrypt_driver_secrets
from holdfast.baremetal.errors import NodeLockedError
from holdfast.baremetal.states import DELETABLE, Provision
from holdfast.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError


def change(path: str, value: Any) -> list[dict[str, Any]]:
    return [{"op": "add", "path": path, "value": value}]


async def test_a_new_node_fills_the_shards_of_its_group_evenly(fixture: BaremetalFixture):
    for _ in range(16):
        await fixture.node()
    assert {claim.objects for claim in await fixture.store.claims("")} == {2}


async def test_what_is_not_given_gets_the_drivers_defaults(fixture: BaremetalFixture):
    row = await fixture.row(await fixture.node())
    assert row["interfaces"]["power_interface"] == "redfish"
    assert row["provision_state"] == "enroll"
    assert row["entered_epoch"] > 0


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"driver": "toaster"}, "toaster"),
        ({"driver": None}, "driver"),
        ({"wings": 2}, "wings"),
        ({"provision_state": "active"}, "provision_state"),
        ({"driver_info": []}, "driver_info"),
        ({"driver_info": {"redfish_password": 7}}, "redfish_password"),
        ({"driver_info": {"redfish_password": "******"}}, "redfish_password"),
        ({"driver_info": {"deep": [{"er": {"password": "sesame"}}]}}, "deep/er/password"),
        ({"driver_info": {"redfish_address": "http://u:sesame@bmc"}}, "redfish_address"),
        ({"driver_info": {"redfish_address": "u:sesame@bmc"}}, "redfish_address"),
        ({"driver_info": {"deploy_iso": "https://u:sesame@host/iso"}}, "deploy_iso"),
        ({"instance_info": {"image_source": "https://u:sesame@host/i"}}, "image_source"),
        ({"instance_info": {"configdrive": "******"}}, "configdrive"),
        ({"uuid": "seven"}, "uuid"),
        ({"name": "a name"}, "a name"),
        ({"name": "detail"}, "detail"),
        ({"name": str(uuid4())}, "name"),
        ({"boot_interface": "carrier-pigeon"}, "redfish-virtual-media"),
        ({"conductor_group": "mars"}, "mars"),
    ],
)
async def test_bad_input_is_refused_by_its_name(
    fixture: BaremetalFixture, fields: dict[str, Any], named: str
):
    with pytest.raises(InvalidInputError, match=named):
        await fixture.node(**fields)
    assert await fixture.db.fetchval("select count(*) from node") == 0
    assert sum(claim.objects for claim in await fixture.store.claims("")) == 0


async def test_repeating_a_creation_returns_the_node_it_made(fixture: BaremetalFixture):
    fields: dict[str, Any] = {
        "uuid": str(uuid4()),
        "name": "n1",
        "driver_info": {**REDFISH, "redfish_password": "sesame"},
    }
    first = await fixture.node(**fields)
    assert await fixture.node(**fields) == first
    assert sum(claim.objects for claim in await fixture.store.claims("")) == 1
    for other in ({"name": "n2"}, {"driver_info": REDFISH}, {"owner": "bob"}):
        with pytest.raises(ConflictError, match="already exists"):
            await fixture.node(**{**fields, **other})
    with pytest.raises(ConflictError):
        await fixture.node(BOB, **fields)


async def test_a_name_or_instance_is_taken_once(fixture: BaremetalFixture):
    instance = str(uuid4())
    await fixture.node(name="n1", instance_uuid=instance)
    with pytest.raises(ConflictError, match="A node with name n1 already exists"):
        await fixture.node(name="n1")
    with pytest.raises(ConflictError, match=f"Instance {instance} is already associated"):
        await fixture.node(instance_uuid=instance)
    second = await fixture.node()
    with pytest.raises(ConflictError, match="n1"):
        await fixture.baremetal.nodes.update(ADMIN, str(second), change("/name", "n1"))


async def test_a_secret_is_sealed_and_never_stored_in_the_clear(fixture: BaremetalFixture):
    uuid = await fixture.node(driver_info={**REDFISH, "redfish_password": "sesame"})
    row = await fixture.row(uuid)
    assert row["driver_info"]["redfish_password"] == "******"
    assert b"sesame" not in row["driver_secrets"]
    opened = decrypt_driver_secrets(fixture.vault, uuid, row["driver_secrets"])
    assert opened == {"redfish_password": "sesame"}


async def test_a_masked_secret_that_comes_back_stays_what_it_was(fixture: BaremetalFixture):
    uuid = await fixture.node(driver_info={**REDFISH, "redfish_password": "sesame"})
    shown = {**REDFISH, "redfish_username": "root", "redfish_password": "******"}
    await fixture.baremetal.nodes.update(ADMIN, str(uuid), change("/driver_info", shown))
    await fixture.baremetal.nodes.update(
        ADMIN, str(uuid), change("/driver_info/bmc_token", "another")
    )
    row = await fixture.row(uuid)
    assert decrypt_driver_secrets(fixture.vault, uuid, row["driver_secrets"]) == {
        "redfish_password": "sesame",
        "bmc_token": "another",
    }
    removal = [{"op": "remove", "path": "/driver_info/redfish_password"}]
    await fixture.baremetal.nodes.update(ADMIN, str(uuid), removal)
    row = await fixture.row(uuid)
    assert decrypt_driver_secrets(fixture.vault, uuid, row["driver_secrets"]) == {
        "bmc_token": "another"
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("redfish_address", "http://elsewhere"),
        ("redfish_verify_ca", False),
        ("redfish_auth_type", "basic"),
    ],
)
async def test_a_stored_password_goes_nowhere_else_unless_it_is_given_again(
    fixture: BaremetalFixture, key: str, value: Any
):
    """Security: whoever may change where a BMC is does not thereby learn its password."""
    nodes = fixture.baremetal.nodes
    info = {**REDFISH, "redfish_password": "sesame"}
    ident = str(await fixture.node(ALICE, driver_info=info))
    move = change(f"/driver_info/{key}", value)
    whole = change("/driver_info", {**info, key: value, "redfish_password": "******"})
    masked = [*move, *change("/driver_info/redfish_password", "******")]
    for who in (ALICE, ADMIN):
        for operations in (move, whole, masked):
            with pytest.raises(InvalidInputError, match="send redfish_password again"):
                await nodes.update(who, ident, operations)
    away = [{"op": "remove", "path": "/driver_info/redfish_address"}]
    with pytest.raises(InvalidInputError, match="send redfish_password again"):
        await nodes.update(ALICE, ident, away)
    await nodes.update(ALICE, ident, change("/driver_info/redfish_system_id", "/redfish/v1/x"))
    await nodes.update(ALICE, ident, [*move, *change("/driver_info/redfish_password", "anew")])
    row = await fixture.row(UUID(ident))
    assert row["driver_info"][key] == value


async def test_a_misleading_address_is_refused_when_it_is_written(fixture: BaremetalFixture):
    bad = {"redfish_address": "http://bmc/../x"}
    with pytest.raises(InvalidInputError, match="redfish_address"):
        await fixture.node(driver_info=bad)
    uuid = await fixture.node()
    with pytest.raises(InvalidInputError, match="redfish_address"):
        await fixture.baremetal.nodes.update(ADMIN, str(uuid), change("/driver_info", bad))


@pytest.mark.parametrize(
    "name", ["extra", "properties", "driver_info", "instance_info", "network_data"]
)
async def test_a_document_is_bounded_and_a_configdrive_is_not(fixture: BaremetalFixture, name: str):
    big = "x" * 262_144
    given: dict[str, Any] = {name: {"a": big}}
    with pytest.raises(InvalidInputError, match=f"{name} is too large: it may have 262144 bytes"):
        await fixture.node(**given)
    uuid = await fixture.node(instance_info={"configdrive": "H4sI" + big})
    with pytest.raises(InvalidInputError, match=f"{name} is too large"):
        await fixture.baremetal.nodes.update(ADMIN, str(uuid), change(f"/{name}/a", big))


async def test_a_patch_changes_what_it_names_and_nothing_else(fixture: BaremetalFixture):
    uuid = await fixture.node(extra={"a": 1}, name="n1")
    before = await fixture.row(uuid)
    await fixture.baremetal.nodes.update(ADMIN, "n1", change("/extra/b", 2))
    after = await fixture.row(uuid)
    assert after["extra"] == {"a": 1, "b": 2}
    changed = {name for name, value in after.items() if before[name] != value}
    assert changed == {"extra", "updated_at"}


async def test_an_empty_patch_changes_nothing(fixture: BaremetalFixture):
    uuid = await fixture.node(name="n1", extra={"a": 1})
    before = await fixture.row(uuid)
    await fixture.baremetal.nodes.update(ADMIN, "n1", [])
    assert before == {**await fixture.row(uuid), "updated_at": None}


async def test_removing_a_field_sets_its_default(fixture: BaremetalFixture):
    uuid = await fixture.node(extra={"a": 1}, name="n1", retired=True, boot_interface="pxe")
    removals = [
        {"op": "remove", "path": path}
        for path in ("/extra", "/name", "/retired", "/boot_interface")
    ]
    await fixture.baremetal.nodes.update(ADMIN, str(uuid), removals)
    row = await fixture.row(uuid)
    assert (row["extra"], row["name"], row["retired"]) == ({}, None, False)
    assert row["interfaces"]["boot_interface"] == "redfish-virtual-media"
    with pytest.raises(InvalidInputError, match="mandatory"):
        await fixture.baremetal.nodes.update(
            ADMIN, str(uuid), [{"op": "remove", "path": "/driver"}]
        )


@pytest.mark.parametrize("path", ["/provision_state", "/uuid", "/traits", "/power_state", "/wings"])
async def test_what_is_not_the_clients_is_refused(fixture: BaremetalFixture, path: str):
    uuid = await fixture.node()
    with pytest.raises(InvalidInputError, match=path[1:]):
        await fixture.baremetal.nodes.update(ADMIN, str(uuid), change(path, "active"))


async def test_a_node_in_hand_is_locked_until_its_job_has_ended(fixture: BaremetalFixture):
    uuid = await fixture.node(name="n1")
    job = await fixture.busy(uuid)
    for attempt in (
        fixture.baremetal.nodes.update(ADMIN, "n1", change("/extra/a", 1)),
        fixture.baremetal.nodes.delete(ADMIN, "n1"),
        fixture.baremetal.upkeep.set_traits(ADMIN, "n1", lambda _: ["CUSTOM_A"]),
    ):
        with pytest.raises(NodeLockedError, match="Node n1 is locked by a job"):
            await attempt
    await fixture.end(job.id)
    await fixture.baremetal.nodes.update(ADMIN, "n1", change("/extra/a", 1))


async def test_driver_and_interfaces_change_only_where_nothing_depends_on_them(
    fixture: BaremetalFixture,
):
    uuid = await fixture.node(state="active")
    patch = change("/resource_class", "gold")
    with pytest.raises(ConflictError, match="'active'"):
        await fixture.baremetal.nodes.update(ADMIN, str(uuid), patch)
    await fixture.set(uuid, maintenance=True)
    await fixture.baremetal.nodes.update(ADMIN, str(uuid), patch)
    await fixture.set(uuid, maintenance=False, provision_state="manageable")
    await fixture.baremetal.nodes.update(ADMIN, str(uuid), change("/resource_class", "lead"))


async def test_another_bmc_address_voids_every_older_token(fixture: BaremetalFixture):
    uuid = await fixture.node()
    before = (await fixture.row(uuid))["entered_epoch"]
    await fixture.baremetal.nodes.update(ADMIN, str(uuid), change("/driver_info/note", "x"))
    assert (await fixture.row(uuid))["entered_epoch"] == before
    await fixture.baremetal.nodes.update(
        ADMIN, str(uuid), change("/driver_info/redfish_address", "http://elsewhere")
    )
    assert (await fixture.row(uuid))["entered_epoch"] > before


async def test_a_node_moves_to_another_group_with_a_new_place_and_epoch(
    fixture: BaremetalFixture,
):
    await fixture.store.ensure_shards("rack-2", 4)
    uuid = await fixture.node()
    before = await fixture.row(uuid)
    await fixture.baremetal.nodes.update(ADMIN, str(uuid), change("/conductor_group", "Rack-2"))
    after = await fixture.row(uuid)
    assert after["grp"] == "rack-2"
    assert after["entered_epoch"] > before["entered_epoch"]
    assert sum(claim.objects for claim in await fixture.store.claims("")) == 0
    (placed,) = [c.shard for c in await fixture.store.claims("rack-2") if c.objects]
    assert placed == after["shard"]


async def test_deleting_a_node_takes_its_ports_and_its_place(fixture: BaremetalFixture):
    uuid = await fixture.node()
    await fixture.baremetal.ports.create(
        ADMIN, {"address": "52:54:00:00:00:01", "node_uuid": str(uuid)}
    )
    await fixture.baremetal.nodes.delete(ADMIN, str(uuid))
    assert await fixture.db.fetchval("select count(*) from port") == 0
    assert sum(claim.objects for claim in await fixture.store.claims("")) == 0
    with pytest.raises(NotFoundError):
        await fixture.baremetal.nodes.delete(ADMIN, str(uuid))


@pytest.mark.parametrize("state", Provision)
async def test_a_node_is_deleted_only_where_nothing_is_lost(
    fixture: BaremetalFixture, state: Provision
):
    uuid = await fixture.node(state=state)
    if state in DELETABLE:
        await fixture.baremetal.nodes.delete(ADMIN, str(uuid))
        return
    with pytest.raises(ConflictError, match=f"'{state}'"):
        await fixture.baremetal.nodes.delete(ADMIN, str(uuid))
    await fixture.set(uuid, maintenance=True)
    await fixture.baremetal.nodes.delete(ADMIN, str(uuid))


async def test_a_node_with_an_instance_is_not_deleted(fixture: BaremetalFixture):
    uuid = await fixture.node(instance_uuid=str(uuid4()))
    with pytest.raises(ConflictError, match="instance"):
        await fixture.baremetal.nodes.delete(ADMIN, str(uuid))


async def test_another_projects_node_is_not_there(fixture: BaremetalFixture):
    uuid = str(await fixture.node(ALICE, name="n1"))
    baremetal = fixture.baremetal
    for attempt in (
        baremetal.read.node(BOB, uuid, ("uuid",)),
        baremetal.read.node(BOB, "n1", ("uuid",)),
        baremetal.nodes.update(BOB, uuid, change("/extra/a", 1)),
        baremetal.nodes.delete(BOB, uuid),
        baremetal.upkeep.set_maintenance(BOB, uuid, True),
        baremetal.upkeep.set_traits(BOB, uuid, lambda _: []),
        baremetal.upkeep.validate(BOB, uuid),
    ):
        with pytest.raises(NotFoundError, match="could not be found"):
            await attempt
    assert (await baremetal.read.node(ALICE, uuid, ("uuid",)))["uuid"] == uuid
    assert (await baremetal.read.node(ADMIN, uuid, ("uuid",)))["uuid"] == uuid


async def test_a_move_between_owners_needs_somebody_over_both(fixture: BaremetalFixture):
    uuid = str(await fixture.node(ALICE))
    with pytest.raises(ForbiddenError, match="owner"):
        await fixture.baremetal.nodes.update(ALICE, uuid, change("/owner", "bob"))
    await fixture.baremetal.nodes.update(ADMIN, uuid, change("/owner", "bob"))
    await fixture.baremetal.read.node(BOB, uuid, ("uuid",))
    with pytest.raises(NotFoundError):
        await fixture.baremetal.read.node(ALICE, uuid, ("uuid",))
    with pytest.raises(ForbiddenError, match="carol"):
        await fixture.node(BOB, owner="carol")


async def test_a_projects_node_is_its_own_by_default(fixture: BaremetalFixture):
    assert (await fixture.row(await fixture.node(ALICE)))["owner"] == "alice"
    assert (await fixture.row(await fixture.node(ADMIN)))["owner"] is None


async def test_a_caller_without_a_project_sees_nothing(fixture: BaremetalFixture):
    uuid = str(await fixture.node())
    nobody = caller("x").__class__(user_id="u", user_name="u", roles=ALICE.roles)
    with pytest.raises(NotFoundError):
        await fixture.baremetal.read.node(nobody, uuid, ("uuid",))
