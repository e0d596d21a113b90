"""Token secrets, their keyed hashes, and the short memory of validated tokens.

A token is 32 random bytes in base64url, so a plain hash could not be guessed back; the
key adds that a copied database is no place to test guesses or forge rows against.
Every API process of a deployment derives the same key from the same master key.

The memory trades a bounded delay for a query per request: a revocation in this
process counts at once, one made by another process after at most
``token_cache_s``; the same bound holds for roles taken away and users disabled.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable

from holdfast.identity.models import Token
from holdfast.identity.settings import IdentitySettings

_SECRET_BYTES = 32
_SECRET_LEN_MAX = 512  # longer than any token: refused before it is hashed


def derive_key(master: bytes) -> bytes:
    """The token key of a deployment, from its master key (at least 16 bytes). 32 bytes."""
    if len(master) < 16:
        raise ValueError("the master key is shorter than 16 bytes")
    return hashlib.blake2b(master[:64], person=b"holdfast-token", digest_size=32).digest()


def new_secret(size_bytes: int = _SECRET_BYTES) -> str:
    """A fresh token or password as the client sees it.

    It never begins with a dash: as an argument it would be taken for an option.
    """
    while (made := secrets.token_urlsafe(size_bytes)).startswith("-"):
        continue
    return made


def new_audit_id() -> str:
    """A public name for a token (Keystone: 16 random bytes in base64url)."""
    return secrets.token_urlsafe(16)


class TokenHasher:
    """Turns a presented token into what the database knows it by."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def hash(self, secret: str) -> bytes | None:
        """The 32-byte keyed hash; None if no token of ours could look like this."""
        if not secret or len(secret) > _SECRET_LEN_MAX:
            return None
        return hashlib.blake2b(secret.encode(), key=self._key, digest_size=32).digest()


class TokenCache:
    """Validated tokens by hash, for ``token_cache_s`` and never past their expiry."""

    def __init__(
        self, settings: IdentitySettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ttl_s = settings.token_cache_s
        self._entries_max = settings.token_cache_entries_max
        self._clock = clock
        self._entries: dict[bytes, tuple[float, Token]] = {}
        self._generation = 0

    def get(self, digest: bytes) -> Token | None:
        """The token, if it was validated recently enough."""
        entry = self._entries.get(digest)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            self._entries.pop(digest, None)
            return None
        return entry[1]

    def generation(self) -> int:
        """To be read before asking the database, and handed to ``put`` with its answer."""
        return self._generation

    def put(self, digest: bytes, token: Token, generation: int) -> None:
        """Remember, unless something was revoked here while the database was being asked."""
        if generation != self._generation:
            return
        while len(self._entries) >= self._entries_max:
            self._entries.pop(next(iter(self._entries)))
        until = self._clock() + min(self._ttl_s, token.expires_in_s)
        self._entries[digest] = (until, token)

    def clear(self) -> None:
        """Forget everything: a token, user, project or grant changed in this process."""
        self._generation += 1
        self._entries.clear()
