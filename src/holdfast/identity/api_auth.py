"""/v3/auth: tokens issued, validated and revoked, and what a token gives access to."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Response, delete, get, post

from holdfast.errors import ForbiddenError, InvalidInputError, NotAuthenticatedError, NotFoundError
from holdfast.identity import wire
from holdfast.identity.catalog import Catalog
from holdfast.identity.models import Scope, Token, User
from holdfast.identity.parameters import AnyRequest, TheCaller, TheCatalog, TheIdentity
from holdfast.identity.policy import Role
from holdfast.identity.service import Identity
from holdfast.identity.wire_credentials import proof_of

METHODS = ("password", "token", "application_credential")


class Proved(msgspec.Struct, frozen=True, kw_only=True):
    """Who was proved, and by what besides a password: a token, or a credential's id.

    ``scope``: the only one that the proof is good for, if there is only one.
    """

    user: User
    parent: Token | None = None
    credential: str | None = None
    scope: Scope | None = None


@post("/v3/auth/tokens", opt={"policy": "public"})
async def issue(request: AnyRequest, identity: TheIdentity, catalog: TheCatalog) -> Response[Any]:
    """Log in by password, token or application credential: 201 with X-Subject-Token."""
    asked = wire.decode(await request.body(), wire.AuthRequest).auth
    scope = wire.scope_of(asked.scope)
    proved = await _authenticate(request, identity, asked.identity, scope)
    secret, token = await identity.issue(
        proved.user,
        proved.scope or scope,
        asked.identity.methods,
        parent=proved.parent,
        credential=proved.credential,
    )
    request.scope["user"] = token.caller  # for the access log
    view = await _view(request, identity, catalog, token)
    return Response(view, status_code=201, headers={"X-Subject-Token": secret})


async def _authenticate(
    request: AnyRequest, identity: Identity, asked: wire.AuthIdentity, scope: Scope
) -> Proved:
    """Prove every method that is named; they must mean the same user."""
    unknown = set(asked.methods) - set(METHODS)
    if unknown or not asked.methods:
        names = ", ".join(sorted(unknown)) or "none"
        raise NotAuthenticatedError(
            f"Attempted to authenticate with an unsupported method ({names}): "
            f"{', '.join(METHODS)} are supported here"
        )
    proofs: list[Proved] = []
    if "password" in asked.methods:
        proofs.append(Proved(user=await _by_password(request, identity, asked.password)))
    if "token" in asked.methods:
        proofs.append(await _by_token(identity, asked.token))
    if "application_credential" in asked.methods:
        proofs.append(await _by_credential(request, identity, asked, scope))
    if len({proof.user.id for proof in proofs}) > 1:
        raise NotAuthenticatedError("the methods name different users")
    return Proved(
        user=proofs[0].user,
        parent=next((proof.parent for proof in proofs if proof.parent), None),
        credential=next((proof.credential for proof in proofs if proof.credential), None),
        scope=next((proof.scope for proof in proofs if proof.scope), None),
    )


async def _by_token(identity: Identity, method: wire.TokenMethod | None) -> Proved:
    if method is None:
        raise InvalidInputError("identity: the method token needs its object token")
    parent = await identity.token(method.id)
    user = await identity.directory.user(parent.caller.user_id) if parent else None
    if parent is None or user is None:
        raise NotAuthenticatedError("the token to log in with is unknown, expired or revoked")
    return Proved(user=user, parent=parent)


async def _by_credential(
    request: AnyRequest, identity: Identity, asked: wire.AuthIdentity, scope: Scope
) -> Proved:
    """The scope is the credential's project, and cannot be chosen."""
    proof = proof_of(asked.application_credential)
    if not (scope.implicit or scope.unscoped):
        raise NotAuthenticatedError(
            "Application credentials cannot request a scope: it is that of their project"
        )
    user, credential, project = await identity.login_with_credential(proof, _address(request))
    return Proved(user=user, credential=credential, scope=Scope(project_id=project))


def _address(request: AnyRequest) -> str:
    return request.client.host if request.client else ""


async def _by_password(
    request: AnyRequest, identity: Identity, method: wire.PasswordMethod | None
) -> User:
    if method is None:
        raise InvalidInputError("identity: the method password needs its object password")
    asked = method.user
    if not (asked.id or asked.name):
        raise InvalidInputError("identity: password.user needs an id, or a name and its domain")
    if not asked.id:
        wire.check_domain(asked.domain)
    return await identity.login(
        asked.id or asked.name or "",
        asked.password,
        by_id=bool(asked.id),
        address=_address(request),
    )


@get("/v3/auth/tokens", opt={"policy": "identity:token:validate"})
async def validate(
    request: AnyRequest,
    identity: TheIdentity,
    catalog: TheCatalog,
    caller: TheCaller,
) -> Response[Any]:
    """What a token is good for; 404 if it is good for nothing."""
    secret, token = await _subject(request, identity)
    if token.caller.user_id != caller.user_id and not (
        caller.everywhere and caller.has(Role.READER)
    ):
        raise ForbiddenError(
            "only administrators and readers of the system validate others' tokens"
        )
    view = await _view(request, identity, catalog, token)
    return Response(view, headers={"X-Subject-Token": secret})


@delete("/v3/auth/tokens", opt={"policy": "identity:token:revoke"})
async def revoke(request: AnyRequest, identity: TheIdentity, caller: TheCaller) -> None:
    """End a token: one's own, or anybody's for an administrator."""
    secret, token = await _subject(request, identity)
    if token.caller.user_id != caller.user_id and not (
        caller.everywhere and caller.has(Role.ADMIN)
    ):
        raise ForbiddenError("only an administrator of the system revokes others' tokens")
    await identity.revoke(secret)


async def _subject(request: AnyRequest, identity: Identity) -> tuple[str, Token]:
    secret = request.headers.get("X-Subject-Token")
    if not secret:
        raise InvalidInputError("the header X-Subject-Token names the token, and it is missing")
    token = await identity.token(secret)
    if token is None:
        raise NotFoundError("there is no such token: it is unknown, expired or revoked")
    return secret, token


async def _view(
    request: AnyRequest, identity: Identity, catalog: Catalog, token: Token
) -> dict[str, Any]:
    wanted = "nocatalog" not in request.query_params
    return wire.token_view(
        token,
        await identity.directory.roles(),
        catalog.view(request.state.address, token.caller.project_id) if wanted else None,
    )


@get("/v3/auth/catalog", opt={"policy": "identity:self"})
async def show_catalog(
    request: AnyRequest, catalog: TheCatalog, caller: TheCaller
) -> dict[str, Any]:
    """The catalog for the caller's scope; a token of no scope has none."""
    if not caller.roles:
        raise ForbiddenError("a token without scope has no catalog: log in to a project")
    url = f"{request.state.api_url}/v3/auth/catalog"
    return wire.collection("catalog", catalog.view(request.state.address, caller.project_id), url)


@get("/v3/auth/projects", opt={"policy": "identity:self"})
async def my_projects(
    request: AnyRequest, identity: TheIdentity, caller: TheCaller
) -> dict[str, Any]:
    """The projects the caller could scope to."""
    url = f"{request.state.api_url}/v3"
    projects = await identity.directory.projects_of(caller.user_id)
    views = [wire.project_view(project, url) for project in projects]
    return wire.collection("projects", views, f"{url}/auth/projects")


@get("/v3/auth/system", opt={"policy": "identity:self"})
async def my_system(
    request: AnyRequest, identity: TheIdentity, caller: TheCaller
) -> dict[str, Any]:
    """Whether the caller could scope to the system."""
    roles = await identity.directory.roles_of(caller.user_id, None)
    url = f"{request.state.api_url}/v3/auth/system"
    return wire.collection("system", [{"all": True}] if roles else [], url)


@get("/v3/auth/domains", opt={"policy": "identity:self"})
async def my_domains(request: AnyRequest) -> dict[str, Any]:
    """The domains the caller could scope to: none, tokens are for projects or the system."""
    return wire.collection("domains", [], f"{request.state.api_url}/v3/auth/domains")


HANDLERS = [issue, validate, revoke, show_catalog, my_projects, my_system, my_domains]
