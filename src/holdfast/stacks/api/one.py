"""One stack: shown, changed, acted on, written down whole, deleted."""

from __future__ import annotations

from litestar import Response, delete, get, patch, post, put
from litestar.response.base import ASGIResponse

from holdfast.errors import InvalidInputError
from holdfast.stacks.api.call import SET_BY_ANSWER, Call, Segment, TheCall
from holdfast.stacks.api.render import (
    output_brief,
    output_whole,
    resource_preview,
    stack_whole,
)
from holdfast.stacks.errors import EntityNotFoundError
from holdfast.stacks.model import Action, Source, Stack, Status
from holdfast.stacks.service.requests import flag_of, read_request
from holdfast.store.model import Json

AT = "/v1/{project:str}/stacks/{name:str}/{ident:str}"
SHOW = {"policy": "stacks:show"}
UPDATE = {"policy": "stacks:update"}
DELETE = {"policy": "stacks:delete"}
ACTION = {"policy": "stacks:action"}
EXPORT = {"policy": "stacks:export"}
ABANDON = {"policy": "stacks:abandon"}


@get(AT, opt=SHOW)
async def show_stack(call: TheCall, name: Segment, ident: Segment) -> Response[bytes]:
    """A stack with its parameters and, unless ``resolve_outputs`` is false, its outputs."""
    listed = await call.listed(name, ident, deleted=True)
    stack = listed.stack
    parameters = await call.stacks.looks.parameters(stack)
    outputs = None
    gone = stack.action is Action.DELETE and stack.status is Status.COMPLETE
    if call.query.flag("resolve_outputs", default=True) and not gone:
        outputs = await call.stacks.looks.outputs(stack)
    return call.answer({"stack": stack_whole(call, listed, parameters, outputs)})


@put(AT, opt=UPDATE, status_code=SET_BY_ANSWER)
async def update_stack(call: TheCall, name: Segment, ident: Segment) -> ASGIResponse:
    """Make it what the request says, and nothing else."""
    return await _update(call, name, ident, patch=False)


@patch(AT, opt=UPDATE, status_code=SET_BY_ANSWER)
async def patch_stack(call: TheCall, name: Segment, ident: Segment) -> ASGIResponse:
    """Change what the request says, keep the rest."""
    return await _update(call, name, ident, patch=True)


async def _update(call: Call, name: str, ident: str, *, patch: bool) -> ASGIResponse:
    stack = await call.stack(name, ident)
    request = read_request(await call.object())
    await call.stacks.life.update(call.caller, stack, request, patch=patch)
    return call.done(202)


@put(f"{AT}/preview", opt=UPDATE)
async def preview_update(call: TheCall, name: Segment, ident: Segment) -> Response[bytes]:
    """What an update would change."""
    return await _preview(call, name, ident, patch=False)


@patch(f"{AT}/preview", opt=UPDATE)
async def preview_patch(call: TheCall, name: Segment, ident: Segment) -> Response[bytes]:
    """What an update over the present parameters would change."""
    return await _preview(call, name, ident, patch=True)


async def _preview(call: Call, name: str, ident: str, *, patch: bool) -> Response[bytes]:
    stack = await call.stack(name, ident)
    request = read_request(await call.object())
    if not patch and request.template is None:
        raise InvalidInputError("No template specified")
    prepared = await call.stacks.life.prepare_update(stack, request, patch=patch)
    found = await call.stacks.previews.update(stack, prepared)
    shown = {
        fate: [resource_preview(call, stack, one) for one in previews]
        for fate, previews in found.items()
    }
    return call.answer({"resource_changes": shown})


@delete(AT, opt=DELETE, status_code=SET_BY_ANSWER)
async def delete_stack(call: TheCall, name: Segment, ident: Segment) -> ASGIResponse:
    """Take it away. One that is going already goes on."""
    await call.stacks.life.delete(await call.stack(name, ident))
    return call.done(204)


_ACTIONS = ("suspend", "resume", "check", "cancel_update", "cancel_without_rollback")


@post(f"{AT}/actions", opt=ACTION, status_code=SET_BY_ANSWER)
async def act_on_stack(call: TheCall, name: Segment, ident: Segment) -> Response[bytes]:
    """``{"suspend": null}`` and the like: one action."""
    stack = await call.stack(name, ident)
    body = await call.object()
    if len(body) != 1:
        raise InvalidInputError(
            "No action specified" if not body else "Multiple actions specified: one at a time"
        )
    (action, argument) = next(iter(body.items()))
    if action not in _ACTIONS:
        raise InvalidInputError(
            f"Invalid action {action[:80]!r} specified: there are {', '.join(_ACTIONS)}"
        )
    if argument not in (None, "", {}):
        flag_of(action, argument)
    if action == "cancel_update":
        await call.stacks.life.cancel_update(stack)
    elif action == "cancel_without_rollback":
        await call.stacks.life.cancel_without_rollback(stack)
    else:
        await call.stacks.life.act(call.caller, stack, Action(action.upper()))
    return call.answer(None)


@get(f"{AT}/template", opt=SHOW)
async def show_template(call: TheCall, name: Segment, ident: Segment) -> Response[bytes]:
    """The template it is made of."""
    stack = await call.stack(name, ident, deleted=True)
    return call.answer((await _source(call, stack)).template)


@get(f"{AT}/environment", opt=SHOW)
async def show_environment(call: TheCall, name: Segment, ident: Segment) -> Response[bytes]:
    """Its environment, hidden parameters masked."""
    stack = await call.stack(name, ident, deleted=True)
    return call.answer(await call.stacks.looks.environment(stack))


@get(f"{AT}/files", opt=SHOW)
async def show_files(call: TheCall, name: Segment, ident: Segment) -> Response[bytes]:
    """The files it came with, by name."""
    stack = await call.stack(name, ident, deleted=True)
    return call.answer((await _source(call, stack)).files)


async def _source(call: Call, stack: Stack) -> Source:
    source = await call.stacks.engine.source(stack.source)
    if source is None:
        raise EntityNotFoundError(f"The template of stack {stack.name} is not there any more.")
    return source


@get(f"{AT}/outputs", opt=SHOW)
async def list_outputs(call: TheCall, name: Segment, ident: Segment) -> Response[bytes]:
    """Which outputs it has."""
    stack = await call.stack(name, ident, deleted=True)
    found = await call.stacks.looks.outputs(stack, resolve=False)
    return call.answer({"outputs": [output_brief(one) for one in found]})


@get(f"{AT}/outputs/{{key:str}}", opt=SHOW)
async def show_output(
    call: TheCall, name: Segment, ident: Segment, key: Segment
) -> Response[bytes]:
    """One output with its value."""
    stack = await call.stack(name, ident, deleted=True)
    return call.answer({"output": output_whole(await call.stacks.looks.output(stack, key))})


@get(f"{AT}/export", opt=EXPORT)
async def export_stack(call: TheCall, name: Segment, ident: Segment) -> Response[bytes]:
    """All of it, as it can be adopted elsewhere."""
    return call.answer(await call.stacks.handing_over.document(await call.stack(name, ident)))


@delete(f"{AT}/abandon", opt=ABANDON, status_code=SET_BY_ANSWER)
async def abandon_stack(call: TheCall, name: Segment, ident: Segment) -> Response[bytes]:
    """Forget it and leave alone what it made."""
    document: dict[str, Json] = await call.stacks.handing_over.abandon(
        await call.stack(name, ident)
    )
    return call.answer(document)


HANDLERS = (
    show_stack,
    update_stack,
    patch_stack,
    preview_update,
    preview_patch,
    delete_stack,
    act_on_stack,
    show_template,
    show_environment,
    show_files,
    list_outputs,
    show_output,
    export_stack,
    abandon_stack,
)
