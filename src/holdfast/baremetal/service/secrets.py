"""The secrets of nodes as the API handles them: taken apart, sealed, never shown.

``driver_info`` keeps a placeholder where a secret belongs; the secrets themselves go
into ``driver_secrets`` (``baremetal.credentials`` says how they are bound to the node).
"""

from __future__ import annotations

import hmac
import secrets
from typing import cast
from uuid import UUID

from holdfast.baremetal.credentials import (
    SecretBox,
    decrypt_agent_token,
    decrypt_driver_secrets,
    encrypt_agent_token,
    encrypt_driver_secrets,
)
from holdfast.baremetal.drivers import is_secret
from holdfast.errors import InvalidInputError
from holdfast.store.model import Json

MASK = "******"
"""What is shown in a secret's place; sent back in a patch, it means "as it was"."""


class NodeSecrets:
    """Seals and opens what belongs to one node."""

    def __init__(self, box: SecretBox) -> None:
        self._box = box

    def open_driver(self, node: UUID, sealed: bytes | None) -> dict[str, str]:
        """The secret keys of ``driver_info`` with their values."""
        return decrypt_driver_secrets(self._box, node, sealed)

    def split_driver(
        self, node: UUID, driver_info: dict[str, Json], sealed: bytes | None
    ) -> tuple[dict[str, Json], bytes | None]:
        """Part what a client wrote into what may be shown and what is sealed.

        ``sealed`` is what the node has now; a value of ``MASK`` keeps the secret in it.
        Raises ``InvalidInputError`` for a secret that is no string.
        """
        _refuse_hidden_secrets(driver_info)
        asked = {key: value for key, value in driver_info.items() if is_secret(key)}
        kept = self.open_driver(node, sealed) if MASK in asked.values() else {}
        clear: dict[str, str] = {}
        for key, value in asked.items():
            if value == MASK and key in kept:
                clear[key] = kept[key]
            elif isinstance(value, str) and value != MASK:
                clear[key] = value
            else:
                raise InvalidInputError(f"driver_info/{key} must be a string, the secret itself")
        shown = {key: MASK if key in clear else value for key, value in driver_info.items()}
        return shown, encrypt_driver_secrets(self._box, node, clear)

    def new_agent_token(self, node: UUID, boot: UUID) -> tuple[str, bytes]:
        """A fresh token for one boot of the node's ramdisk, clear and sealed."""
        token = secrets.token_urlsafe(32)
        return token, encrypt_agent_token(self._box, node, boot, token)

    def agent_token_matches(self, node: UUID, boot: UUID, sealed: bytes, given: str) -> bool:
        """Compare in constant time."""
        kept = decrypt_agent_token(self._box, node, boot, sealed)
        return hmac.compare_digest(kept.encode(), given.encode())


def _refuse_hidden_secrets(driver_info: dict[str, Json]) -> None:
    """Only keys at the top are taken apart: a secret further in would be stored in the clear."""
    pending: list[tuple[str, Json]] = list(driver_info.items())
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict):
            below = cast("dict[str, Json]", value).items()
            if hidden := [key for key, _ in below if is_secret(key)]:
                raise InvalidInputError(
                    f"driver_info/{path}/{hidden[0]} looks like a secret: "
                    "secrets are kept only directly in driver_info"
                )
            pending.extend((f"{path}/{key}", inner) for key, inner in below)
        elif isinstance(value, list):
            pending.extend((path, inner) for inner in cast("list[Json]", value))
