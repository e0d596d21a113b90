"""Issue 3, "`owner`/`lessee` visibility": what each side may do with a node, and see of it.

The table is Ironic's secure RBAC: roles in the owner's project, in the lessee's, of operators.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from tests.baremetal.people import ALICE, BOB, BaremetalFixture, caller

from holdfast.baremetal.errors import NodeLockedError
from holdfast.baremetal.resources import NODES
from holdfast.baremetal.service import Baremetal
from holdfast.baremetal.service import rights as table
from holdfast.baremetal.service.filters import PageQuery
from holdfast.baremetal.service.rights import Right, may, require, right_to_change
from holdfast.baremetal.service.rows import NodeRow
from holdfast.baremetal.service.verbs import BootDevice, PowerRequest, ProvisionRequest
from holdfast.baremetal.service.vifs import Vif
from holdfast.errors import ForbiddenError
from holdfast.identity.policy import Caller, Role

NODE = NodeRow(
    uuid=uuid4(),
    name="n1",
    grp="",
    shard=0,
    driver="redfish",
    driver_info={},
    driver_secrets=None,
    interfaces={},
    provision_state="active",
    target_provision_state=None,
    maintenance=False,
    protected=False,
    retired=False,
    disable_power_off=False,
    instance_uuid=None,
    allocation_uuid=None,
    owner="alice",
    lessee="bob",
    project="alice",
    agent_boot=None,
    agent_secret=None,
)
ROLES = (Role.READER, Role.MEMBER, Role.ADMIN)
NOBODY = "-"


def lowest(right: Right, project: str, *, everywhere: bool = False) -> str:
    """The least role in the project that has the right."""
    for role in ROLES:
        if may(caller(project, role.value, everywhere=everywhere), NODE, right):
            return role.value
    return NOBODY


@pytest.mark.parametrize(
    ("right", "system", "owner", "lessee"),
    [
        (table.PROVISION, "member", "member", "admin"),
        (table.POWER, "member", "member", "member"),
        (table.VALIDATE, "member", "member", "admin"),
        (table.MAINTENANCE, "member", "member", "admin"),
        (table.VIFS, "member", "member", "admin"),
        (table.MEDIA, "member", "member", "member"),
        (table.RAID, "member", "member", NOBODY),
        (table.CONSOLE, "member", "member", NOBODY),
        (table.BOOT_DEVICE, "member", "admin", NOBODY),
        (table.NMI, "member", "admin", NOBODY),
        (table.TRAITS, "member", "admin", NOBODY),
        (table.DELETE, "admin", "admin", NOBODY),
        (table.ADD_PORT, "admin", "admin", NOBODY),
        (table.OF_PORTS, "member", "admin", NOBODY),
        (table.HISTORY, "reader", "reader", NOBODY),
        (table.INVENTORY, "reader", "reader", NOBODY),
        *((right_to_change(n, None), "member", "member", NOBODY) for n in ("driver_info", "name")),
        *((right_to_change(n, None), "member", "member", NOBODY) for n in ("properties", "lessee")),
        (right_to_change("instance_uuid", None), "member", "member", NOBODY),
        (right_to_change("extra", {}), "member", "member", "member"),
        (right_to_change("instance_info", {}), "member", "member", "admin"),
        (right_to_change("maintenance", True), "member", "member", "admin"),
        (right_to_change("driver", "x"), "member", "admin", NOBODY),
        (right_to_change("power_interface", "x"), "member", "admin", NOBODY),
        (right_to_change("owner", "carol"), "member", NOBODY, NOBODY),
        (right_to_change("conductor_group", "x"), "member", NOBODY, NOBODY),
        (right_to_change("parent_node", None), "member", NOBODY, NOBODY),
        (right_to_change("chassis_uuid", None), "admin", NOBODY, NOBODY),
        (right_to_change("shard", "x"), "admin", NOBODY, NOBODY),
        (right_to_change("automated_clean", False), "admin", NOBODY, NOBODY),
        (right_to_change("automated_clean", True), "member", "member", NOBODY),
    ],
    ids=lambda value: value.what if isinstance(value, Right) else None,
)
def test_each_side_needs_the_role_that_ironic_asks_of_it(
    right: Right, system: str, owner: str, lessee: str
):
    found = (lowest(right, "x", everywhere=True), lowest(right, "alice"), lowest(right, "bob"))
    assert found == (system, owner, lessee)
    assert lowest(right, "carol") == NOBODY


@pytest.mark.parametrize(
    ("who", "right", "said"),
    [
        (BOB, table.DELETE, "deleting it is its owner's business: it is only leased to .* bob"),
        (BOB, right_to_change("shard", "x"), "is its operator's business"),
        (caller("bob", "member"), table.PROVISION, "the role admin in the project it is leased to"),
        (caller("alice", "member"), table.NMI, "needs the role admin in its project"),
        (ALICE, right_to_change("owner", "bob"), "is the operators' business"),
        (caller("x", "member", everywhere=True), table.DELETE, "needs the role admin"),
    ],
)
def test_a_refusal_says_whose_it_is(who: Caller, right: Right, said: str):
    with pytest.raises(ForbiddenError, match=said):
        require(who, NODE, right)


Attempt = Callable[[Baremetal, Caller, str], Awaitable[Any]]


def patch(path: str, value: Any) -> Attempt:
    operations = [{"op": "add", "path": path, "value": value}]
    return lambda baremetal, who, node: baremetal.nodes.update(who, node, operations)


NOT_A_LESSEES: dict[str, Attempt] = {
    "driver_info": patch("/driver_info/x", 1),
    "properties": patch("/properties/x", 1),
    "name": patch("/name", "mine"),
    "lessee": patch("/lessee", "carol"),
    "owner": patch("/owner", "bob"),
    "instance_uuid": patch("/instance_uuid", str(uuid4())),
    "a guess": patch("/driver_info/redfish_address", "http://bmc:8000"),
    "delete": lambda b, who, node: b.nodes.delete(who, node),
    "traits": lambda b, who, node: b.upkeep.set_traits(who, node, lambda _: []),
    "raid": lambda b, who, node: b.upkeep.set_raid(who, node, {}),
    "console": lambda b, who, node: b.upkeep.set_console(who, node, enabled=True),
    "console shown": lambda b, who, node: b.upkeep.console(who, node),
    "boot device": lambda b, who, node: b.verbs.set_boot_device(
        who, node, BootDevice(boot_device="pxe")
    ),
    "boot device shown": lambda b, who, node: b.upkeep.boot_device(who, node),
    "nmi": lambda b, who, node: b.verbs.inject_nmi(who, node),
    "history": lambda b, who, node: b.history.of(who, node, 1, None),
    "inventory": lambda b, who, node: b.upkeep.inventory(who, node),
    "port": lambda b, who, node: b.ports.create(
        who, {"node_uuid": node, "address": "02:00:00:00:00:01"}
    ),
    "port group": lambda b, who, node: b.portgroups.create(who, {"node_uuid": node}),
}

AN_ADMINS: dict[str, Attempt] = {
    "instance_info": patch("/instance_info/x", 1),
    "provision": lambda b, who, node: b.verbs.provision(
        who, node, ProvisionRequest(target="manage")
    ),
    "maintenance": lambda b, who, node: b.upkeep.set_maintenance(who, node, True),
    "validate": lambda b, who, node: b.upkeep.validate(who, node),
    "vif": lambda b, who, node: b.vifs.attach(who, node, Vif(id="v")),
}


@pytest.mark.parametrize("attempt", NOT_A_LESSEES.values(), ids=NOT_A_LESSEES)
async def test_a_lessee_does_not_run_the_node(fixture: BaremetalFixture, attempt: Attempt):
    node = str(await fixture.node(ALICE, lessee="bob"))
    with pytest.raises(ForbiddenError, match="leased"):
        await attempt(fixture.baremetal, BOB, node)


@pytest.mark.parametrize("attempt", AN_ADMINS.values(), ids=AN_ADMINS)
async def test_a_lessees_admin_provisions_it_and_its_members_do_not(
    fixture: BaremetalFixture, attempt: Attempt
):
    node = str(await fixture.node(ALICE, lessee="bob"))
    await fixture.baremetal.ports.create(ALICE, {"node_uuid": node, "address": "02:00:00:00:00:01"})
    with pytest.raises(ForbiddenError, match="role admin"):
        await attempt(fixture.baremetal, caller("bob", "member"), node)
    await attempt(fixture.baremetal, BOB, node)


async def test_a_lessees_members_switch_it_and_write_extra(fixture: BaremetalFixture):
    node = str(await fixture.node(ALICE, lessee="bob"))
    member = caller("bob", "member")
    await patch("/extra/a", 1)(fixture.baremetal, member, node)
    await fixture.baremetal.verbs.power(member, node, PowerRequest(target="power on"))


async def test_a_lessee_learns_that_there_is_something_and_not_what(fixture: BaremetalFixture):
    uuid = await fixture.node(ALICE, lessee="bob")
    await fixture.set(uuid, last_error="conductor c1.rack7 lost the BMC at 10.0.0.7")
    names = ("driver_info", "last_error", "reservation", "name")
    for who, sees in ((ALICE, True), (BOB, False)):
        for shown in (
            await fixture.baremetal.read.node(who, str(uuid), names),
            (await fixture.baremetal.read.page(NODES, who, PageQuery(fields=names)))[0],
        ):
            assert set(shown) == {"_uuid", *names}
            assert (b"http://bmc:8000" in bytes(shown["driver_info"])) is sees
            assert ("rack7" in shown["last_error"]) is sees
            assert shown["reservation"] is None


async def test_a_job_that_ended_while_it_was_asked_for_is_a_reason_to_ask_again(
    fixture: BaremetalFixture, monkeypatch: pytest.MonkeyPatch
):
    """ironic-tempest-plugin's ``test_backfill_allocation`` met it once in a hundred runs."""
    uuid = await fixture.node(ALICE)
    job = await fixture.busy(uuid)
    active = fixture.store.active_job

    async def then_it_ends(ref: Any) -> Any:
        found = await active(ref)
        await fixture.end(job.id)
        return found

    monkeypatch.setattr(fixture.store, "active_job", then_it_ends)
    with pytest.raises(NodeLockedError, match="has just ended"):
        await fixture.baremetal.verbs.power(ALICE, str(uuid), PowerRequest(target="power on"))
