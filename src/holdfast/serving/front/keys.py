"""Keys: how they come with a request, and the admin's, kept as digests.

The first admin key is made at the first start, or told in ``HOLDFAST_APINODE_KEY`` (so that several
nodes can have one), and written to ``admin.key`` (mode 0600); there is no default.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from holdfast.errors import (
    ConfigError,
    ConflictError,
    InvalidInputError,
    NotAuthenticatedError,
    NotFoundError,
)
from holdfast.serving.errors import DiskError
from holdfast.serving.generations.state import write_durably

KEY_FILE: Final = "admin.key"
_LIST_FILE: Final = "admin-keys.json"
KEY_VARIABLE: Final = "HOLDFAST_APINODE_KEY"
_TOLD_MIN: Final = 16
_KEYS_MAX: Final = 1000
_TEXT_MAX: Final = 1000


class AdminKey(msgspec.Struct, frozen=True, rename="camel"):
    """Without the key itself. Times are Unix milliseconds."""

    id: str
    sha256: str
    created_on: int
    label: str | None = None
    description: str | None = None
    created_by: str | None = None
    expiry: int | None = None


class NewKey(msgspec.Struct, frozen=True, rename="camel"):
    """What dataikuapi sends to make one."""

    label: str | None = None
    description: str | None = None
    created_by: str | None = None
    expiry: int | None = None


def key_of(authorization: bytes) -> str | None:
    """The key in an Authorization header: Basic's user (RFC 7617), or Bearer's token."""
    scheme, _, value = authorization.strip().partition(b" ")
    value = value.strip()
    kind = scheme.lower()
    if kind == b"bearer":
        return value.decode("utf-8", "replace") or None
    if kind == b"basic":
        try:
            text = base64.b64decode(value, validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            return None
        user, _, password = text.partition(":")
        return user or password or None
    return None


class AdminKeys:
    """The keys of one data directory. Methods that change something block for a moment."""

    def __init__(self, data: Path, told: str = "") -> None:
        """``told``: the first key, if none is there yet; raises ``ConfigError`` for a short one."""
        self._path = data / _LIST_FILE
        self._keys: dict[str, AdminKey] = {}
        if self._path.exists():
            self.read()
        else:
            if told and len(told) < _TOLD_MIN:
                raise ConfigError(f"{KEY_VARIABLE} has at least {_TOLD_MIN} characters.")
            key, made = _made(NewKey(label="first", description="of the first start"), told)
            write_durably(data / KEY_FILE, key.encode() + b"\n")
            self._keep({made.id: made})

    def read(self) -> None:
        """Take what is on the disk now; raises ``ConfigError``."""
        try:
            keys = msgspec.json.decode(self._path.read_bytes(), type=list[AdminKey])
        except msgspec.DecodeError as error:
            raise ConfigError(f"{self._path} cannot be read: {error}. Mend it.") from None
        self._keys = {key.id: key for key in keys}

    def check(self, authorization: bytes) -> None:
        """Raises ``NotAuthenticatedError``."""
        key = key_of(authorization)
        digest = hashlib.sha256(key.encode()).hexdigest() if key else ""
        now = _now_ms()
        for known in self._keys.values():
            if known.sha256 == digest and _valid(known, now):
                return
        raise NotAuthenticatedError(
            f"This needs an admin key, as Basic user or Bearer token; the first is in {KEY_FILE} "
            "in the node's data directory."
        )

    def list(self) -> list[dict[str, Any]]:
        """All, without what could be used."""
        return [_shown(key) for key in self._keys.values()]

    def add(self, document: Any) -> dict[str, Any]:
        """A new key; only this answer has it. Raises ``InvalidInputError``."""
        try:
            wanted = msgspec.convert(document, NewKey)
        except msgspec.ValidationError as error:
            raise InvalidInputError(f"The key's description is not right: {error}.") from None
        texts = (wanted.label, wanted.description, wanted.created_by)
        if any(len(text) > _TEXT_MAX for text in texts if text):
            raise InvalidInputError(f"A key's texts have at most {_TEXT_MAX} characters.")
        if len(self._keys) >= _KEYS_MAX:
            raise ConflictError(f"There are {_KEYS_MAX} keys: delete some.")
        key, made = _made(wanted)
        self._keep({**self._keys, made.id: made})
        return {**_shown(made), "key": key}

    def delete(self, *, key: str | None = None, key_id: str | None = None) -> None:
        """Forget one, by itself or by its id; not the last that is valid.

        Raises ``NotFoundError``, ``ConflictError``.
        """
        if key is not None:
            digest = hashlib.sha256(key.encode()).hexdigest()
            key_id = next((one.id for one in self._keys.values() if one.sha256 == digest), None)
        if key_id not in self._keys:
            raise NotFoundError("There is no such admin key.")
        kept = {one.id: one for one in self._keys.values() if one.id != key_id}
        now = _now_ms()
        if not any(_valid(one, now) for one in kept.values()):
            raise ConflictError("This is the last admin key: add another before deleting it.")
        self._keep(kept)

    def _keep(self, keys: dict[str, AdminKey]) -> None:
        """These from now on: on disk first, so that what cannot be kept never was."""
        try:
            write_durably(self._path, msgspec.json.encode(list(keys.values())))
        except OSError as error:
            raise DiskError(f"The keys cannot be written: {error.strerror}.") from None
        self._keys = keys


def _now_ms() -> int:
    return int(time.time() * 1000)


def _valid(key: AdminKey, now_ms: int) -> bool:
    return not key.expiry or key.expiry > now_ms


def _made(wanted: NewKey, told: str = "") -> tuple[str, AdminKey]:
    key = told or secrets.token_urlsafe(32)
    made = AdminKey(
        id=secrets.token_hex(8),
        sha256=hashlib.sha256(key.encode()).hexdigest(),
        created_on=_now_ms(),
        label=wanted.label,
        description=wanted.description,
        created_by=wanted.created_by,
        expiry=wanted.expiry,
    )
    return key, made


def _shown(key: AdminKey) -> dict[str, Any]:
    document: dict[str, Any] = msgspec.to_builtins(key)
    del document["sha256"]
    return document
