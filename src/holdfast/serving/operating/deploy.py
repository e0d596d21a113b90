"""A package on all nodes, and in use there (D4)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from holdfast.errors import HoldfastError
from holdfast.serving.operating.api import NodeApi, name, node_url, without_url


async def load(api: NodeApi, file: Path, service: str, generation: str) -> None:
    """Upload it, load it and run its tests; nothing is switched. Raises what ``call`` does."""
    await api.upload(service, file)
    await api.call("POST", f"services/{name(service)}/generations/{name(generation)}/preload")


async def switch(api: NodeApi, service: str, generation: str) -> None:
    """Let all queries go to a loaded generation."""
    await api.call("POST", f"services/{name(service)}/actions/switchTo/{name(generation)}")


async def serves(api: NodeApi, service: str, generation: str) -> bool:
    """Whether all queries to the service go to this generation, and are answered."""
    for one in (await api.call("GET", "services"))["services"]:
        if one["serviceId"] == service:
            entries = one["mapping"]["entries"]
            mapped = {entry["generation"] for entry in entries if entry["proba"] > 0}
            return bool(one["enabled"] and one["ready"] and mapped == {generation})
    return False


async def deploy(
    file: Path, urls: Sequence[str], service: str, generation: str, quorum: int, key: str
) -> list[dict[str, Any]]:
    """First everyone loads it; only if enough could does anyone switch.

    Gives a report of each node: ``node``, ``state`` (``failed``, ``loaded``, ``active``),
    ``detail``. Active is who serves it, even if it did before, or failed to take it once more.
    """

    async def prepare(url: str) -> dict[str, Any]:
        try:
            async with NodeApi(url, key) as api:
                await load(api, file, service, generation)
        except HoldfastError as error:
            return {"node": url, "state": "failed", "detail": without_url(error, url)}
        return {"node": url, "state": "loaded", "detail": ""}

    async def activate(report: dict[str, Any]) -> dict[str, Any]:
        if report["state"] != "loaded":
            return report
        try:
            async with NodeApi(report["node"], key) as api:
                await switch(api, service, generation)
        except HoldfastError as error:
            detail = without_url(error, report["node"])
            return {**report, "state": "failed", "detail": detail}
        return {**report, "state": "active"}

    async def seen(report: dict[str, Any]) -> dict[str, Any]:
        if report["state"] == "active":
            return report
        try:
            async with NodeApi(report["node"], key) as api:
                served = await serves(api, service, generation)
        except HoldfastError:
            return report
        return {**report, "state": "active"} if served else report

    reports = await asyncio.gather(*[prepare(node_url(url)) for url in urls])
    if sum(one["state"] == "loaded" for one in reports) >= quorum:
        reports = await asyncio.gather(*[activate(report) for report in reports])
    return list(await asyncio.gather(*[seen(report) for report in reports]))
