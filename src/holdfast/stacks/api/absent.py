"""What Heat has and this does not: each answers with a sentence, none with silence."""

from __future__ import annotations

from typing import NoReturn

from litestar import HttpMethod, route

from holdfast.stacks.api.call import SET_BY_ANSWER, TheCall
from holdfast.stacks.api.one import AT
from holdfast.stacks.errors import NotSupportedError

OPT = {"policy": "stacks:show"}


@route(
    [
        f"{AT}/snapshots",
        f"{AT}/snapshots/{{snapshot:str}}",
        f"{AT}/snapshots/{{snapshot:str}}/restore",
    ],
    http_method=[HttpMethod.GET, HttpMethod.POST, HttpMethod.DELETE],
    opt=OPT,
    status_code=SET_BY_ANSWER,
)
async def snapshots(call: TheCall) -> NoReturn:
    """Snapshots of stacks."""
    raise NotSupportedError(
        f"snapshots of stacks are not supported ({call.project}): keep the template and "
        "environment, or use `openstack stack export`"
    )


HANDLERS = (snapshots,)
