"""The master keys a host has: one that seals, and others that still open.

The file has a key a line (32 bytes in hexadecimal or base64); what stands after it is a
word about it, and ``#`` begins a comment. The first key without a word seals, all of them
open. ``staged`` is one that every host is to know before it becomes the first. The
environment's ``HOLDFAST_MASTER_KEY`` holds keys with spaces or commas between them, of
which the first seals.

A keyring looks at its file at each use, so a rotation reaches a running process at once.
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import structlog

from holdfast.errors import ConfigError
from holdfast.store.secrets import KEY_BYTES, Vault, key_id

log = structlog.get_logger(__name__)

MASTER_KEY_VARIABLE = "HOLDFAST_MASTER_KEY"
STAGED = "staged"


class MasterKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys themselves. Never logged, never shown; ``ids`` are."""

    current: bytes
    staged: bytes | None = None
    retired: tuple[bytes, ...] = ()

    def ids(self) -> list[str]:
        """All ids, the current key's first."""
        staged = () if self.staged is None else (self.staged,)
        return [id_of(key) for key in (self.current, *staged, *self.retired)]

    def vault(self) -> Vault:
        """Seals with the current key, opens with any."""
        staged = () if self.staged is None else (self.staged,)
        return Vault(self.current, retired=(*staged, *self.retired))


class Keyring:
    """Master keys from the environment, else from the file, else made there.

    Raises ``ConfigError`` for what is no keyring, or can be read by others. Where a good one
    turns bad under a running process, that goes on with the keys it had.
    """

    def __init__(self, path: Path, environ: Mapping[str, str] | None = None) -> None:
        given = (os.environ if environ is None else environ).get(MASTER_KEY_VARIABLE)
        self.path = path
        self.from_environment = bool(given)
        self._keys = _listed(given) if given else None
        self._vault = self._keys.vault() if self._keys else None
        self._seen: tuple[int, int, int] | None = None

    def keys(self) -> MasterKeys:
        """The keys that count now."""
        if not self.from_environment:
            self._look()
        if self._keys is None:
            raise ConfigError(f"there is no master key at {self.path}")
        return self._keys

    def vault(self) -> Vault:
        """A vault of the keys that count now."""
        keys = self.keys()
        if self._vault is None:
            self._vault = keys.vault()
        return self._vault

    def write(self, keys: MasterKeys) -> None:
        """Replace the file's keys, whole or not at all, and durably."""
        if self.from_environment:
            raise ConfigError(
                f"the master keys are those of {MASTER_KEY_VARIABLE}: change them there"
            )
        lines = ["# Written by `holdfast keys`. The first key seals, all of them open."]
        lines.append(keys.current.hex())
        if keys.staged is not None:
            lines.append(f"{keys.staged.hex()} {STAGED}")
        lines += [key.hex() for key in keys.retired]
        fresh = _written_beside(self.path, "\n".join(lines) + "\n")
        fresh.replace(self.path)
        _flush_folder(self.path.parent)
        self.keys()

    def archive(self, keys: Sequence[bytes]) -> Path:
        """Keep keys that are taken out, for database backups that still need them."""
        path = self.path.with_name(f"{self.path.name}.retired")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.writelines(f"{key.hex()}  # {id_of(key)}\n" for key in keys)
            file.flush()
            os.fsync(file.fileno())
        return path

    def _look(self) -> None:
        """Read the file if it is not the one that was read."""
        try:
            try:
                status = self.path.stat()
            except FileNotFoundError:
                if self._keys is not None:
                    raise ConfigError(f"the master key {self.path} is gone; restore it") from None
                _make(self.path)
                status = self.path.stat()
            seen = (status.st_ino, status.st_mtime_ns, status.st_size)
            if seen != self._seen:
                self._keys, self._vault, self._seen = _read(self.path), None, seen
        except ConfigError as fault:
            if self._keys is None:
                raise
            log.error("keys.unreadable", reason=fault.message)


class LiveVault:
    """A vault whose keys follow the keyring: what long-lived processes seal and open with."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def encrypt(self, plaintext: bytes, context: bytes) -> bytes:
        """As ``Vault.encrypt``."""
        return self._keyring.vault().encrypt(plaintext, context)

    def decrypt(self, blob: bytes, context: bytes) -> bytes:
        """As ``Vault.decrypt``."""
        return self._keyring.vault().decrypt(blob, context)


def id_of(key: bytes) -> str:
    """How a key is called where people read it: 16 hexadecimal digits."""
    return key_id(key).hex()


def parsed(text: str, source: str) -> MasterKeys:
    """The keys of a keyring file. Raises ``ConfigError`` naming ``source``."""
    plain: list[bytes] = []
    staged: list[bytes] = []
    for line in text.splitlines():
        key, *words = line.partition("#")[0].split() or [""]
        if key and words not in ([], [STAGED]):
            raise ConfigError(f"{source}: after a key may stand {STAGED!r} and nothing else")
        if key:
            (staged if words else plain).append(_key(key, source))
    if not plain or len(staged) > 1:
        raise ConfigError(
            f"{source} must hold {KEY_BYTES} bytes in hexadecimal (64 digits) or base64, and at "
            "most one staged key beside others"
        )
    return MasterKeys(
        current=plain[0], staged=staged[0] if staged else None, retired=tuple(plain[1:])
    )


def _listed(text: str) -> MasterKeys:
    """The keys of the environment."""
    return parsed("\n".join(text.replace(",", " ").split()), MASTER_KEY_VARIABLE)


def _key(text: str, source: str) -> bytes:
    """32 bytes from hexadecimal or base64."""
    try:
        digits = len(text) == 2 * KEY_BYTES
        key = bytes.fromhex(text) if digits else base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:
        raise ConfigError(
            f"{source} must hold {KEY_BYTES} bytes in hexadecimal (64 digits) or base64"
        )
    return key


def _read(path: Path) -> MasterKeys:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise ConfigError(
                f"{path} can be read by others (mode {mode:04o}): chmod 600 it, and think of "
                "rotating the key"
            )
        return parsed(file.read().decode("ascii", errors="replace"), str(path))


def _make(path: Path) -> None:
    """Write a new key under another name, then give it this name unless that is taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = _written_beside(path, secrets.token_hex(KEY_BYTES) + "\n")
    try:
        os.link(fresh, path)
        _flush_folder(path.parent)  # a key that sealed something must outlive a power cut
    except FileExistsError:
        pass  # another process was first
    finally:
        fresh.unlink()


def _written_beside(path: Path, text: str) -> Path:
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    return fresh


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
