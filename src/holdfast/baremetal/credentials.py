"""Secrets of a node: how they are bound to it at rest, and who may open them.

The API encrypts them, a conductor opens them only to seal them for the gateway.
The context ties each blob to its node and purpose, so that one cannot be moved
to another node's row (security.md, "BMC credentials").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol, cast
from uuid import UUID

import msgspec

from holdfast.store.model import Json

# The keys of driver_info that are secret; in the API they read as "******".
SECRET_KEYS = frozenset({"redfish_password", "ipmi_password"})

# Columns of ``node`` that hold secrets; a rotation of the master key re-wraps them.
SEALED_COLUMNS = ("driver_secrets", "agent_secret", "instance_secrets", "step_secrets")

MASK = "******"
"""What is shown in a secret's place; sent back in a patch, it means "as it was"."""

_TELLING = 4  # shorter texts are in every sentence
_BEGINNING = 12


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


def encrypt_step_secrets(
    box: SecretBox, node: UUID, job: UUID, arguments: list[dict[str, Json]]
) -> bytes:
    """For the column ``step_secrets``: the arguments of each step the job is asked to run."""
    return box.encrypt(msgspec.json.encode(arguments), _context(node, f"steps:{job}"))


def decrypt_step_secrets(
    box: SecretBox, node: UUID, job: UUID, blob: bytes
) -> list[dict[str, Json]]:
    """The arguments, in the order of the job's steps."""
    opened = box.decrypt(blob, _context(node, f"steps:{job}"))
    return msgspec.json.decode(opened, type=list[dict[str, Json]])


def masked_steps(steps: list[dict[str, Json]]) -> list[dict[str, Json]]:
    """Steps as they may be kept and shown: which arguments they have, not their values."""
    return [{**s, "args": dict.fromkeys(s["args"], MASK)} if s.get("args") else s for s in steps]


def without(said: str, secret: Json) -> str:
    """A stranger's words with every text in ``secret``, however deep, masked.

    Long texts go by their beginning, since what was said may have been cut off.
    """
    for text in sorted(set(_texts(secret)), key=len, reverse=True):
        for form in (text, repr(text)[1:-1], msgspec.json.encode(text).decode()[1:-1]):
            if len(form) > _BEGINNING:
                said = re.sub(re.escape(form[:_BEGINNING]) + r"\S*", MASK, said.replace(form, MASK))
            elif len(form) >= _TELLING:
                said = said.replace(form, MASK)
    return said


def _texts(document: Json) -> Iterator[str]:
    pending: list[Json] = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            pending.extend(cast("dict[str, Json]", value).values())
        elif isinstance(value, list):
            pending.extend(cast("list[Json]", value))
        elif isinstance(value, str):
            yield value


def encrypt_agent_token(box: SecretBox, node: UUID, boot: UUID, token: str) -> bytes:
    """For the column ``agent_secret``: valid for one boot only."""
    return box.encrypt(token.encode(), _context(node, f"agent:{boot}"))


def decrypt_agent_token(box: SecretBox, node: UUID, boot: UUID, blob: bytes) -> str:
    """The token handed to the ramdisk agent of that boot."""
    return box.decrypt(blob, _context(node, f"agent:{boot}")).decode()
