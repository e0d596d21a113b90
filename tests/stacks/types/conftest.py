"""Bare metal on a real PostgreSQL, for the types that reach it."""

from __future__ import annotations

import pytest
from tests.baremetal.conftest import (  # noqa: F401
    baremetal,
    database_url,
    db,
    fixture,
    store,
    vault,
)
from tests.baremetal.people import BaremetalFixture
from tests.stacks.types.machines import Machines


@pytest.fixture
def machines(fixture: BaremetalFixture) -> Machines:  # noqa: F811
    return Machines(fixture)
