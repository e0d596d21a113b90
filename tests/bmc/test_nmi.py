"""A non-maskable interrupt is sent as such, or refused; nothing else is sent in its place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.bmc.fakes import command
from tests.bmc.mockbmc import PASSWORD, RESET, USER, MockBmc, refuse

from holdfast.bmc.errors import BmcRefusedError
from holdfast.bmc.redfish import Redfish
from holdfast.bmc.settings import BmcSettings

SECRETS = {"username": USER, "password": PASSWORD}


@pytest.fixture
async def bmc() -> AsyncIterator[MockBmc]:
    async with MockBmc() as made:
        yield made


async def inject(bmc: MockBmc) -> dict[str, Any]:
    driver = Redfish(BmcSettings(allow_loopback=True), lambda _address, _made: None)
    try:
        sent = command(action="inject_nmi", params={}, address=bmc.url)
        return await driver.execute(sent, SECRETS)
    finally:
        await driver.close()


async def test_it_is_a_reset_of_its_own_kind(bmc):
    bmc.resets.append("Nmi")
    assert await inject(bmc) == {}
    assert bmc.changes() == [("POST", RESET)]
    assert {"ResetType": "Nmi"} in bmc.bodies


async def test_a_bmc_that_does_not_offer_it_is_sent_nothing(bmc):
    with pytest.raises(BmcRefusedError, match=r"'inject NMI'.*offers none"):
        await inject(bmc)
    assert bmc.changes() == []


async def test_a_refusal_is_told(bmc):
    bmc.resets.append("Nmi")
    bmc.twist = lambda r: refuse(409, "Not now") if r.path == RESET else None
    with pytest.raises(BmcRefusedError, match="Not now"):
        await inject(bmc)
