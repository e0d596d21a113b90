"""Lives that go on in the background, beside the tests that do not have to wait.

The CLI's ``--wait`` looks every ten seconds, and sushy-tools takes up to eleven for each
change of power: one after the other the lives would take minutes of doing nothing.
"""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from tests.compat.baremetal.lives import sdk_life, short_cli_life, whole_cli_life
from tests.compat.clients import Client
from tests.compat.machines import Fleet, Sushy
from tests.compat.system import System

Lives = dict[str, Future[Any]]


@pytest.fixture(scope="session")
def client(system: System) -> Client:
    """The admin, straight to ``holdfast up``."""
    return Client(system.clouds)


@pytest.fixture(scope="session", autouse=True)
def lives(
    request: pytest.FixtureRequest, client: Client, fleet: Fleet, sushy: Sushy
) -> Generator[Lives]:
    """By the name of the test that asks for it; only what this run will ask for is begun."""
    real, emulated = list(fleet.machines()), list(sushy.machines())
    known = {
        "test_the_cli_on_the_fleet": partial(whole_cli_life, client, "cli-fleet", real[0]),
        "test_the_cli_on_sushy_tools": partial(short_cli_life, client, "cli-sushy", emulated[0]),
        "test_the_sdk_on_sushy_tools": partial(
            sdk_life, client, "sdk-sushy", emulated[1], whole=False
        ),
    }
    wanted = {item.name for item in request.session.items}
    with ThreadPoolExecutor() as pool:
        yield {name: pool.submit(life) for name, life in known.items() if name in wanted}


@pytest.fixture
def life(request: pytest.FixtureRequest, lives: Lives) -> Future[Any]:
    """The life that the test of this name asks for."""
    return lives[request.node.name]
