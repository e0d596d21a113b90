"""/cluster/v1/services: which process does what and where, by the names that people know (X21)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import urlsplit

from litestar import get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from holdfast.core.settings import CoreSettings
from holdfast.store.model import Member, MemberState
from holdfast.store.port import Store

Document = dict[str, Any]

BINARIES: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "engine": (("heat-eng", ""),),
    "api": (("heat-api", "orchestration"), ("ironic-api", "baremetal")),
    "conductor": (("ironic-conductor", ""),),
}
"""Role -> what its processes are called elsewhere, and which API each stands for, if any."""


@dataclass(frozen=True, kw_only=True)
class Posts:
    """What members do not say of themselves. ``ports``: local port -> the API at its root.

    Hosts of one deployment are set up alike: the ports of the process that answers stand for
    those of all.
    """

    ports: Mapping[int, str] = field(default_factory=dict[int, str])
    lease_s: float = CoreSettings().lease_s


TheStore: TypeAlias = NamedDependency[SkipValidation[Store]]
ThePosts: TypeAlias = NamedDependency[SkipValidation[Posts]]


@get("/v1/services", opt={"policy": "cluster:read"})
async def list_services(store: TheStore, posts: ThePosts) -> Document:
    """A line for each process and each thing it does."""
    return {"services": documents(await store.members(gone=True), posts)}


def documents(members: Iterable[Member], posts: Posts) -> list[Document]:
    """Every process by host and slot; of one that is gone its last incarnation, as down. Pure.

    ``updated_at``: when it last renewed its lease, in epoch seconds.
    """
    latest: dict[tuple[str, str], Member] = {}
    for member in sorted(members, key=_rank):
        latest[member.host, member.slot] = member
    return [
        {
            "id": str(member.id),
            "slot": member.slot,
            "host": member.host,
            "hostname": f"{member.slot}.{member.host}",
            "binary": binary,
            "port": _port(member, api, posts),
            "status": _status(member),
            "updated_at": max(member.registered_at, member.lease_until - posts.lease_s),
        }
        for _, member in sorted(latest.items())
        for binary, api in BINARIES.get(member.role, ((f"holdfast-{member.role}", ""),))
    ]


def _rank(member: Member) -> tuple[bool, float]:
    return member.state is not MemberState.GONE, member.registered_at


def _status(member: Member) -> str:
    if member.state is MemberState.GONE:
        return "down"
    return "draining" if member.drain_requested else member.state.value


def _port(member: Member, api: str, posts: Posts) -> int:
    """An API's own port, else the one it shares with the others; 0: it listens on none."""
    own = next((port for port, name in posts.ports.items() if api and name == api), 0)
    return own or urlsplit(member.address).port or 0
