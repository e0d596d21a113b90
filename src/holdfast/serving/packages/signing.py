"""Ed25519 signatures over a manifest's bytes (RFC 8032), which hold every file's digest."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from holdfast.serving.errors import SignatureError


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``key``: the public key, 64 hex digits. ``signature``: base64."""

    key: str
    signature: str


def new_key(path: Path) -> str:
    """Make a signing key (PEM, mode 0600); returns its public half in hex."""
    key = Ed25519PrivateKey.generate()
    path.touch(mode=0o600, exist_ok=False)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return key.public_key().public_bytes_raw().hex()


def read_key(path: Path) -> Ed25519PrivateKey:
    """A signing key; raises ``SignatureError`` if the file does not hold one."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise SignatureError(f"{path} holds no signing key: {error}.") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise SignatureError(f"{path} holds a key, but not of Ed25519.")
    return key


def sign(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """The content of the signature file."""
    public = key.public_key().public_bytes_raw().hex()
    signature = base64.b64encode(key.sign(manifest)).decode()
    return msgspec.json.encode(Signature(key=public, signature=signature))


def verify(manifest: bytes, signature: bytes) -> str:
    """The key that signed, whoever's it is (hex); raises ``SignatureError`` if none did."""
    try:
        document = msgspec.json.decode(signature, type=Signature)
        public = bytes.fromhex(document.key)
        raw = base64.b64decode(document.signature, validate=True)
        key = Ed25519PublicKey.from_public_bytes(public)
    except (msgspec.DecodeError, ValueError, binascii.Error):
        raise SignatureError("The package's signature cannot be read: sign it anew.") from None
    try:
        key.verify(raw, manifest)
    except InvalidSignature:
        raise SignatureError(
            "The package's signature does not fit its manifest: it was changed after signing."
        ) from None
    return public.hex()


def require_trusted(key: str, trusted: Collection[str]) -> str:
    """The key, if it is trusted; raises ``SignatureError``."""
    if key not in {one.lower() for one in trusted}:
        raise SignatureError(
            f"The package is signed by {key}, which this node does not trust: add that key to "
            "trusted_keys, or sign with one that is there."
        )
    return key
