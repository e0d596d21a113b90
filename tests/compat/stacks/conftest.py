"""Who drives the Orchestration API."""

from __future__ import annotations

import pytest
from tests.compat.clients import Client
from tests.compat.system import System


@pytest.fixture(scope="session")
def client(system: System) -> Client:
    """The admin, straight to ``holdfast up``."""
    return Client(system.clouds)
