"""The test queries of a generation, asked as clients' queries are: through queue and workers."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from holdfast.errors import HoldfastError
from holdfast.serving.generations.mounted import Mounted
from holdfast.serving.packages.expectations import contains
from holdfast.serving.packages.manifest import TestQuery
from holdfast.serving.pool.queue import Query


async def ask_tests(mounted: Mounted) -> tuple[int, list[str]]:
    """How many were asked, and a sentence for each that was not answered as expected."""
    faults: list[str] = []
    asked = 0
    for spec in mounted.service.endpoints:
        for test in spec.tests:
            asked += 1
            fault = await _ask(mounted, spec.id, test)
            if fault:
                faults.append(f"Test query {asked}, of endpoint {spec.id!r}, {fault}")
    return asked, faults


async def _ask(mounted: Mounted, endpoint: str, test: TestQuery) -> str:
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[tuple[int, bytes]] = loop.create_future()

    def reply(_: Query, status: int, body: bytes) -> None:
        if not answered.done():
            answered.set_result((status, body))

    action = test.action or mounted.pool.first_actions[endpoint]
    now = loop.time()
    body = msgspec.json.encode(test.query)
    try:
        mounted.pool.submit(Query(endpoint, action, body, now, now + mounted.timeout_s, reply))
    except HoldfastError as error:
        return f"is refused: {error.message}"
    status, data = await answered
    try:
        document: Any = msgspec.json.decode(data)
    except msgspec.DecodeError:
        return f"is answered {status}, with what is no JSON."
    if status != 200:
        return f"is answered {status}: {data[:500].decode('utf-8', 'replace')}"
    if test.expect is not None and not contains(document, test.expect):
        return f"is answered {data[:500].decode('utf-8', 'replace')}, not {test.expect}."
    return ""
