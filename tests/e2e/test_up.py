"""``holdfast up``: the whole system of a host, as its user meets it."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator

import aiohttp
import pytest
from tests.e2e.running import Running

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def system() -> Iterator[Running]:
    running = Running()
    running.start()
    yield running
    running.close()
    shutil.rmtree(running.folder, ignore_errors=True)


@pytest.fixture
async def up(system: Running) -> Running:
    await system.until("Ctrl-C drains and stops")
    return system


async def test_it_starts_and_says_how_to_log_in(up: Running):
    clouds = up.folder / "data" / "clouds.yaml"
    assert f"export OS_CLIENT_CONFIG_FILE={clouds}" in up.text()
    assert "password" in up.text()
    for secret in ("clouds.yaml", "master.key", "gateway.secret"):
        assert (up.folder / "data" / secret).stat().st_mode & 0o077 == 0


async def test_the_commands_show_it(up: Running):
    status = up.ask("status")
    roles = sorted(member["role"] for member in status["members"])
    assert roles == ["api", "api", "conductor", "conductor", "engine", "engine"]
    assert any("not HA: all conductors run on one host" in w for w in status["warnings"])  # I7
    ring = up.ask("ring")["rings"][0]
    assert ring["unowned_shards"] == 0
    for command in ("status", "members", "ring", "owners", "jobs"):
        assert up.run(command).returncode == 0
    refused = up.run("why", "nobody")
    assert (refused.returncode, "there is no node nobody" in refused.stderr) == (1, True)


async def test_a_second_supervisor_on_the_same_directory_is_refused(up: Running):
    refused = up.run("up")
    assert refused.returncode == 1
    assert "another `holdfast up` (process " in refused.stderr


async def test_all_figures_of_the_host_are_on_one_page(up: Running):
    url = f"{up.host_url}/metrics"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        page = await response.text()
    for sample in (
        'holdfast_shards_held{slot="conductor-1"}',
        'holdfast_child_up{slot="postgres"} 1.0',
        'slot="gateway"',
        'slot="api-2"',
    ):
        assert sample in page


async def test_a_killed_conductors_lease_ends_with_it(up: Running):
    before = {m["slot"]: m["epoch"] for m in up.ask("members")["members"]}
    os.kill(up.pid("conductor-1"), signal.SIGKILL)
    await up.until(r"conductor-1: its lease was ended \d+ ms after its death")
    await up.until_true(
        lambda: any(
            m["slot"] == "conductor-1" and m["epoch"] > before["conductor-1"]
            for m in up.ask("members")["members"]
        ),
        "conductor-1 is a new incarnation",
    )


async def test_a_killed_database_comes_back_and_work_goes_on(up: Running):
    os.kill(up.pid("postgres"), signal.SIGKILL)
    await up.until(r"postgres: started", count=2)
    await up.until_true(lambda: up.run("status").returncode == 0, "the API answers again")
    await up.until_true(
        lambda: up.ask("ring")["rings"][0]["unowned_shards"] == 0, "all shards are owned"
    )


async def test_a_drained_conductor_hands_over_and_stays_down_until_wanted(up: Running):
    assert up.run("drain", "conductor-2").returncode == 0
    await up.until("conductor-2: drained")
    ring = up.ask("ring")["rings"][0]
    assert [(m["slot"], m["shards"]) for m in ring["members"]] == [("conductor-1", 1024)]
    started = up.text().count("conductor-2: started")
    up.signal(signal.SIGHUP)
    await up.until("conductor-2: started", count=started + 1)


async def test_term_drains_all_of_it_in_order_and_leaves_nothing_behind(up: Running):
    up.signal(signal.SIGTERM)
    assert up.wait() == 0
    text = up.text()
    order = [text.rindex(f"{slot}: stopped") for slot in ("conductor-1", "api-1", "rack-1")]
    assert order == sorted(order)
    assert text.rindex("postgres: stopped (exited with status 0)") > order[-1]
    assert up.processes() == []


async def test_a_second_start_does_not_show_the_password_again(system: Running):
    shown = system.text().count("shown only now")
    system.start()
    await system.until("Ctrl-C drains and stops", count=2)
    assert system.text().count("shown only now") == shown == 1
    system.signal(signal.SIGKILL)  # and whatever it ran dies with it
    system.wait()
    system.process = None
    await system.until_true(lambda: system.processes() == [], "no process is left")
