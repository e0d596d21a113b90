"""The master key is changed under a running system: nothing is lost, nobody is locked out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from tests.database import fresh_database_url  # noqa: F401

from holdfast.baremetal.credentials import decrypt_driver_secrets, encrypt_driver_secrets
from holdfast.baremetal.models import KINDS
from holdfast.errors import ConfigError, StoreUnavailableError
from holdfast.ops.keys import SEALED, KeyReporter, KeysNotFollowedError, Rotation, token_key
from holdfast.store.events import EventFilter
from holdfast.store.keyring import MASTER_KEY_VARIABLE, Keyring, LiveVault, MasterKeys, id_of
from holdfast.store.model import Member, MemberSpec
from holdfast.store.pg.database import Database
from holdfast.store.pg.events import PgEvents
from holdfast.store.pg.keys import KeyReport, PgKeys
from holdfast.store.pg.store import PgStore
from holdfast.store.secrets import SecretError, Vault

OLD = bytes(range(32))

# bytea columns that hold no sealed secret: keyed hashes.
NOT_SEALED = {("token", "hash")}


class Process:
    """A member with a keyring of its own file, as on a host of its own."""

    def __init__(self, db: Database, member: Member, keyring: Keyring) -> None:
        self.keyring = keyring
        self.vault = LiveVault(keyring)
        self.reporter = KeyReporter(db, keyring, lambda: member)


class House:
    """A database with nodes, and processes that share one keyring file."""

    def __init__(self, db: Database, folder: Path) -> None:
        self.db = db
        self.folder = folder
        self.keys = PgKeys(db, SEALED)
        self.store = PgStore(db, KINDS)
        self.said: list[str] = []
        self.processes: list[Process] = []
        self.keyring = self.ring("host-1")

    def ring(self, host: str) -> Keyring:
        path = self.folder / host
        if not path.exists():
            path.write_text(OLD.hex())
            path.chmod(0o600)
        return Keyring(path, {})

    async def process(self, slot: str, host: str = "host-1") -> Process:
        spec = MemberSpec(id=uuid4(), role="conductor", slot=slot, host=host)
        made = Process(self.db, await self.store.register(spec, 60.0), self.ring(host))
        await made.reporter.look()
        self.processes.append(made)
        return made

    async def node(self, vault: LiveVault | Vault, password: str = "calvin") -> UUID:
        uuid = uuid4()
        sealed = encrypt_driver_secrets(vault, uuid, {"redfish_password": password})
        await self.db.execute(
            "insert into node (uuid, shard, driver, driver_secrets) values ($1, 0, 'redfish', $2)",
            uuid,
            sealed,
        )
        return uuid

    async def password(self, uuid: UUID, vault: LiveVault | Vault) -> str:
        blob = await self.db.fetchval("select driver_secrets from node where uuid = $1", uuid)
        return decrypt_driver_secrets(vault, uuid, blob)["redfish_password"]

    async def pause(self, seconds: float) -> None:
        """Time passes, in which every process looks at its keyring."""
        for process in self.processes:
            await process.reporter.look()

    def rotation(self, keyring: Keyring | None = None, wait_s: float = 10.0) -> Rotation:
        return Rotation(
            keyring or self.keyring, self.keys, self.said.append, wait_s=wait_s, pause=self.pause
        )


@pytest.fixture
async def house(fresh_database_url: str, tmp_path: Path) -> AsyncGenerator[House]:  # noqa: F811
    async with await Database.open(fresh_database_url) as db:
        yield House(db, tmp_path)


async def test_every_secret_is_sealed_by_the_new_key_and_still_opens(house: House):
    process = await house.process("conductor-1")
    nodes = [await house.node(process.vault, f"password {n}") for n in range(450)]
    key = await token_key(house.db, process.vault)
    done = await house.rotation().run()
    assert (done.moved, done.unreadable, done.retired) == (451, 0, [id_of(OLD)])
    now = house.keyring.keys()
    assert now.retired == ()
    assert now.current != OLD
    assert await house.keys.counts() == {id_of(now.current): 451}
    for n in (0, 449):
        assert await house.password(nodes[n], process.vault) == f"password {n}"
        with pytest.raises(SecretError):
            await house.password(nodes[n], Vault(OLD))
    assert await token_key(house.db, process.vault) == key  # tokens outlive the rotation
    page = await PgEvents(house.db).events(None, 100, EventFilter(kinds=("audit.master_key.*",)))
    assert [event.kind.rpartition(".")[2] for event in page.events] == ["begin", "end"]
    assert page.events[1].data["retired"] == [id_of(OLD)]


async def test_nobody_seals_with_a_key_that_another_process_cannot_open(house: House):
    here = await house.process("conductor-1")
    away = await house.process("conductor-2", "host-2")
    node = await house.node(here.vault)
    with pytest.raises(KeysNotFollowedError, match="host-2: conductor-2"):
        await house.rotation().run()
    assert house.keyring.keys().current == OLD
    assert house.keyring.keys().staged is not None
    # What is sealed meanwhile opens on both hosts.
    assert await house.password(await house.node(here.vault), away.vault) == "calvin"
    assert await house.password(node, away.vault) == "calvin"


async def test_a_rotation_over_hosts_goes_on_from_where_it_waited(house: House):
    here = await house.process("conductor-1")
    away = await house.process("conductor-2", "host-2")
    nodes = [await house.node(here.vault) for _ in range(3)]

    def copy() -> None:
        away.keyring.write(house.keyring.keys())

    with pytest.raises(KeysNotFollowedError):
        await house.rotation().run()
    staged = house.keyring.keys().staged
    copy()
    with pytest.raises(KeysNotFollowedError):  # promoted here, still old there
        await house.rotation().run()
    assert house.keyring.keys().current == staged
    # The other host still seals with the old key; both open what the other sealed.
    late = await house.node(away.vault)
    assert await house.password(late, here.vault) == "calvin"
    assert await house.password(nodes[0], away.vault) == "calvin"
    copy()
    done = await house.rotation().run()
    assert done.current == id_of(staged or b"")
    assert list(await house.keys.counts()) == [done.current]
    for uuid in (*nodes, late):
        assert await house.password(uuid, here.vault) == "calvin"
        assert await house.password(uuid, away.vault) == "calvin"


async def test_a_rotation_that_was_cut_off_in_the_middle_ends(house: House):
    process = await house.process("conductor-1")
    nodes = [await house.node(process.vault) for _ in range(5)]

    async def killed(seconds: float) -> None:
        raise ConnectionError

    for _ in range(2):
        with pytest.raises(ConnectionError):
            await Rotation(
                house.keyring, house.keys, house.said.append, wait_s=1, pause=killed
            ).run()
    assert len(house.keyring.keys().ids()) == 2
    done = await house.rotation().run()
    assert list(await house.keys.counts()) == [done.current]
    assert [await house.password(uuid, process.vault) for uuid in nodes] == ["calvin"] * 5


async def test_what_is_written_during_a_rotation_is_kept(house: House):
    """The API writes a new password between the reading of the old one and its re-wrapping."""
    process = await house.process("conductor-1")
    node = await house.node(process.vault)
    blob = await house.db.fetchval("select driver_secrets from node where uuid = $1", node)
    changed = encrypt_driver_secrets(process.vault, node, {"redfish_password": "changed"})

    new = MasterKeys(current=bytes(32), retired=(OLD,))
    stale = [(str(node), blob, new.vault().rewrap(blob))]
    await house.db.execute("update node set driver_secrets = $2 where uuid = $1", node, changed)
    assert await house.keys._swap(SEALED[1], stale) == 0
    assert await house.password(node, process.vault) == "changed"
    assert (await house.keys.rewrap(new.vault())).moved == 1
    assert await house.password(node, new.vault()) == "changed"


async def test_a_secret_nobody_can_open_is_counted_and_left_alone(house: House):
    process = await house.process("conductor-1")
    await house.node(process.vault)
    lost = await house.node(Vault(bytes(32)))
    done = await house.rotation().run()
    assert (done.moved, done.unreadable) == (1, 1)
    assert await house.password(lost, Vault(bytes(32))) == "calvin"


async def test_the_old_key_is_kept_aside_for_old_backups(house: House):
    await house.process("conductor-1")
    await house.rotation().run()
    kept = house.folder / "host-1.retired"
    assert OLD.hex() in kept.read_text()
    assert kept.stat().st_mode & 0o777 == 0o600


async def test_keys_of_the_environment_are_not_ours_to_change(house: House):
    process = await house.process("conductor-1")
    await house.node(process.vault)
    only = Keyring(house.folder / "none", {MASTER_KEY_VARIABLE: OLD.hex()})
    with pytest.raises(ConfigError, match="OLD,NEW first"):
        await house.rotation(only).run()
    new = bytes(32)
    both = Keyring(house.folder / "none", {MASTER_KEY_VARIABLE: f"{new.hex()},{OLD.hex()}"})
    process.keyring.write(MasterKeys(current=new, retired=(OLD,)))
    done = await house.rotation(both).run()
    assert (done.current, done.moved) == (id_of(new), 1)
    assert done.retired == [id_of(OLD)]


async def test_without_a_database_nothing_is_begun(house: House):
    class Away(PgKeys):
        async def reports(self) -> list[KeyReport]:
            raise StoreUnavailableError("away")

    keys = Away(house.db, SEALED)
    with pytest.raises(StoreUnavailableError):
        await Rotation(house.keyring, keys, house.said.append, wait_s=1).run()
    assert house.keyring.keys() == MasterKeys(current=OLD)


async def test_a_process_that_is_gone_is_not_waited_for(house: House):
    await house.process("conductor-1")
    away = await house.process("conductor-2", "host-2")
    house.processes.remove(away)
    await house.db.execute("update member set state = 'gone' where host = 'host-2'")
    assert (await house.rotation().run()).retired == [id_of(OLD)]


async def test_all_processes_hash_tokens_with_the_same_key(house: House):
    process = await house.process("conductor-1")
    keys = [await token_key(house.db, process.vault) for _ in range(3)]
    assert len(set(keys)) == 1
    assert len(keys[0]) == 32


async def test_every_column_of_secrets_is_known_to_the_rotation(house: House):
    rows = await house.db.fetch(
        "select table_name, column_name from information_schema.columns "
        "where table_schema = 'public' and data_type = 'bytea'"
    )
    there = {(row["table_name"], row["column_name"]) for row in rows}
    assert there - NOT_SEALED == {(column.table, column.column) for column in SEALED}
