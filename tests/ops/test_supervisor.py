"""The supervisor with tiny children: restarts, obituaries, draining order."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

from holdfast.errors import ConfigError, StoreUnavailableError
from holdfast.ops.children import Launch
from holdfast.ops.obituaries import Obituaries
from holdfast.ops.settings import SupervisorSettings
from holdfast.ops.supervisor import ChildSpec, Supervisor, trim_log

MEMBER = UUID("7c3a57f4-0fd4-4fd0-9b30-3c1b5d5ac0de")
FAST = SupervisorSettings(backoff_min_s=0.01, backoff_max_s=0.05, stop_s=5)

REPORT = (
    "import os, sys, signal, json, time;"
    "w = lambda e: os.write(int(os.environ['HOLDFAST_REPORT_FD']),"
    f" (json.dumps({{'member': '{MEMBER}', 'epoch': e}}) + chr(10)).encode());"
)
WAIT = "signal.pause()"


class Registry:
    """Stands for the store: takes obituaries, perhaps only from the n-th try."""

    def __init__(self, refuse: int = 0) -> None:
        self.refuse = refuse
        self.ended: list[tuple[UUID, int, str]] = []
        self.changed = asyncio.Event()

    async def end_lease(self, member: UUID, epoch: int, reason: str) -> bool:
        if self.refuse > 0:
            self.refuse -= 1
            raise StoreUnavailableError("away")
        self.ended.append((member, epoch, reason))
        self.changed.set()
        return True


class Lines:
    """The announcements, and a way to wait for one."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._changed = asyncio.Event()

    def __call__(self, line: str) -> None:
        self.seen.append(line)
        self._changed.set()

    async def until(self, condition: Callable[[list[str]], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition(self.seen):
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def supervised(
    *specs: ChildSpec, registry: Registry | None = None
) -> AsyncIterator[tuple[Supervisor, Lines, Registry]]:
    lines, registry = Lines(), registry or Registry()
    supervisor = Supervisor(specs, FAST, Obituaries(registry.end_lease, lines), lines)
    supervisor.start()
    try:
        yield supervisor, lines, registry
    finally:
        await supervisor.kill()


def child(folder: Path, code: str, slot: str = "conductor-1", stage: int = 0) -> ChildSpec:
    async def launch() -> Launch:
        return Launch(argv=(sys.executable, "-c", REPORT + code), env=dict(os.environ))

    return ChildSpec(
        slot=slot,
        role="conductor",
        launch=launch,
        output=folder / f"{slot}.log",
        stop_stage=stage,
    )


async def written(path: Path) -> str:
    """The file's text once a child has written it."""
    async with asyncio.timeout(20):
        while not path.exists() or not path.read_text().endswith("\n"):
            await asyncio.sleep(0.005)
    return path.read_text().strip()


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


async def test_a_killed_childs_lease_is_ended_and_it_is_started_again(tmp_path: Path):
    flag = tmp_path / "up"
    code = f"w(41); w(42); open({str(flag)!r}, 'w').write(f'{{os.getpid()}}\\n'); {WAIT}"
    async with supervised(child(tmp_path, code)) as (supervisor, lines, registry):
        pid = int(await written(flag))
        assert supervisor.status()[0].pid == pid
        os.kill(pid, signal.SIGKILL)
        await lines.until(lambda seen: sum("started (" in line for line in seen) == 2)
        await asyncio.wait_for(registry.changed.wait(), 5)
        # The last incarnation counts; the earlier one ended when it was replaced.
        assert registry.ended == [(MEMBER, 42, "obituary: killed by signal 9 (SIGKILL)")]
        assert supervisor.status()[0].restarts == 1


async def test_an_obituary_waits_for_the_death_of_every_descendant(tmp_path: Path):
    flag = tmp_path / "grandchild"
    grandchild = (
        "import os, signal; os.setpgid(0, 0); signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"open({str(flag)!r}, 'w').write(str(os.getpid()) + chr(10)); signal.pause()"
    )
    start = f"import subprocess; subprocess.Popen([sys.executable, '-c', {grandchild!r}]);"
    code = f"{start} w(7); {WAIT}"
    async with supervised(child(tmp_path, code)) as (supervisor, _, registry):
        orphan = int(await written(flag))
        pid = supervisor.status()[0].pid
        assert pid is not None
        states: list[bool] = []
        end_lease = registry.end_lease

        async def watch(member: UUID, epoch: int, reason: str) -> bool:
            states.append(alive(orphan))
            return await end_lease(member, epoch, reason)

        supervisor._obituaries._end_lease = watch  # pyright: ignore[reportPrivateUsage]
        os.kill(pid, signal.SIGKILL)
        await asyncio.wait_for(registry.changed.wait(), 5)
        assert states == [False]


async def test_a_child_dies_with_its_supervisor(tmp_path: Path):
    """No orphan goes on without anybody who could report its death."""
    flag = tmp_path / "up"
    code = f"import signal; open({str(flag)!r}, 'w').write(f'{{os.getpid()}}\\n'); {WAIT}"
    parent = (
        "import asyncio, os, sys; from pathlib import Path;"
        "from holdfast.ops.children import Child, Launch;"
        f"argv = (sys.executable, '-c', {('import os;' + code)!r});"
        f"child = Child(Launch(argv=argv, env=dict(os.environ)), Path({str(tmp_path / 'log')!r}));"
        "sys.stdin.read()"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", parent, stdin=asyncio.subprocess.PIPE
    )
    orphan = int(await written(flag))
    process.kill()
    await process.wait()
    async with asyncio.timeout(5):
        while alive(orphan):
            await asyncio.sleep(0.005)


async def test_a_child_that_cannot_be_started_is_tried_again(tmp_path: Path):
    async def launch() -> Launch:
        raise ConfigError("no program")

    spec = ChildSpec(slot="postgres", role="postgres", launch=launch, output=tmp_path / "log")
    async with supervised(spec) as (_, lines, _):
        await lines.until(lambda seen: len(seen) >= 2)
        assert "could not be started: no program; started again" in lines.seen[1]


async def test_an_obituary_is_kept_while_the_database_is_away(tmp_path: Path):
    registry = Registry(refuse=3)
    code = "w(1); print('what went wrong'); sys.exit(3)"
    async with supervised(child(tmp_path, code), registry=registry) as (_, lines, _):
        await lines.until(lambda seen: any("lease was ended" in line for line in seen))
        assert registry.ended[0][1:] == (1, "obituary: exited with status 3")
        [line] = [line for line in lines.seen if "again in 0.01 s" in line]
        assert "exited with status 3, its log ending in: what went wrong; started again" in line


async def test_a_child_that_dies_at_once_is_started_ever_more_slowly(tmp_path: Path):
    async with supervised(child(tmp_path, "sys.exit(1)")) as (_, lines, _):
        await lines.until(lambda seen: any("again in 0.05 s" in line for line in seen))
        pauses = [line.split("again in ")[1].split()[0] for line in lines.seen if "again" in line]
        assert pauses[:4] == ["0.01", "0.02", "0.04", "0.05"]


async def test_a_child_that_drained_stays_down_until_it_is_wanted_again(tmp_path: Path):
    async with supervised(child(tmp_path, "w(5); sys.exit(0)")) as (supervisor, lines, _):
        await lines.until(lambda seen: any("drained" in line for line in seen))
        assert supervisor.status()[0].pid is None
        supervisor.resume()
        await lines.until(lambda seen: sum("started (" in line for line in seen) == 2)


async def test_stages_drain_one_after_the_other(tmp_path: Path):
    order = tmp_path / "order"

    def drains(slot: str) -> str:
        return (
            f"f = lambda *_: (open({str(order)!r}, 'a').write('{slot} '), sys.exit(0));"
            f"signal.signal(signal.SIGTERM, f);"
            f"open({str(tmp_path / slot)!r}, 'w').write('up' + chr(10)); {WAIT}"
        )

    stages = {"rack-1": 2, "conductor-1": 0, "api-1": 1}
    specs = [child(tmp_path, drains(slot), slot, stage) for slot, stage in stages.items()]
    async with supervised(*specs) as (supervisor, lines, _):
        for slot in stages:
            await written(tmp_path / slot)
        await supervisor.stop()
        assert order.read_text().split() == ["conductor-1", "api-1", "rack-1"]
        assert "rack-1: stopped (exited with status 0)" in lines.seen


async def test_a_child_that_does_not_drain_is_killed(tmp_path: Path):
    flag = tmp_path / "up"
    code = (
        "signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"open({str(flag)!r}, 'w').write('up' + chr(10));"
        "signal.pause()"
    )
    lines = Lines()
    settings = SupervisorSettings(stop_s=0.05)
    obituaries = Obituaries(Registry().end_lease, lines)
    supervisor = Supervisor([child(tmp_path, code)], settings, obituaries, lines)
    supervisor.start()
    await written(flag)
    await supervisor.stop()
    assert "conductor-1: stopped (killed by signal 9 (SIGKILL))" in lines.seen


def test_a_log_that_grew_too_large_is_moved_aside(tmp_path: Path):
    path = tmp_path / "api-1.log"
    with path.open("ab") as writer:
        writer.write(b"x" * 2000)
        writer.flush()
        trim_log(path, 1000)
        writer.write(b"new")
    assert path.read_bytes() == b"new"
    assert (tmp_path / "api-1.log.1").stat().st_size == 2000
