"""Which other nodes there are: told by the operator, and learned from those (D10, D11).

A list names who gets queries and their keys, so it grows by three ways only: the operator tells a
node (``[node] peers``, or a URL a line in ``nodes.txt``, which the admin API writes), its control
plane does (``members.txt``, so that a node that starts without it has what it was told last), or
a node that was told of names another. What was learned is passed on only while we reach it
ourselves, so that a node that is gone for good is forgotten by all within half a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeAlias

import aiohttp
import msgspec
from yarl import URL

from holdfast.errors import InvalidInputError, NotFoundError
from holdfast.serving.generations.state import disk_errors, write_durably
from holdfast.serving.settings import PlaceSettings

NODES_PATH: Final = "nodes"
LOOK_S: Final = 5.0
_FILE: Final = "nodes.txt"
_MEMBERS_FILE: Final = "members.txt"
_FORGET_S: Final = 30.0
_TIMEOUT_S: Final = 2.0
_NODES_MAX: Final = 1000
_DOCUMENT_BYTES_MAX: Final = 1 << 20
_TOGETHER: Final = 32


class Itself(msgspec.Struct, frozen=True):
    """What a node says of itself. ``id`` is its process's; ``alive``: it stays in the pool."""

    id: str
    alive: bool
    zone: str = ""


class NodeList(msgspec.Struct, frozen=True):
    """The document of ``GET /nodes``; ``nodes`` are base URLs."""

    nodes: tuple[str, ...]
    itself: Itself


Answers: TypeAlias = dict[str, NodeList]


class Peers:
    """What one node knows of the others."""

    def __init__(self, data: Path, settings: PlaceSettings, clock: Callable[[], float]) -> None:
        self.id = secrets.token_hex(8)
        self._clock = clock
        self._file = data / _FILE
        self._members_file = data / _MEMBERS_FILE
        self._configured = [checked(one) for one in settings.peers]
        self._own = checked(settings.url) if settings.url else ""
        self._members = _read(self._members_file)
        self._mine: set[str] = set()  # URLs that led back to us
        self._heard: set[str] = set()
        self._reached: dict[str, float] = {}
        self._session: aiohttp.ClientSession | None = None

    def here(self, url: str) -> None:
        """Where this node listens; taken for its URL unless another was configured."""
        self._own = self._own or checked(url)

    def urls(self) -> tuple[str, ...]:
        """All nodes, this one among them."""
        since = self._clock() - _FORGET_S
        learned = [url for url, when in self._reached.items() if when >= since]
        found = dict.fromkeys([*self._told(), *self._members, *sorted(learned)])
        if self._own and not self._mine.intersection(found):
            found[self._own] = None
        return tuple(sorted(found))

    def _told(self) -> list[str]:
        return [*self._configured, *self._added()]

    def _added(self) -> list[str]:
        """Of the file, read anew: whoever deploys nodes may write it."""
        return _read(self._file)

    # ---- what the operator tells ---------------------------------------------------------------

    async def add(self, url: str) -> None:
        """Keep one more; raises ``InvalidInputError``, ``DiskError``."""
        told = checked(url)
        if len(self._told()) >= _NODES_MAX:
            raise InvalidInputError(f"A node knows at most {_NODES_MAX} others.")
        if told not in self._told():
            await self._keep([*self._added(), told])

    async def remove(self, url: str) -> None:
        """Forget one that was added; raises ``NotFoundError``, ``DiskError``."""
        told = checked(url)
        if told not in self._added():
            raise NotFoundError(f"{told} was not added here: look into [node] peers, or drain it.")
        await self._keep([one for one in self._added() if one != told])
        self._forget(told)

    async def _keep(self, added: list[str]) -> None:
        await _write(self._file, added)

    def _forget(self, url: str) -> None:
        self._reached.pop(url, None)
        self._heard.discard(url)

    # ---- what the control plane tells ----------------------------------------------------------

    async def follow(self, urls: Iterable[str]) -> None:
        """These are its members now, ours among them or not; who is none any more is forgotten.

        Raises ``DiskError``: then it is so all the same, for as long as this process runs.
        """
        members = sorted({checked(url) for url in urls})[:_NODES_MAX]
        for url in set(self._members) - set(members):
            self._forget(url)
        self._members = members
        if _read(self._members_file) != members:
            await _write(self._members_file, members)

    # ---- what is learned -----------------------------------------------------------------------

    async def look(self) -> None:
        """Ask all that we were told or heard of, then those that they name."""
        first = {*self._told(), *self._members, *self._heard}
        heard = self._take(await self._ask(first))
        heard |= self._take(await self._ask(sorted(heard - first)[:_NODES_MAX]))
        self._heard = set(sorted(heard)[:_NODES_MAX])
        since = self._clock() - _FORGET_S
        self._reached = {url: when for url, when in self._reached.items() if when >= since}

    def _take(self, answers: Answers) -> set[str]:
        """Note who answered; gives whom they name."""
        heard: set[str] = set()
        for url, answer in answers.items():
            if answer.itself.id == self.id:
                self._mine.add(url)
            else:
                self._reached[url] = self._clock()
                heard.update(_trusted(url, answer.nodes))
        return heard - self._mine

    async def alive(self) -> list[str]:
        """The others that take queries now and stay, each asked now."""
        answers = await self._ask({*self.urls(), *self._heard})
        mine = {self.id}
        found: list[str] = []
        for url, answer in sorted(answers.items()):
            if answer.itself.alive and answer.itself.id not in mine:
                mine.add(answer.itself.id)  # two URLs may be one node
                found.append(url)
        return found

    async def _ask(self, urls: Iterable[str]) -> Answers:
        together = asyncio.Semaphore(_TOGETHER)

        async def ask(url: str) -> tuple[str, NodeList | None]:
            async with together:
                return url, await self._ask_one(url)

        pairs = await asyncio.gather(*[ask(url) for url in urls if url != self._own])
        return {url: answer for url, answer in pairs if answer is not None}

    async def _ask_one(self, url: str) -> NodeList | None:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
                connector=aiohttp.TCPConnector(force_close=True),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError, msgspec.MsgspecError):
            async with self._session.get(f"{url}/{NODES_PATH}", allow_redirects=False) as response:
                data = await response.content.read(_DOCUMENT_BYTES_MAX)
                if response.status == 200:
                    return msgspec.json.decode(data, type=NodeList)
        return None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def _read(file: Path) -> list[str]:
    """A URL a line. What is no URL is nothing, and so is a file that cannot be read."""
    found: list[str] = []
    with contextlib.suppress(OSError, UnicodeError):
        for line in file.read_text("utf-8").splitlines()[:_NODES_MAX]:
            with contextlib.suppress(InvalidInputError):
                found.append(checked(line))
    return found


async def _write(file: Path, urls: Iterable[str]) -> None:
    data = "".join(f"{url}\n" for url in urls).encode()
    with disk_errors():
        await asyncio.to_thread(write_durably, file, data, 0o644)


def _trusted(teller: str, urls: Iterable[str]) -> Iterable[str]:
    """What one node may name: one reached by TLS names only such."""
    for url in urls:
        with contextlib.suppress(InvalidInputError):
            told = checked(url)
            if told.startswith("https:") or not teller.startswith("https:"):
                yield told


def checked(url: str) -> str:
    """A node's base URL in one spelling; raises ``InvalidInputError``."""
    try:
        parsed = URL(url.strip())
    except ValueError:
        raise InvalidInputError(f"{url!r} is no URL of a node.") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InvalidInputError(f"{url!r} is no URL of a node, as http://host:12000 is.")
    if parsed.user or parsed.password or parsed.query_string or parsed.fragment:
        raise InvalidInputError(f"{url!r} has more than scheme, host, port and path.")
    return str(parsed).rstrip("/")
