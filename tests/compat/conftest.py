"""One running Holdfast for all compatibility tests, and the machines to be provisioned by it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.compat.clients import WHOLE
from tests.compat.coverage import Coverage
from tests.compat.machines import Fleet, Sushy
from tests.compat.programs import stop_all
from tests.compat.system import Balancer, System

SUSHY_MACHINES = 2
FLEET_MACHINES = 8


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Coverage(write=WHOLE), "holdfast-coverage")


@pytest.fixture(scope="session")
def folder(request: pytest.FixtureRequest) -> Generator[Path]:
    """Everything these tests write, kept if one fails; short, as Unix sockets lie below it."""
    path = Path(tempfile.mkdtemp(prefix="hf-compat-"))
    path.chmod(0o711)  # the embedded database may run as another user
    yield path
    stop_all()
    if request.session.testsfailed:
        print(f"the logs are kept in {path}")  # noqa: T201
    else:
        shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="session")
def system(folder: Path, request: pytest.FixtureRequest) -> Generator[System]:
    """``holdfast up``."""
    system = System(folder)
    yield system
    system.stop()
    coverage = request.config.pluginmanager.get_plugin("holdfast-coverage")
    assert isinstance(coverage, Coverage)
    coverage.read(system)
    assert coverage.crashes() == []


@pytest.fixture(scope="session")
def fleet(folder: Path, system: System) -> Generator[Fleet]:
    """Simulated machines."""
    fleet = Fleet(folder, system.baremetal_url, count=FLEET_MACHINES)
    yield fleet
    fleet.stop()
    fleet.assert_no_double_command()


@pytest.fixture(scope="session")
def sushy(folder: Path, system: System) -> Generator[Sushy]:
    """sushy-tools' emulator."""
    sushy = Sushy(folder, system.baremetal_url, count=SUSHY_MACHINES)
    yield sushy
    sushy.stop()


@pytest.fixture(scope="session")
def balancer(folder: Path, system: System) -> Generator[Balancer]:
    """HAProxy before two more API processes."""
    balancer = Balancer(system, folder)
    yield balancer
    balancer.stop()
