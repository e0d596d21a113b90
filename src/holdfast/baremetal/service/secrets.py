"""The secrets of nodes as the API handles them: taken apart, sealed, never shown.

``driver_info`` and ``instance_info`` keep a placeholder where a secret belongs; the secrets
themselves go into ``driver_secrets`` and ``instance_secrets`` (``baremetal.credentials`` says
how they are bound to the node). The arguments of steps that a job is asked to run go into
``step_secrets``: a password or a key may be among them, under any name.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from typing import cast
from uuid import UUID

import msgspec

from holdfast.baremetal.credentials import (
    MASK,
    SecretBox,
    decrypt_agent_token,
    decrypt_driver_secrets,
    decrypt_instance_secrets,
    decrypt_step_secrets,
    encrypt_agent_token,
    encrypt_driver_secrets,
    encrypt_instance_secrets,
    encrypt_step_secrets,
)
from holdfast.baremetal.drivers import CONFIGDRIVE, is_instance_secret, is_secret
from holdfast.errors import InvalidInputError
from holdfast.store.model import Json

_USERINFO = re.compile(r"\s*(?:[a-z][a-z0-9+.-]*:)?//[^/?#\\]*@", re.IGNORECASE)


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
        _refuse_hidden_secrets("driver_info", driver_info, is_secret)
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

    def open_instance(self, node: UUID, sealed: bytes | None) -> dict[str, Json]:
        """The secret keys of ``instance_info`` with their values."""
        return decrypt_instance_secrets(self._box, node, sealed)

    def split_instance(
        self, node: UUID, instance_info: dict[str, Json], sealed: bytes | None
    ) -> tuple[dict[str, Json], bytes | None]:
        """As ``split_driver``; these secrets may be any value, a config drive is an object."""
        _refuse_hidden_secrets("instance_info", instance_info, is_instance_secret)
        asked = {
            key: value
            for key, value in instance_info.items()
            if value is not None and is_instance_secret(key)
        }
        kept = self.open_instance(node, sealed) if MASK in asked.values() else {}
        for key, value in asked.items():
            if value != MASK:
                continue
            if key not in kept:
                raise InvalidInputError(f"instance_info/{key} must be the secret itself, no mask")
            asked[key] = kept[key]
        shown = {key: MASK if key in asked else value for key, value in instance_info.items()}
        return shown, encrypt_instance_secrets(self._box, node, asked)

    def seal_steps(self, node: UUID, job: UUID, arguments: list[dict[str, Json]]) -> bytes:
        """The arguments of the steps of the node's next job."""
        return encrypt_step_secrets(self._box, node, job, arguments)

    def steps_match(
        self, node: UUID, job: UUID, sealed: bytes | None, given: list[dict[str, Json]]
    ) -> bool:
        """Whether the job was asked to run its steps with these very arguments."""
        kept = [] if sealed is None else decrypt_step_secrets(self._box, node, job, sealed)
        return _same(kept, given)

    def drive_matches(self, node: UUID, sealed: bytes | None, given: Json) -> bool:
        """Whether the node's config drive is this one."""
        return _same(self.open_instance(node, sealed).get(CONFIGDRIVE), given)

    def new_agent_token(self, node: UUID, boot: UUID) -> tuple[str, bytes]:
        """A fresh token for one boot of the node's ramdisk, clear and sealed."""
        token = secrets.token_urlsafe(32)
        return token, encrypt_agent_token(self._box, node, boot, token)

    def agent_token_matches(self, node: UUID, boot: UUID, sealed: bytes, given: str) -> bool:
        """Compare in constant time."""
        kept = decrypt_agent_token(self._box, node, boot, sealed)
        return hmac.compare_digest(kept.encode(), given.encode())


def _same(kept: Json, given: Json) -> bool:
    plain = [msgspec.json.encode(one, order="deterministic") for one in (kept, given)]
    return hmac.compare_digest(*plain)


def refuse_userinfo(path: str, value: str) -> None:
    """Raise ``InvalidInputError`` for a URL that carries an account: it is stored and shown."""
    if _USERINFO.match(value) or (path.endswith("_address") and _USERINFO.match(f"//{value}")):
        raise InvalidInputError(
            f"{path} must be a URL without user and password: URLs are shown to whoever may read "
            "the node"
        )


def _refuse_hidden_secrets(
    field: str, info: dict[str, Json], secret: Callable[[str], bool]
) -> None:
    """Only keys at the top are taken apart: a secret further in would be stored in the clear."""
    pending: list[tuple[str, Json]] = [item for item in info.items() if not secret(item[0])]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict):
            below = cast("dict[str, Json]", value).items()
            if hidden := [key for key, _ in below if secret(key)]:
                raise InvalidInputError(
                    f"{field}/{path}/{hidden[0]} looks like a secret: "
                    f"secrets are kept only directly in {field}"
                )
            pending.extend((f"{path}/{key}", inner) for key, inner in below)
        elif isinstance(value, list):
            pending.extend((path, inner) for inner in cast("list[Json]", value))
        elif isinstance(value, str):
            refuse_userinfo(f"{field}/{path}", value)
