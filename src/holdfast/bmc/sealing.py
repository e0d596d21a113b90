"""Credentials sealed to one gateway, for one BMC at one address (security.md, "BMC credentials").

X25519 (RFC 7748) with a fresh key per seal, HKDF-SHA256 (RFC 5869), AES-256-GCM.
The context (BMC and address) is authenticated: a seal cannot be carried to another
BMC, nor to another address of the same BMC that an attacker controls.

Layout: version (1 byte) | ephemeral public key (32) | nonce (12) | ciphertext and tag.
"""

from __future__ import annotations

import secrets
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from holdfast.bmc.errors import SealBrokenError
from holdfast.store.model import Json

VERSION = b"\x01"
KEY_BYTES = 32
NONCE_BYTES = 12
HEADER_BYTES = len(VERSION) + KEY_BYTES + NONCE_BYTES


def seal_context(bmc: UUID, address: str) -> bytes:
    """What a seal is bound to."""
    return bmc.bytes + address.encode()


def new_private_key() -> bytes:
    """A private key, raw 32 bytes."""
    return X25519PrivateKey.generate().private_bytes_raw()


def public_key_of(private_key: bytes) -> bytes:
    """The public key that belongs to a private one; both raw 32 bytes."""
    return X25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()


def seal(secret: dict[str, Json], public_key: bytes, context: bytes) -> bytes:
    """Seal a JSON document so that only the holder of the private key can read it."""
    recipient = X25519PublicKey.from_public_bytes(public_key)
    ephemeral = X25519PrivateKey.generate()
    ephemeral_public = ephemeral.public_key().public_bytes_raw()
    key = _key(ephemeral.exchange(recipient), ephemeral_public, public_key)
    nonce = secrets.token_bytes(NONCE_BYTES)
    ciphertext = AESGCM(key).encrypt(nonce, msgspec.json.encode(secret), context)
    return VERSION + ephemeral_public + nonce + ciphertext


def unseal(sealed: bytes, private_key: bytes, context: bytes) -> dict[str, Json]:
    """Open a seal, or raise ``SealBrokenError``; the error never shows what is inside."""
    if len(sealed) <= HEADER_BYTES or not sealed.startswith(VERSION):
        raise SealBrokenError("The credentials are not sealed in a form this gateway knows.")
    ephemeral_public = sealed[1 : 1 + KEY_BYTES]
    nonce = sealed[1 + KEY_BYTES : HEADER_BYTES]
    own = X25519PrivateKey.from_private_bytes(private_key)
    try:
        shared = own.exchange(X25519PublicKey.from_public_bytes(ephemeral_public))
        key = _key(shared, ephemeral_public, own.public_key().public_bytes_raw())
        plain = AESGCM(key).decrypt(nonce, sealed[HEADER_BYTES:], context)
        return msgspec.json.decode(plain, type=dict[str, Json])
    except (InvalidTag, ValueError, msgspec.DecodeError):  # ValueError: a degenerate public key
        raise SealBrokenError(
            "The credentials cannot be opened: they were sealed for another gateway, BMC or "
            "address. Read the gateway's identity again and repeat."
        ) from None


def _key(shared: bytes, ephemeral_public: bytes, recipient_public: bytes) -> bytes:
    derivation = HKDF(
        algorithm=SHA256(),
        length=32,
        salt=ephemeral_public + recipient_public,
        info=b"holdfast bmc seal 1",
    )
    return derivation.derive(shared)
