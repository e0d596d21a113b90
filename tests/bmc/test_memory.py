from __future__ import annotations

import asyncio
import shutil
from uuid import UUID

import pytest

from holdfast.bmc import memory
from holdfast.bmc.errors import GateStateError, SealBrokenError
from holdfast.bmc.gate import Mark
from holdfast.bmc.memory import ID_SUFFIX, STATE_FILE, SqliteMemory
from holdfast.bmc.sealing import seal

BMC = UUID(int=7)


@pytest.fixture(autouse=True)
def no_waiting_for_locks(monkeypatch):
    monkeypatch.setattr(memory, "LOCK_WAIT_S", 0.0)


async def test_marks_and_identity_survive_a_restart(tmp_path):
    first = SqliteMemory(tmp_path)
    identity, marks = await first.load()
    assert marks == {}
    await first.record(BMC, 3, 9)
    await first.close()
    second = SqliteMemory(tmp_path)
    assert await second.load() == (identity, {BMC: Mark(3, 9)})
    assert second.unseal(seal({"a": 1}, identity.public_key, b"x"), b"x") == {"a": 1}
    await second.close()


async def test_a_mark_never_falls_whatever_order_records_arrive_in(tmp_path):
    some = SqliteMemory(tmp_path)
    await some.load()
    await some.record(BMC, 3, 9)
    await asyncio.gather(*(some.record(BMC, 2, token) for token in (8, 12, 4)))
    await some.close()
    again = SqliteMemory(tmp_path)
    _, marks = await again.load()
    assert marks == {BMC: Mark(3, 12)}
    await again.close()


async def test_records_that_arrive_during_a_commit_share_the_next_one(tmp_path):
    some = SqliteMemory(tmp_path)
    await some.load()
    batches: list[int] = []
    commit = some._commit

    def counted(rows):
        batches.append(len(rows))
        commit(rows)

    some._commit = counted
    await asyncio.gather(*(some.record(UUID(int=number), 1, 1) for number in range(500)))
    assert sum(batches) == 500
    assert len(batches) <= 2
    await some.close()


async def test_a_lost_state_is_a_new_incarnation_of_the_same_gateway_with_a_new_key(tmp_path):
    first = SqliteMemory(tmp_path)
    before, _ = await first.load()
    await first.record(BMC, 3, 9)
    await first.close()
    for path in tmp_path.glob(f"{STATE_FILE}*"):
        path.unlink()
    second = SqliteMemory(tmp_path)
    after, marks = await second.load()
    assert marks == {}
    assert after.id == before.id
    assert after.incarnation != before.incarnation
    assert after.public_key != before.public_key
    with pytest.raises(SealBrokenError):
        second.unseal(seal({"a": 1}, before.public_key, b"x"), b"x")
    await second.close()


async def test_two_gateways_cannot_share_one_state(tmp_path):
    first, second = SqliteMemory(tmp_path), SqliteMemory(tmp_path)
    await first.load()
    with pytest.raises(GateStateError, match="another gateway"):
        await second.load()
    await second.close()
    await first.record(BMC, 1, 1)
    await first.close()


async def test_a_damaged_state_is_refused_and_not_replaced(tmp_path):
    (tmp_path / STATE_FILE).write_bytes(b"no database " * 1000)
    some = SqliteMemory(tmp_path)
    with pytest.raises(GateStateError, match="move it away"):
        await some.load()
    await some.close()
    assert (tmp_path / STATE_FILE).read_bytes().startswith(b"no database")


async def test_a_disk_that_refuses_is_an_os_error_and_later_records_work(tmp_path):
    some = SqliteMemory(tmp_path)
    await some.load()
    connection, some._connection = some._connection, None
    with pytest.raises(OSError, match="closed"):
        await some.record(BMC, 1, 1)
    some._connection = connection
    await some.record(BMC, 1, 1)
    await some.close()


async def test_the_state_is_readable_by_its_owner_only(tmp_path):
    folder = tmp_path / "state"
    some = SqliteMemory(folder)
    await some.load()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / STATE_FILE).stat().st_mode & 0o777 == 0o600
    assert UUID(folder.with_suffix(ID_SUFFIX).read_text().strip())
    await some.close()
    shutil.rmtree(folder)


async def test_a_gateway_that_loses_its_whole_state_is_still_the_same_gateway(tmp_path):
    folder = tmp_path / "gateway"
    identities = []
    for _ in range(2):
        some = SqliteMemory(folder)
        identities.append((await some.load())[0])
        await some.close()
        shutil.rmtree(folder)
    assert identities[0].id == identities[1].id
    assert identities[0].incarnation != identities[1].incarnation
