from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest
from tests.baremetal.people import ADMIN, BaremetalFixture

from holdfast.baremetal.credentials import MASK, decrypt_agent_token
from holdfast.baremetal.service.ramdisk import Heartbeat, checked_callback
from holdfast.errors import InvalidInputError, NotFoundError
from holdfast.store.model import Job

MAC = "52:54:00:00:00:01"
URL = "http://10.0.0.7:9999"


async def booting(fixture: BaremetalFixture) -> tuple[UUID, UUID, Job]:
    """A node whose deployment has booted a ramdisk: as the job's steps leave it."""
    node, boot = await fixture.node(), uuid4()
    await fixture.baremetal.ports.create(ADMIN, {"address": MAC, "node_uuid": str(node)})
    job = await fixture.busy(node, "node.deploy")
    await fixture.set(node, provision_state="wait call-back", agent_boot=boot)
    return node, boot, job


async def token_of(fixture: BaremetalFixture, node: UUID) -> str:
    _, config = await fixture.baremetal.ramdisk.lookup(None, str(node))
    return config["agent_token"]


@pytest.mark.parametrize("by", ["addresses", "uuid"])
async def test_a_booted_ramdisk_learns_who_it_is(fixture: BaremetalFixture, by: str):
    node, _, _ = await booting(fixture)
    addresses, uuid = (
        (f"00:11:22:33:44:55, {MAC.upper()}", None)
        if by == "addresses"
        else (
            None,
            str(node),
        )
    )
    document, config = await fixture.baremetal.ramdisk.lookup(addresses, uuid)
    assert document["uuid"] == str(node)
    assert set(document) == {
        "_uuid",
        "uuid",
        "properties",
        "instance_info",
        "driver_internal_info",
    }, "nothing secret, nothing of the BMC"
    assert config["heartbeat_timeout"] == 300
    assert config["agent_token_required"] is True


async def test_the_token_is_handed_out_once_per_boot(fixture: BaremetalFixture):
    node, boot, _ = await booting(fixture)
    answers = await asyncio.gather(*(token_of(fixture, node) for _ in range(8)))
    (token,) = set(answers) - {MASK}
    assert answers.count(MASK) == 7
    sealed = (await fixture.row(node))["agent_secret"]
    assert token.encode() not in sealed
    assert decrypt_agent_token(fixture.vault, node, boot, sealed) == token
    await fixture.set(node, agent_boot=uuid4(), agent_secret=None)
    assert await token_of(fixture, node) not in (MASK, token)


async def test_the_job_learns_of_a_boot_whose_token_was_asked_for_again(fixture: BaremetalFixture):
    node, boot, _ = await booting(fixture)
    await token_of(fixture, node)
    assert "locked_out" not in (await fixture.active(node)).inbox
    await token_of(fixture, node)
    assert (await fixture.active(node)).inbox["locked_out"] == {"boot": str(boot)}


@pytest.mark.parametrize("state", ["enroll", "manageable", "available", "active", "error"])
async def test_nobody_is_told_anything_of_a_node_that_waits_for_no_ramdisk(
    fixture: BaremetalFixture, state: str
):
    node, _, _ = await booting(fixture)
    await fixture.set(node, provision_state=state)
    with pytest.raises(NotFoundError, match="No node that waits"):
        await fixture.baremetal.ramdisk.lookup(MAC, str(node))
    await fixture.set(node, provision_state="deploying", agent_boot=None)
    with pytest.raises(NotFoundError):
        await fixture.baremetal.ramdisk.lookup(MAC, str(node))


@pytest.mark.parametrize(("addresses", "uuid"), [(None, None), ("", ""), (None, "seven")])
async def test_a_lookup_names_somebody(
    fixture: BaremetalFixture, addresses: str | None, uuid: str | None
):
    with pytest.raises(InvalidInputError):
        await fixture.baremetal.ramdisk.lookup(addresses, uuid)


async def test_a_lookup_that_matches_two_nodes_matches_none(fixture: BaremetalFixture):
    await booting(fixture)
    other = await fixture.node(state="deploying")
    await fixture.set(other, agent_boot=uuid4())
    second = "52:54:00:00:00:02"
    await fixture.baremetal.ports.create(ADMIN, {"address": second, "node_uuid": str(other)})
    with pytest.raises(NotFoundError):
        await fixture.baremetal.ramdisk.lookup(f"{MAC},{second}", None)


async def test_a_heartbeat_wakes_the_job_that_waits(fixture: BaremetalFixture):
    node, boot, job = await booting(fixture)
    token = await token_of(fixture, node)
    beat = Heartbeat(callback_url=URL + "/", agent_token=token, agent_version="13.0.0")
    await fixture.baremetal.ramdisk.heartbeat(str(node), beat)
    heard = (await fixture.active(node)).inbox["heartbeat"]
    assert heard == {
        "boot": str(boot),
        "callback_url": URL,
        "agent_version": "13.0.0",
        "agent_verify_ca": None,
        "agent_status": None,
        "agent_status_message": None,
    }
    row = await fixture.row(node)
    assert (row["agent_url"], row["agent_version"]) == (URL, "13.0.0")
    assert row["agent_last_heartbeat"] is not None
    await fixture.end(job.id)
    await fixture.baremetal.ramdisk.heartbeat(str(node), beat)


@pytest.mark.parametrize("given", [None, "", "wrong", MASK, "\u00e9"])
async def test_a_heartbeat_without_the_boots_token_is_not_heard(
    fixture: BaremetalFixture, given: str | None
):
    node, _, _ = await booting(fixture)
    beat = Heartbeat(callback_url=URL, agent_token=given)
    with pytest.raises(InvalidInputError, match="token"):
        await fixture.baremetal.ramdisk.heartbeat(str(node), beat)
    await token_of(fixture, node)
    with pytest.raises(InvalidInputError, match="token"):
        await fixture.baremetal.ramdisk.heartbeat(str(node), beat)
    assert (await fixture.row(node))["agent_last_heartbeat"] is None
    assert (await fixture.active(node)).inbox == {}


async def test_a_token_opens_nothing_after_its_boot(fixture: BaremetalFixture):
    node, _, _ = await booting(fixture)
    token = await token_of(fixture, node)
    await fixture.set(node, agent_boot=uuid4(), agent_secret=None)
    await token_of(fixture, node)
    beat = Heartbeat(callback_url=URL, agent_token=token)
    with pytest.raises(InvalidInputError, match="Invalid agent token"):
        await fixture.baremetal.ramdisk.heartbeat(str(node), beat)


async def test_a_heartbeat_for_no_node_says_so(fixture: BaremetalFixture):
    for ident in (str(uuid4()), "a-name"):
        with pytest.raises(NotFoundError):
            await fixture.baremetal.ramdisk.heartbeat(ident, Heartbeat(callback_url=URL))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://10.0.0.7",
        "http://",
        "file:///etc/passwd",
        "http://user:pw@10.0.0.7",
        "http://10.0.0.7/v1/nodes",
        "http://10.0.0.7?x=1",
        "http://10.0.0.7#x",
        "http://10.0.0.7:99999",
        "http://[::1",
        "http://10.0.0.7\r\nX: y",
        "http://" + "a" * 600,
    ],
)
def test_commands_are_sent_to_plain_addresses_only(url: str):
    with pytest.raises(InvalidInputError, match="callback_url"):
        checked_callback(url)


@pytest.mark.parametrize("url", [URL, "https://[2001:db8::7]:9999", "http://node-7.example.org/"])
def test_a_plain_address_is_kept(url: str):
    assert checked_callback(url) == url.rstrip("/")
