"""Secrets at rest: authenticated encryption, a data key per secret, wrapped by the master key.

A sealed secret is, in this order: ``hfs1`` (4 bytes), the master key's id (8), the
nonce of the wrap (12), the wrapped data key (32 + 16 tag), the nonce of the body (12),
the body (as long as the secret, + 16 tag); AES-256-GCM throughout. The body is bound to
its context (where the secret belongs), so a row's secret cannot be moved to another row.
The wrap is not, so that a rotation re-wraps without touching, or knowing, the secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from holdfast.errors import ConfigError, HoldfastError

KEY_BYTES = 32
MASTER_KEY_VARIABLE = "HOLDFAST_MASTER_KEY"

_MAGIC = b"hfs1"
_ID = slice(4, 12)
_WRAP_NONCE = slice(12, 24)
_WRAPPED = slice(24, 72)
_NONCE = slice(72, 84)
_BODY = slice(84, None)
_BYTES_MIN = 84 + 16


class SecretError(HoldfastError):
    """A stored secret cannot be opened: another master key, or it was tampered with."""

    code = "secret_unreadable"
    status = 500


class Vault:
    """Seals and opens secrets. ``retired``: earlier master keys that still open old ones."""

    def __init__(self, master: bytes, retired: Sequence[bytes] = ()) -> None:
        self._id = key_id(master)
        self._masters = {key_id(key): AESGCM(key) for key in (*retired, master)}

    def encrypt(self, plaintext: bytes, context: bytes) -> bytes:
        """Seal a secret for ``context``, which must be given again to open it."""
        data_key = secrets.token_bytes(KEY_BYTES)
        head = _MAGIC + self._id
        nonce = secrets.token_bytes(12)
        body = AESGCM(data_key).encrypt(nonce, plaintext, _MAGIC + context)
        return head + self._wrap(data_key, head) + nonce + body

    def decrypt(self, blob: bytes, context: bytes) -> bytes:
        """The secret. Raises ``SecretError``."""
        data_key = self._unwrap(blob)
        try:
            return AESGCM(data_key).decrypt(blob[_NONCE], blob[_BODY], _MAGIC + context)
        except InvalidTag as fault:
            raise SecretError(
                "a stored secret was changed, or belongs to something else; enter it again"
            ) from fault

    def rewrap(self, blob: bytes) -> bytes:
        """The same secret under the present master key."""
        head = _MAGIC + self._id
        return head + self._wrap(self._unwrap(blob), head) + blob[_NONCE] + blob[_BODY]

    def current(self, blob: bytes) -> bool:
        """Whether the secret is wrapped by the present master key."""
        return blob[_ID] == self._id

    def _wrap(self, data_key: bytes, head: bytes) -> bytes:
        nonce = secrets.token_bytes(12)
        return nonce + self._masters[self._id].encrypt(nonce, data_key, head)

    def _unwrap(self, blob: bytes) -> bytes:
        if len(blob) < _BYTES_MIN or not blob.startswith(_MAGIC):
            raise SecretError("this is not a stored secret")
        master = self._masters.get(bytes(blob[_ID]))
        if master is None:
            raise SecretError(
                f"a stored secret needs the master key with id {blob[_ID].hex()}, which is not "
                f"here; restore it ({MASTER_KEY_VARIABLE} or the master key file)"
            )
        try:
            return master.decrypt(blob[_WRAP_NONCE], blob[_WRAPPED], blob[:12])
        except InvalidTag as fault:
            raise SecretError("a stored secret was changed; enter it again") from fault


def rewrap(blob: bytes, old: bytes, new: bytes) -> bytes:
    """A secret sealed under master key ``old``, wrapped by ``new``. Raises ``SecretError``.

    One that is under ``new`` already comes out as well, so a rotation can be repeated.
    """
    return Vault(new, retired=[old]).rewrap(blob)


def key_id(master: bytes) -> bytes:
    """Eight bytes that tell master keys apart and tell nothing about them."""
    if len(master) != KEY_BYTES:
        raise ConfigError(f"a master key has {KEY_BYTES} bytes, not {len(master)}")
    return hashlib.sha256(b"holdfast master key id" + master).digest()[:8]


def load_master_key(path: Path, environ: Mapping[str, str] | None = None) -> bytes:
    """The deployment's master key: from the environment, else the file, else made there.

    ``HOLDFAST_MASTER_KEY`` holds 32 bytes in hexadecimal or base64; so does the file,
    which must be readable by its owner alone. Raises ``ConfigError``. A key is made only
    where no file is; several processes may race for it, and all get the same.
    """
    environ = os.environ if environ is None else environ
    given = environ.get(MASTER_KEY_VARIABLE)
    if given:
        return _parsed(given, MASTER_KEY_VARIABLE)
    try:
        return _read(path)
    except FileNotFoundError:
        _make(path)
        return _read(path)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise ConfigError(
                f"{path} can be read by others (mode {mode:04o}): chmod 600 it, and think of "
                "rotating the key"
            )
        return _parsed(file.read().decode("ascii", errors="replace"), str(path))


def _make(path: Path) -> None:
    """Write a new key under another name, then give it this name unless that is taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(KEY_BYTES) + "\n")
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # a key that sealed something must outlive a power cut
        finally:
            os.close(folder)
    except FileExistsError:
        pass  # another process was first
    finally:
        fresh.unlink()


def _parsed(text: str, source: str) -> bytes:
    """32 bytes from hexadecimal or base64."""
    text = text.strip()
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
