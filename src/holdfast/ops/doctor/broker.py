"""The broker: whether it answers."""

from __future__ import annotations

from holdfast.errors import StoreUnavailableError
from holdfast.ops.doctor.finding import Finding, ok, warn
from holdfast.store.broker.link import probe


async def examine(url: str) -> list[Finding]:
    """One connection; nothing if none is configured. Never a failure: work goes on without."""
    if not url:
        return []
    try:
        return [ok("broker", f"it answers at {await probe(url)}")]
    except StoreUnavailableError as fault:
        return [
            warn(
                "broker",
                f"{fault.message}; engines are woken by NOTIFY meanwhile",
                "start it, or correct [broker] url; without one, remove the setting",
            )
        ]
