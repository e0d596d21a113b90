"""What a tenant gives a deployment reaches the agent in clear, and is nowhere else in clear.

From the API's verb over PostgreSQL, the conductor's runner, the dispatcher and a real
gateway to a machine (security.md: never in logs, jobs' arguments, events or error texts).
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs
from tests.baremetal.jobs_rig import MachineModel
from tests.baremetal.people import ADMIN, BaremetalFixture

from holdfast.baremetal.belongings import PgBelongings
from holdfast.baremetal.credentials import without
from holdfast.baremetal.jobs import handlers
from holdfast.baremetal.jobs.settings import ProvisioningSettings
from holdfast.baremetal.resources import DeployStep
from holdfast.baremetal.service.verbs import ProvisionRequest
from holdfast.bmc.commands import Command, Origin
from holdfast.bmc.dispatch import Dispatcher
from holdfast.bmc.gateway import GatewayCore
from holdfast.bmc.memory import SqliteMemory
from holdfast.core.lease import TrustWindow
from holdfast.core.runner import JobRunner
from holdfast.store.model import Job, MemberSpec, ObjectRef

DRIVE = "H4sIAAAAAAAAAconfigdriveOfATenantAAA"
PHRASE = "open sesame, it's 'me'"
SECRETS = (DRIVE, PHRASE)


class Clock:
    def now(self) -> float:
        return asyncio.get_running_loop().time()


class Device:
    """The far side of a gateway: a machine, and all that it was ever told."""

    def __init__(self, model: MachineModel) -> None:
        self.model = model
        self.commands: list[Command] = []

    async def execute(self, command: Command, secrets: dict[str, Any]) -> dict[str, Any]:
        self.commands.append(command)
        target, origin = command.target, Origin(member=uuid4(), epoch=command.token)
        obj = ObjectRef("node", command.bmc)
        return await self.model.send(
            obj, command.token, target, {}, command.action, command.params, origin, 1.0
        )


class Site:
    """A conductor and a gateway over one database, driven by hand."""

    def __init__(self, fixture: BaremetalFixture, core: GatewayCore, device: Device) -> None:
        self.fixture = fixture
        self.core = core
        self.device = device

    async def start(self) -> None:
        store = self.fixture.store
        spec = MemberSpec(id=uuid4(), role="conductor", slot="c", host="h")
        member = await store.register(spec, 60.0)
        await store.ensure_shards("", 8)
        await store.take("", list(range(8)), member.id, member.epoch)
        window = TrustWindow(Clock(), 600.0, 1.0)
        window.renewed(Clock().now())
        made = handlers(
            Dispatcher(store, self.core),
            self.fixture.vault,
            ProvisioningSettings(poll_s=0.05, callback_timeout_s=20, automated_clean=False),
            PgBelongings(self.fixture.db),
        )
        self.runner = JobRunner(store, member, window, Clock(), made, tuple, 10)

    async def call_back(self, node: UUID) -> None:
        row, job = await self.fixture.row(node), await self.fixture.active(node)
        payload = {"callback_url": "http://127.0.0.1:1", "boot": str(row["agent_boot"])}
        await self.fixture.store.signal(job.id, "heartbeat", payload)

    async def run(self, node: UUID) -> Job:
        """Run the node's job to its end, looking everywhere for secrets all the while."""
        job = await self.fixture.active(node)
        beating: list[asyncio.Task[None]] = []
        self.device.model.call_back = lambda: beating.append(
            asyncio.create_task(self.call_back(node))
        )
        async with asyncio.timeout(30):
            while not job.state.ended:
                await self.runner.poll()
                await asyncio.sleep(0.02)
                await self.nothing_in_clear()
                found = await self.fixture.store.job(job.id)
                assert found is not None
                job = found
        return job

    async def nothing_in_clear(self) -> None:
        """No row of any table has a secret, in any of the shapes it could be kept in."""
        db = self.fixture.db
        tables = await db.fetch(
            "select table_name from information_schema.tables where table_schema = 'public'"
        )
        for table in tables:
            name = table["table_name"]
            text = await db.fetchval(f"select string_agg(t::text, ' ') from {name} t") or ""
            refuse_secrets(text, name)


def refuse_secrets(text: str, where: str) -> None:
    for secret in SECRETS:
        plain = secret.encode()
        for shape in (secret, plain.hex(), base64.b64encode(plain).decode()[:-4]):
            assert shape not in text.replace('\\"', '"'), f"{secret} is in {where}"


@pytest.fixture
async def site(
    fixture: BaremetalFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Site]:
    monkeypatch.setattr("tests.baremetal.jobs_rig.BOOT_S", 0.05)
    monkeypatch.setattr("holdfast.baremetal.jobs.machine.QUICK_LOOKS_S", (0.01,))
    memory = SqliteMemory(tmp_path)
    device = Device(MachineModel(asyncio.get_running_loop()))
    core = await GatewayCore.open(memory=memory, device=device, unseal=memory.unseal)
    made = Site(fixture, core, device)
    await made.start()
    yield made
    await made.runner.stop()
    await core.close(1.0)
    await memory.close()
    for file in tmp_path.rglob("*"):
        if file.is_file():
            refuse_secrets(file.read_bytes().decode("latin-1"), file.name)


async def deploy(site: Site) -> UUID:
    node = await site.fixture.node(
        state="available",
        driver_info={"redfish_address": "http://127.0.0.1:1", "redfish_password": "hush"},
        instance_info={"image_source": "http://i"},
    )
    step = DeployStep(
        interface="deploy",
        step="burnin",
        args={"hours": 1, "loops": [{"phrase": PHRASE}]},
        priority=85,
    )
    asked = ProvisionRequest(target="active", configdrive=DRIVE, deploy_steps=[step])
    await site.fixture.baremetal.verbs.provision(ADMIN, str(node), asked)
    return node


async def test_secrets_of_a_deployment_reach_the_agent_and_nobody_else(site: Site) -> None:
    with capture_logs() as logs:
        node = await deploy(site)
        row = await site.fixture.row(node)
        assert row["instance_secrets"] is not None
        assert row["step_secrets"] is not None
        job = await site.run(node)
        assert job.error is None
        assert job.args["deploy_steps"][0]["args"] == {"hours": "******", "loops": "******"}
        assert job.args["configdrive"] is True
        model = site.device.model
        assert model.executed == ["write_image", "burnin", "install"]
        assert model.arguments[1] == {"hours": 1, "loops": [{"phrase": PHRASE}]}
        assert {told["instance_info"]["configdrive"] for told in model.told} == {DRIVE}
        assert (await site.fixture.row(node))["step_secrets"] is None

        undeploy = ProvisionRequest(target="deleted")
        await site.fixture.baremetal.verbs.provision(ADMIN, str(node), undeploy)
        assert (await site.run(node)).error is None
    row = await site.fixture.row(node)
    assert (row["instance_info"], row["instance_secrets"]) == ({}, None)
    refuse_secrets(repr(logs), "the logs")


async def test_an_agent_that_repeats_its_secrets_does_not_make_them_known(site: Site) -> None:
    site.device.model.failing_step = "burnin"
    with capture_logs() as logs:
        node = await deploy(site)
        job = await site.run(node)
    assert job.error is not None
    assert "burnin" in job.error.message
    assert "******" in job.error.message
    row = await site.fixture.row(node)
    assert row["provision_state"] == "deploy failed"
    assert row["step_secrets"] is None
    refuse_secrets(row["last_error"] + repr(logs), "errors and logs")


async def test_only_the_same_arguments_are_the_same_request(site: Site) -> None:
    from holdfast.baremetal.errors import InvalidTransitionError

    node = await site.fixture.node(state="available")
    verbs = site.fixture.baremetal.verbs

    async def ask(phrase: str) -> None:
        step = DeployStep(interface="deploy", step="s", args={"phrase": phrase}, priority=1)
        await verbs.provision(
            ADMIN, str(node), ProvisionRequest(target="active", deploy_steps=[step])
        )

    await ask(PHRASE)
    await ask(PHRASE)
    with pytest.raises(InvalidTransitionError):
        await ask("another")
    assert len(await site.fixture.store.jobs()) == 1


@pytest.mark.parametrize(
    ("said", "masked"),
    [
        ("no route to 10.0.0.1", "no route to 10.0.0.1"),
        (f"bad drive {DRIVE}, says the disk", "bad drive ******, says the disk"),
        (f"bad drive {DRIVE[:20]}", "bad drive ******"),  # cut off on its way
        (f"cannot: { {'phrase': PHRASE} }", "cannot: {'phrase': \"******\"}"),
    ],
)
def test_words_of_a_stranger_lose_the_secrets_in_them(said: str, masked: str) -> None:
    assert without(said, [{"drive": DRIVE, "list": [1, None, [PHRASE, "to"]]}]) == masked
