"""What a ramdisk agent asks of the API: to be told who it is, and that it is heard.

Neither request carries a token of ours. A lookup is answered only while the node waits
for a ramdisk, and the agent's token is handed out once per boot; a heartbeat proves
itself with that token (security.md, "provisioning ramdisk").

The boot is ``node.agent_boot``, set by the job that boots the ramdisk, which then
also clears ``agent_secret``.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import func, update

from holdfast.baremetal import models
from holdfast.baremetal.credentials import MASK
from holdfast.baremetal.resources import NODES
from holdfast.baremetal.service.reading import Document, documents, selection
from holdfast.baremetal.service.rows import (
    NodeRow,
    as_uuid,
    node_by_uuid,
    node_not_found,
    nodes_for_lookup,
)
from holdfast.baremetal.service.secrets import NodeSecrets
from holdfast.baremetal.settings import BaremetalSettings
from holdfast.baremetal.states import RAMDISK
from holdfast.errors import InvalidInputError, NotFoundError
from holdfast.store.model import Json, ObjectRef
from holdfast.store.pg.database import Database
from holdfast.store.port import Store

_LOG = structlog.get_logger("holdfast.baremetal")

HEARTBEAT = "heartbeat"
"""The key under which a job finds the last heartbeat in its inbox."""

LOCKED_OUT = "locked_out"
"""The key under which it finds the boot whose ramdisk asked for its token a second time."""

SHOWN = ("uuid", "properties", "instance_info", "driver_internal_info", "links")
_ADDRESSES_MAX = 256


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """The body of ``POST /v1/heartbeat/{ident}``. Unknown fields of newer agents are ignored."""

    callback_url: str
    agent_token: str | None = None
    agent_version: str | None = None
    agent_verify_ca: str | None = None
    agent_status: str | None = None
    agent_status_message: str | None = None


class Ramdisk:
    """Answers the agents in the ramdisks."""

    def __init__(
        self, db: Database, store: Store, secrets: NodeSecrets, settings: BaremetalSettings
    ) -> None:
        self._db = db
        self._store = store
        self._secrets = secrets
        self._settings = settings

    async def lookup(
        self, addresses: str | None, node_uuid: str | None
    ) -> tuple[Document, dict[str, Json]]:
        """The node that a booted ramdisk belongs to, and the agent's configuration.

        ``addresses``: comma-separated hardware addresses. Raises ``NotFoundError`` unless
        exactly one node matches and waits for a ramdisk.
        """
        uuid = as_uuid(node_uuid) if node_uuid else None
        macs = [part.strip().lower() for part in (addresses or "").split(",") if part.strip()]
        if node_uuid and uuid is None:
            raise InvalidInputError(f"Expected a UUID as node_uuid but received {node_uuid}.")
        if uuid is None and not macs:
            raise InvalidInputError("A lookup needs addresses or node_uuid")
        found = await nodes_for_lookup(self._db, uuid, macs[:_ADDRESSES_MAX], sorted(RAMDISK))
        if len(found) != 1:
            # Why is not said: whoever asks has proved nothing.
            raise NotFoundError("No node that waits for a ramdisk matches this lookup.")
        node = found[0]
        config: dict[str, Json] = {
            "heartbeat_timeout": self._settings.heartbeat_s,
            "agent_token": await self._token(node),
            "agent_token_required": True,
            "metrics": {"backend": "noop"},
        }
        return await self._shown(node.uuid), config

    async def _shown(self, uuid: UUID) -> Document:
        chosen = selection(NODES, SHOWN)
        records = await self._db.fetch(f"{chosen.sql} where n.uuid = $1", uuid)
        if not records:
            raise node_not_found(str(uuid))
        return documents(records, chosen)[0]

    async def _token(self, node: NodeRow) -> str:
        """The boot's token for the first who asks, a mask for everybody after."""
        boot = node.agent_boot
        if boot is None:
            return MASK
        if node.agent_secret is None:
            token, sealed = self._secrets.new_agent_token(node.uuid, boot)
            columns = models.NODE.c
            given = await self._db.execute(
                update(models.NODE)
                .where(
                    columns.uuid == node.uuid,
                    columns.agent_boot == boot,
                    columns.agent_secret.is_(None),
                )
                .values(agent_secret=sealed)
            )
            _LOG.info("agent token", node=str(node.uuid), boot=str(boot), given=bool(given))
            if given:
                return token
        await self._lock_out(node)
        return MASK

    async def _lock_out(self, node: NodeRow) -> None:
        """Tell the job: either the first answer was lost on its way, or a stranger got it.

        In neither case will this boot's ramdisk be heard; the job boots another one.
        """
        job = await self._store.active_job(ObjectRef(models.KIND, node.uuid))
        if job is not None:
            await self._store.signal(job.id, LOCKED_OUT, {"boot": str(node.agent_boot)})
        _LOG.warning("agent token asked for again", node=str(node.uuid), boot=str(node.agent_boot))

    async def heartbeat(self, ident: str, beat: Heartbeat) -> None:
        """Hear an agent: note where it listens and wake the job that waits for it.

        Raises ``NotFoundError`` for an unknown node and ``InvalidInputError`` for a wrong
        token. Without a waiting job the agent is heard and nothing happens, as a late
        heartbeat is no fault of the agent's.
        """
        uuid = as_uuid(ident)
        node = await node_by_uuid(self._db, uuid) if uuid else None
        if node is None:
            raise node_not_found(ident)
        self._check_token(node, beat)
        url = checked_callback(beat.callback_url)
        columns = models.NODE.c
        values: dict[str, Any] = {"agent_last_heartbeat": func.clock_timestamp()}
        await self._db.execute(
            update(models.NODE)
            .where(columns.uuid == node.uuid, columns.agent_boot == node.agent_boot)
            .values(agent_url=url, agent_version=beat.agent_version, **values)
        )
        job = await self._store.active_job(ObjectRef(models.KIND, node.uuid))
        if job is None:
            return
        payload: dict[str, Json] = {
            "boot": str(node.agent_boot),
            "callback_url": url,
            "agent_version": beat.agent_version,
            "agent_verify_ca": beat.agent_verify_ca,
            "agent_status": beat.agent_status,
            "agent_status_message": beat.agent_status_message,
        }
        await self._store.signal(job.id, HEARTBEAT, payload)

    def _check_token(self, node: NodeRow, beat: Heartbeat) -> None:
        if not beat.agent_token:
            raise InvalidInputError("Agent token is required for heartbeat processing.")
        if node.agent_boot is None or node.agent_secret is None:
            raise InvalidInputError(
                f"No agent token was handed out for this boot of node {node.uuid}: look up first."
            )
        if not self._secrets.agent_token_matches(
            node.uuid, node.agent_boot, node.agent_secret, beat.agent_token
        ):
            _LOG.warning("heartbeat with a wrong token", node=str(node.uuid))
            raise InvalidInputError("Invalid agent token received.")


def checked_callback(url: str) -> str:
    """The agent's address, if it is one that commands may be sent to.

    Raises ``InvalidInputError`` for anything but a plain http(s) URL of bounded length.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    plain = (
        parts.scheme in ("http", "https")
        and parts.hostname
        and parts.username is None
        and parts.path in ("", "/")
        and not parts.query
        and not parts.fragment
        and port != 0
        and len(url) <= 512
        and url.isprintable()
    )
    if not plain:
        raise InvalidInputError(
            "callback_url must be http(s)://host[:port], without user, path or query"
        )
    return url.rstrip("/")
