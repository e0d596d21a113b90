"""Settings of the HTTP server and applications (section ``[web]``)."""

from __future__ import annotations

from typing import Annotated

import msgspec

Seconds = Annotated[float, msgspec.Meta(gt=0, le=3600)]


class WebSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Times are in seconds, sizes in bytes."""

    body_bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=2**31)] = 8 * 1024 * 1024
    """Larger request bodies are refused with 413; config drives travel in them."""
    head_bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=2**20)] = 64 * 1024
    """Larger request heads (line and headers) are refused with 400."""
    keep_alive_s: Seconds = 30.0
    """How long an idle connection is kept."""
    drain_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 1.0
    """How long a draining server still accepts, saying no on /readyz, before it stops."""
    finish_s: Seconds = 30.0
    """How long requests in hand may take to finish after that."""
    streams_max: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 100
    """Clients one process streams events to; more are told to come back (503)."""
    stream_beat_s: Seconds = 10.0
    """How often an event stream shows that it lives, and its token is looked at again."""
    ready_check_s: Seconds = 2.0
    """How long /readyz waits for the database to answer."""
    metrics_public: bool = False
    """Whether /metrics answers anybody. Else it answers this host, and whoever has a token
    with the role reader in the system or the admin project."""
    access_log: bool = True
    trusted_proxies: str = "127.0.0.1"
    """Comma-separated addresses whose X-Forwarded-For and -Proto headers are believed."""
