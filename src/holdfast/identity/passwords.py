"""Passwords: argon2id hashes, a short memory of verified ones, and a limit on guessing.

Hashing costs tens of milliseconds on purpose, so it runs off the event loop, two at a
time; a password verified a moment ago is recognised by a keyed hash instead (the
key is random per process; neither password nor hash of it is ever stored).
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections import deque
from collections.abc import Callable

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from holdfast.errors import HoldfastError, InvalidInputError
from holdfast.identity.settings import IdentitySettings

# OWASP's minimum for argon2id (19 MiB, 2 passes, 1 lane): logins are rare, memory is shared.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
_CONCURRENT_HASHES = 2
_REMEMBERED_MAX = 4_096


class TooManyAttemptsError(HoldfastError):
    """Too many failed logins for this user from this address; wait and repeat."""

    code = "too_many_attempts"
    status = 429


class Passwords:
    """Hashes and verifies. ``clock`` is monotonic seconds."""

    def __init__(
        self, settings: IdentitySettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._key = secrets.token_bytes(32)
        self._verified: dict[bytes, float] = {}
        self._slots = asyncio.Semaphore(_CONCURRENT_HASHES)
        self._decoy: str | None = None

    def check_policy(self, password: str) -> None:
        """Raise ``InvalidInputError`` unless the length is within the configured bounds."""
        low, high = self._settings.password_len_min, self._settings.password_len_max
        if not low <= len(password) <= high:
            raise InvalidInputError(f"a password has {low} to {high} characters: choose another")

    async def hash(self, password: str) -> str:
        """The encoded argon2id hash to store."""
        async with self._slots:
            return await asyncio.to_thread(_HASHER.hash, password)

    async def verify(self, encoded: str | None, password: str) -> bool:
        """Whether the password matches. ``encoded`` None (no such user) takes as long and is False.

        The memory is keyed by the stored hash too, so a changed password forgets the old one.
        """
        if len(password) > self._settings.password_len_max:
            return False
        if encoded is None:
            if self._decoy is None:
                self._decoy = await self.hash(secrets.token_urlsafe())
            await self._verify_slowly(self._decoy, password)
            return False
        mark = hashlib.blake2b(f"{encoded}\0{password}".encode(), key=self._key).digest()
        now = self._clock()
        if self._verified.get(mark, now) > now:
            return True
        if not await self._verify_slowly(encoded, password):
            return False
        self._remember(mark, now)
        return True

    def _remember(self, mark: bytes, now: float) -> None:
        while len(self._verified) >= _REMEMBERED_MAX:
            self._verified.pop(next(iter(self._verified)))
        self._verified[mark] = now + self._settings.password_cache_s

    async def _verify_slowly(self, encoded: str, password: str) -> bool:
        async with self._slots:
            return await asyncio.to_thread(_verify, encoded, password)


def _verify(encoded: str, password: str) -> bool:
    try:
        return _HASHER.verify(encoded, password)
    except (VerificationError, InvalidHashError):
        return False


class LoginLimit:
    """Counts failed logins per (user name, address) in a sliding window, in this process only."""

    def __init__(
        self, settings: IdentitySettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._failures: dict[tuple[str, str], deque[float]] = {}

    def check(self, user: str, address: str) -> None:
        """Raise ``TooManyAttemptsError`` (with Retry-After) once the window is full."""
        recent = self._recent((user, address))
        if recent and len(recent) >= self._settings.login_failures_max:
            wait_s = max(1, round(recent[0] + self._settings.login_window_s - self._clock()))
            raise TooManyAttemptsError(
                f"too many failed logins for this user from this address: wait {wait_s} s",
                headers={"Retry-After": str(wait_s)},
            )

    def failed(self, user: str, address: str) -> None:
        """Count one failure."""
        while len(self._failures) >= _REMEMBERED_MAX:  # forget the oldest, never grow without limit
            self._failures.pop(next(iter(self._failures)))
        self._failures.setdefault((user, address), deque()).append(self._clock())

    def _recent(self, key: tuple[str, str]) -> deque[float]:
        window = self._failures.get(key, deque[float]())
        since = self._clock() - self._settings.login_window_s
        while window and window[0] <= since:
            window.popleft()
        return window
