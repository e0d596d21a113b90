"""Master keys in a deployment: what they seal, and how they are changed under way.

A rotation goes through four states, each visible in the keyring's file, so it can be cut
off anywhere and begun again:

    [old]  ->  [old, new staged]  ->  [new, old]  ->  [new]
         every process knows it   everything is re-wrapped

Nobody seals with a key that some living process could not open with, and no key goes
while anything is sealed by it, or anybody still seals with it.
"""

from __future__ import annotations

import asyncio
import getpass
import os
import secrets
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from holdfast.baremetal.credentials import SEALED_COLUMNS as NODE_COLUMNS
from holdfast.errors import ConfigError, HoldfastError, UnavailableError
from holdfast.stacks.tables import SEALED_COLUMNS as STACKS_COLUMNS
from holdfast.store.events import Actor
from holdfast.store.keyring import Keyring, MasterKeys, id_of
from holdfast.store.model import Member
from holdfast.store.pg.database import COMMAND_S, Database
from holdfast.store.pg.keys import (
    DEPLOYMENT_SECRETS,
    KeyReport,
    PgKeys,
    SealedColumn,
    Sealer,
    deployment_secret,
)
from holdfast.store.secrets import KEY_BYTES

SEALED: Final = (
    DEPLOYMENT_SECRETS,
    *(SealedColumn("node", "uuid", column) for column in NODE_COLUMNS),
    *(SealedColumn(table, "id", column) for table, column in STACKS_COLUMNS),
)
"""Every column that holds secrets sealed by the master key (tests compare it with the schema)."""

TOKENS: Final = "token key"
LOOK_S: Final = 2.0
# A transaction that sealed something under the old key has ended by then, one way or the other.
SETTLE_S: Final = COMMAND_S + 2.0

Say = Callable[[str], None]
Pause = Callable[[float], Awaitable[None]]


class KeysNotFollowedError(UnavailableError):
    """Some processes have not read the new keys yet; the rotation waits where it is."""

    code = "keys_not_followed"


async def token_key(db: Database, vault: Sealer) -> bytes:
    """The key under which tokens are hashed. It stays the same when the master key changes."""
    return await deployment_secret(db, vault, TOKENS, secrets.token_bytes(KEY_BYTES))


class KeyReporter:
    """Tells the database which keys this process has, whenever that changes."""

    def __init__(self, db: Database, keyring: Keyring, member: Callable[[], Member | None]) -> None:
        self._keys = PgKeys(db, SEALED)
        self._keyring = keyring
        self._member = member
        self._told: tuple[object, ...] = ()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Report, if there is anything new to say. A database that is away is told later."""
        member = self._member()
        if member is None:
            return
        ids = self._keyring.keys().ids()
        news = (member.id, member.epoch, *ids)
        if news == self._told:
            return
        try:
            if await self._keys.report(member.id, member.epoch, ids):
                self._told = news
        except HoldfastError:
            return


class Rotated(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished rotation did. ``retired``: keys taken out of the keyring, by id."""

    current: str
    retired: list[str]
    moved: int
    unreadable: int


class Rotation:
    """Changes the master key of a running deployment. ``run`` goes on from where one stopped."""

    def __init__(
        self,
        keyring: Keyring,
        keys: PgKeys,
        say: Say,
        *,
        wait_s: float,
        settle_s: float = SETTLE_S,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._keyring = keyring
        self._keys = keys
        self._say = say
        self._wait_s = wait_s
        self._settle_s = settle_s
        self._pause = pause

    async def run(self) -> Rotated:
        """Rotate to the end.

        Raises ``KeysNotFollowedError`` when some process does not follow in ``wait_s`` (copy
        the keyring to its host, then repeat), ``ConfigError`` where the keys are not ours
        to change, ``StoreUnavailableError`` without a database.
        """
        await self._keys.reports()  # without a database nothing is begun
        keys = self._stage()
        if keys.staged is not None:
            coming = id_of(keys.staged)
            await self._followed(lambda report: coming in report.known)
            keys = MasterKeys(current=keys.staged, retired=(keys.current, *keys.retired))
            self._keyring.write(keys)
            await self._keys.audit("begin", {"key": coming, "earlier": keys.ids()[1:]})
            self._say(f"key {coming} seals from now on")
        current = id_of(keys.current)
        moved, unreadable = await self._rewrap()
        self._say(f"{moved} secrets re-wrapped; waiting until nobody uses the old key")
        await self._followed(lambda report: report.current == current)
        await self._pause(self._settle_s)
        again, unreadable = await self._rewrap()
        return await self._retire(keys, moved + again, unreadable)

    def _stage(self) -> MasterKeys:
        """Begin, unless a rotation has begun already."""
        keys = self._keyring.keys()
        if keys.staged is not None or keys.retired:
            self._say("going on with the rotation that was begun")
            return keys
        if self._keyring.from_environment:
            raise ConfigError(
                "the master key comes from the environment: give every process OLD,NEW first, "
                "then NEW,OLD, then run this again to re-wrap all secrets"
            )
        fresh = secrets.token_bytes(KEY_BYTES)
        keys = MasterKeys(current=keys.current, staged=fresh)
        self._keyring.write(keys)
        self._say(f"key {id_of(fresh)} is staged in {self._keyring.path}")
        return keys

    async def _followed(self, follows: Callable[[KeyReport], bool]) -> None:
        """Wait until every living process has read what the keyring says now."""
        waited_s = 0.0
        while late := [r for r in await self._keys.reports() if not follows(r)]:
            if waited_s >= self._wait_s:
                raise KeysNotFollowedError(_whom(late, self._keyring))
            await self._pause(LOOK_S)
            waited_s += LOOK_S

    async def _rewrap(self) -> tuple[int, int]:
        """Passes until one finds nothing to move."""
        vault = self._keyring.vault()
        total = 0
        while True:
            done = await self._keys.rewrap(vault)
            total += done.moved
            if not done.moved:
                return total, done.unreadable

    async def _retire(self, keys: MasterKeys, moved: int, unreadable: int) -> Rotated:
        """Take out the keys that seal nothing any more."""
        counts = await self._keys.counts()
        used = tuple(key for key in keys.retired if counts.get(id_of(key)))
        gone = [id_of(key) for key in keys.retired if key not in used]
        if used:
            raise UnavailableError(
                f"{sum(counts[id_of(key)] for key in used)} secrets came to be sealed by the old "
                "key meanwhile; run it again"
            )
        if not self._keyring.from_environment:
            self._keyring.archive(keys.retired)
            self._keyring.write(MasterKeys(current=keys.current))
        done = Rotated(
            current=id_of(keys.current), retired=gone, moved=moved, unreadable=unreadable
        )
        await self._keys.audit("end", {"key": done.current, "retired": gone, "moved": moved})
        return done


def _whom(late: Sequence[KeyReport], keyring: Keyring) -> str:
    hosts: dict[str, list[str]] = {}
    for report in late:
        hosts.setdefault(report.host, []).append(report.slot)
    named = "; ".join(f"{host}: {', '.join(slots)}" for host, slots in hosts.items())
    how = (
        "give them the same HOLDFAST_MASTER_KEY"
        if keyring.from_environment
        else f"copy {keyring.path} to the same place on those hosts (mode 0600)"
    )
    return f"not everybody follows the new keys yet ({named}); {how}, then run it again"


def operator() -> Actor:
    """Who acts from a host's command line, for the event log."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in containers
        user = f"user {os.geteuid()}"
    return Actor(label=f"{user} on {socket.gethostname()}")
