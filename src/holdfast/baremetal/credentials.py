"""Secrets of a node: how they are bound to it at rest, and who may open them.

The API encrypts them, a conductor opens them only to seal them for the gateway.
The context ties each blob to its node and purpose, so that one cannot be moved
to another node's row (security.md, "BMC credentials").
"""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

import msgspec

from holdfast.store.model import Json

# The keys of driver_info that are secret; in the API they read as "******".
SECRET_KEYS = frozenset({"redfish_password", "ipmi_password"})

# Columns of ``node`` that hold secrets; a rotation of the master key re-wraps them.
SEALED_COLUMNS = ("driver_secrets", "agent_secret", "instance_secrets")


class SecretBox(Protocol):
    """What ``store.secrets.Vault`` offers."""

    def encrypt(self, plaintext: bytes, context: bytes) -> bytes: ...

    def decrypt(self, blob: bytes, context: bytes) -> bytes: ...


def _context(node: UUID, purpose: str) -> bytes:
    return b"node:" + node.bytes + b":" + purpose.encode()


def encrypt_driver_secrets(box: SecretBox, node: UUID, secrets: dict[str, str]) -> bytes | None:
    """For the column ``driver_secrets``; None if there are none."""
    if not secrets:
        return None
    return box.encrypt(msgspec.json.encode(secrets), _context(node, "driver"))


def decrypt_driver_secrets(box: SecretBox, node: UUID, blob: bytes | None) -> dict[str, str]:
    """The secret half of a node's driver_info."""
    if blob is None:
        return {}
    return msgspec.json.decode(box.decrypt(blob, _context(node, "driver")), type=dict[str, str])


def encrypt_instance_secrets(box: SecretBox, node: UUID, secrets: dict[str, Json]) -> bytes | None:
    """For the column ``instance_secrets``; None if there are none."""
    if not secrets:
        return None
    return box.encrypt(msgspec.json.encode(secrets), _context(node, "instance"))


def decrypt_instance_secrets(box: SecretBox, node: UUID, blob: bytes | None) -> dict[str, Json]:
    """The secret half of a node's instance_info."""
    if blob is None:
        return {}
    opened = box.decrypt(blob, _context(node, "instance"))
    return msgspec.json.decode(opened, type=dict[str, Json])


def encrypt_agent_token(box: SecretBox, node: UUID, boot: UUID, token: str) -> bytes:
    """For the column ``agent_secret``: valid for one boot only."""
    return box.encrypt(token.encode(), _context(node, f"agent:{boot}"))


def decrypt_agent_token(box: SecretBox, node: UUID, boot: UUID, blob: bytes) -> str:
    """The token handed to the ramdisk agent of that boot."""
    return box.decrypt(blob, _context(node, f"agent:{boot}")).decode()
