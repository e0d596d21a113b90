"""/v3/users/{id}/application_credentials: each user's own; administrators see and end them."""

from __future__ import annotations

from typing import Any

from litestar import delete, get, post

from holdfast.errors import ForbiddenError, NotFoundError
from holdfast.identity import wire
from holdfast.identity.parameters import AnyRequest, PathId, TheCaller, TheIdentity
from holdfast.identity.policy import Caller, Role
from holdfast.identity.wire_credentials import CredentialRequest, credential_view, new_credential

_PATH = "/v3/users/{user_id:str}/application_credentials"
_SELF = {"policy": "identity:self"}


def _v3(request: AnyRequest) -> str:
    return f"{request.state.api_url}/v3"


def _check(caller: Caller, user_id: str, role: Role) -> None:
    """One's own, or anybody's for whoever has the role everywhere."""
    if caller.user_id != user_id and not (caller.everywhere and caller.has(role)):
        raise NotFoundError(f"Could not find user: {user_id}.")


@get(_PATH, opt=_SELF)
async def list_credentials(
    request: AnyRequest, user_id: PathId, identity: TheIdentity, caller: TheCaller
) -> dict[str, Any]:
    """A user's application credentials, filtered by ``name``."""
    _check(caller, user_id, Role.READER)
    found = await identity.credentials.of(user_id, name=request.query_params.get("name"))
    url = _v3(request)
    views = [credential_view(one, url) for one in found]
    key = "application_credentials"
    return wire.collection(key, views, f"{url}/users/{user_id}/{key}")


@get(_PATH + "/{credential_id:str}", opt=_SELF)
async def show_credential(
    request: AnyRequest,
    user_id: PathId,
    credential_id: PathId,
    identity: TheIdentity,
    caller: TheCaller,
) -> dict[str, Any]:
    """One application credential, without its secret."""
    _check(caller, user_id, Role.READER)
    found = await identity.credentials.one(user_id, credential_id)
    return {"application_credential": credential_view(found, _v3(request))}


@post(_PATH, opt=_SELF)
async def create_credential(
    request: AnyRequest, user_id: PathId, identity: TheIdentity, caller: TheCaller
) -> dict[str, Any]:
    """A new one for oneself in the project of one's token; the secret is shown this once."""
    asked = wire.decode(await request.body(), CredentialRequest).application_credential
    if caller.user_id != user_id:
        raise ForbiddenError("nobody makes application credentials for somebody else")
    new = new_credential(asked, caller.project_id)
    roles = await identity.directory.roles()
    made, secret = await identity.credentials.create(caller, new, roles)
    view = credential_view(made, _v3(request))
    return {"application_credential": {**view, "secret": secret}}


@delete(_PATH + "/{credential_id:str}", opt=_SELF)
async def delete_credential(
    user_id: PathId, credential_id: PathId, identity: TheIdentity, caller: TheCaller
) -> None:
    """End it, with all tokens made with it."""
    _check(caller, user_id, Role.ADMIN)
    await identity.credentials.delete(caller, user_id, credential_id)


@get("/v3/users/{user_id:str}/access_rules", opt=_SELF)
async def list_access_rules(
    request: AnyRequest, user_id: PathId, caller: TheCaller
) -> dict[str, Any]:
    """None: credentials are not accepted with access rules here."""
    _check(caller, user_id, Role.READER)
    return wire.collection("access_rules", [], f"{_v3(request)}/users/{user_id}/access_rules")


HANDLERS = [
    list_credentials,
    show_credential,
    create_credential,
    delete_credential,
    list_access_rules,
]
