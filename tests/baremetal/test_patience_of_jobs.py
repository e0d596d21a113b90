"""How long jobs try again, at whose expense: an operator who waits, or a deployment.

The node is locked meanwhile, so what only its operator can mend ends soon; what passes
by itself (a gateway that is started anew, a rack without power) is waited for.
"""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from tests.baremetal.jobs_rig import Rig
from tests.baremetal.test_jobs import KINDS

from holdfast.baremetal.jobs.settings import ProvisioningSettings
from holdfast.bmc.errors import BmcAuthError, BmcUnreachableError, GatewayUnavailableError
from holdfast.store.model import JobState

# Defaults: a minute for what an operator asks for, five for a deployment.
PATIENT = ProvisioningSettings(callback_timeout_s=1000)
OPERATORS = [
    "node.verify", "node.adopt", "node.power", "node.boot_device", "node.media", "node.inject_nmi",
]  # fmt: skip


@pytest.mark.parametrize("fails_after_s", [0.0, 5.0, 60.0])
@pytest.mark.parametrize("kind", OPERATORS)
def test_a_silent_bmc_frees_its_node_in_about_a_minute_and_the_error_says_what_to_do(
    kind: str, fails_after_s: float
) -> None:
    rig = Rig(settings=PATIENT, **KINDS[kind]["node"])
    rig.machine.unreachable, rig.machine.fails_after_s = 10**6, fails_after_s
    rig.machine.fault = BmcUnreachableError("The BMC at http://10.9.9.9 cannot be reached.")
    job = rig.run(kind, KINDS[kind].get("args"))
    assert job.state is JobState.FAILED
    assert rig.loop.time() < 75
    assert "http://10.9.9.9 cannot be reached" in rig.document["last_error"]
    assert "Check redfish_address in driver_info" in rig.document["last_error"]


@pytest.mark.parametrize("kind", ["node.verify", "node.power"])
def test_a_gateway_that_is_away_is_waited_for_as_it_is_not_the_operators_to_mend(kind: str) -> None:
    async def back(rig: Rig, job: UUID) -> None:
        await asyncio.sleep(200)
        rig.machine.unreachable = 0

    rig = Rig(settings=PATIENT, **KINDS[kind]["node"])
    rig.machine.unreachable = 10**6
    rig.machine.fault = GatewayUnavailableError("The BMC gateway does not answer.")
    assert rig.run(kind, KINDS[kind].get("args"), meanwhile=back).state is JobState.SUCCEEDED


def test_a_silent_bmc_has_its_full_minute_after_the_gateway_came_back() -> None:
    async def back(rig: Rig, job: UUID) -> None:
        await asyncio.sleep(100)
        rig.machine.fault = BmcUnreachableError("connection refused")
        await asyncio.sleep(40)
        rig.machine.unreachable = 0

    rig = Rig(settings=PATIENT, provision_state="verifying")
    rig.machine.unreachable = 10**6
    rig.machine.fault = GatewayUnavailableError("The BMC gateway does not answer.")
    assert rig.run("node.verify", meanwhile=back).state is JobState.SUCCEEDED


@pytest.mark.parametrize("kind", OPERATORS)
def test_refused_credentials_fail_at_once(kind: str) -> None:
    rig = Rig(settings=PATIENT, **KINDS[kind]["node"])
    rig.machine.unreachable = 10**6
    rig.machine.fault = BmcAuthError("The BMC refuses the login of user root.")
    rig.run(kind, KINDS[kind].get("args"))
    assert "refuses the login of user root" in rig.document["last_error"]
    assert rig.loop.time() < 1


def test_a_verification_that_still_tries_can_be_aborted_to_correct_the_address() -> None:
    async def abort(rig: Rig, job: UUID) -> None:
        await asyncio.sleep(20)
        assert await rig.store.cancel(job)

    rig = Rig(settings=PATIENT, provision_state="verifying")
    rig.machine.unreachable = 10**6
    rig.run("node.verify", meanwhile=abort)
    assert rig.document["provision_state"] == "enroll"
    assert rig.loop.time() < 22


def test_a_deployment_outlives_bmcs_that_are_away_for_some_minutes() -> None:
    async def away(rig: Rig, job: UUID) -> None:
        await asyncio.sleep(1)
        rig.machine.unreachable = 10**6
        await asyncio.sleep(240)
        rig.machine.unreachable = 0

    rig = Rig(settings=PATIENT, provision_state="deploying")
    assert rig.run("node.deploy", meanwhile=away).state is JobState.SUCCEEDED
    assert rig.loop.time() > 240


def test_troubles_that_passed_do_not_count_against_later_ones() -> None:
    """A step that looks again and again may be in trouble twice, however far apart."""

    async def blips(rig: Rig, job: UUID) -> None:
        for _ in range(2):
            await asyncio.sleep(10)
            rig.machine.unreachable = 1
            await asyncio.sleep(30)
        rig.machine._set_power = set_power  # type: ignore[method-assign]
        set_power({"state": "power on"})

    rig = Rig(
        settings=ProvisioningSettings(retry_s=20, power_reissue_s=1000), provision_state="active"
    )
    set_power = rig.machine._set_power
    rig.machine._set_power = lambda params: None  # type: ignore[method-assign]
    job = rig.run("node.power", {"target": "power on"}, meanwhile=blips)
    assert job.error is None
