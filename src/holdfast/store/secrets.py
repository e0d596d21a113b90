"""Secrets at rest: authenticated encryption, a data key per secret, wrapped by the master key.

A sealed secret is, in this order: ``hfs1`` (4 bytes), the master key's id (8), the
nonce of the wrap (12), the wrapped data key (32 + 16 tag), the nonce of the body (12),
the body (as long as the secret, + 16 tag); AES-256-GCM throughout. The body is bound to
its context (where the secret belongs), so a row's secret cannot be moved to another row.
The wrap is not, so that a rotation re-wraps without touching, or knowing, the secret.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from holdfast.errors import ConfigError, HoldfastError

KEY_BYTES = 32

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
        self.id = key_id(master)
        self._masters = {key_id(key): AESGCM(key) for key in (*retired, master)}

    def encrypt(self, plaintext: bytes, context: bytes) -> bytes:
        """Seal a secret for ``context``, which must be given again to open it."""
        data_key = secrets.token_bytes(KEY_BYTES)
        head = _MAGIC + self.id
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
        head = _MAGIC + self.id
        return head + self._wrap(self._unwrap(blob), head) + blob[_NONCE] + blob[_BODY]

    def current(self, blob: bytes) -> bool:
        """Whether the secret is wrapped by the present master key."""
        return blob[_ID] == self.id

    def _wrap(self, data_key: bytes, head: bytes) -> bytes:
        nonce = secrets.token_bytes(12)
        return nonce + self._masters[self.id].encrypt(nonce, data_key, head)

    def _unwrap(self, blob: bytes) -> bytes:
        if len(blob) < _BYTES_MIN or not blob.startswith(_MAGIC):
            raise SecretError("this is not a stored secret")
        master = self._masters.get(bytes(blob[_ID]))
        if master is None:
            raise SecretError(
                f"a stored secret needs the master key with id {blob[_ID].hex()}, which is not "
                "here; restore it (HOLDFAST_MASTER_KEY or the master key file)"
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
