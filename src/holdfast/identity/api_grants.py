"""/v3 roles and their assignments to users, in projects and in the system."""

from __future__ import annotations

from typing import Any

from litestar import delete, get, patch, post, put
from msgspec.structs import replace

from holdfast.errors import ForbiddenError, NotFoundError
from holdfast.identity import wire
from holdfast.identity.models import Grant, RoleRow
from holdfast.identity.parameters import AnyRequest, PathId, TheCaller, TheIdentity
from holdfast.identity.policy import Role, implied
from holdfast.identity.service import Identity

_IN_PROJECT = "/v3/projects/{project_id:str}/users/{user_id:str}/roles"
_IN_SYSTEM = "/v3/system/users/{user_id:str}/roles"


def _v3(request: AnyRequest) -> str:
    return f"{request.state.api_url}/v3"


@get("/v3/roles", opt={"policy": "identity:roles"})
async def list_roles(request: AnyRequest, identity: TheIdentity) -> dict[str, Any]:
    """All roles, filtered by ``name``."""
    url = _v3(request)
    found = await identity.directory.roles(name=request.query_params.get("name"))
    return wire.collection("roles", [wire.role_view(role, url) for role in found], f"{url}/roles")


@get("/v3/roles/{role_id:str}", opt={"policy": "identity:roles"})
async def show_role(request: AnyRequest, role_id: PathId, identity: TheIdentity) -> dict[str, Any]:
    """One role."""
    role = await identity.directory.role(role_id)
    if role is None:
        raise NotFoundError(f"Could not find role: {role_id}.")
    return {"role": wire.role_view(role, _v3(request))}


def _fixed(what: str) -> ForbiddenError:
    return ForbiddenError(
        f"{what}: the roles are fixed (admin, member, reader), since policies ask for these; "
        "grant one of them"
    )


@post("/v3/roles", opt={"policy": "identity:change"})
async def create_role() -> None:
    """Refused: a role that no policy knows would grant nothing."""
    raise _fixed("no role can be made")


@patch("/v3/roles/{role_id:str}", opt={"policy": "identity:change"})
async def update_role(role_id: PathId) -> None:
    """Refused, as ``create_role``."""
    raise _fixed(f"role {role_id} cannot be changed")


@delete("/v3/roles/{role_id:str}", opt={"policy": "identity:change"})
async def delete_role(role_id: PathId) -> None:
    """Refused, as ``create_role``."""
    raise _fixed(f"role {role_id} cannot be deleted")


@get("/v3/role_assignments", opt={"policy": "identity:self"})
async def list_assignments(
    request: AnyRequest, identity: TheIdentity, caller: TheCaller
) -> dict[str, Any]:
    """Grants, filtered by ``user.id``, ``scope.project.id``, ``role.id`` and ``scope.system``."""
    query = request.query_params
    user_id = query.get("user.id")
    if user_id != caller.user_id and not (caller.everywhere and caller.has(Role.READER)):
        raise ForbiddenError("only readers of the system see the roles of others")
    found = await identity.directory.grants(
        user_id=user_id,
        project_id=query.get("scope.project.id"),
        role_id=None if "effective" in query else query.get("role.id"),
        system=True if "scope.system" in query else None,
    )
    if "effective" in query:
        found = _effective(found, await identity.directory.roles(), query.get("role.id"))
    names = query.get("include_names", "0").lower() not in ("0", "false")
    url = _v3(request)
    views = [wire.grant_view(grant, names, url) for grant in found]
    return wire.collection("role_assignments", views, f"{url}/role_assignments")


def _effective(grants: list[Grant], roles: list[RoleRow], role_id: str | None) -> list[Grant]:
    """The grants with what each implies, every one once."""
    found: dict[tuple[str, str | None, str], Grant] = {}
    for grant in grants:
        names = implied([grant.role_name])
        for role in roles:
            if role.name in names and role_id in (None, role.id):
                key = (grant.user_id, grant.project_id, role.id)
                found[key] = replace(grant, role_id=role.id, role_name=role.name)
    return list(found.values())


def _listed(request: AnyRequest, roles: list[RoleRow]) -> dict[str, Any]:
    url = _v3(request)
    return wire.collection("roles", [wire.role_view(role, url) for role in roles], f"{url}/roles")


@get(_IN_PROJECT, opt={"policy": "identity:list"})
async def list_project_grants(
    request: AnyRequest,
    project_id: PathId,
    user_id: PathId,
    identity: TheIdentity,
) -> dict[str, Any]:
    """Roles granted to a user in a project."""
    return _listed(request, await identity.directory.roles_of(user_id, project_id))


@get(_IN_PROJECT + "/{role_id:str}", opt={"policy": "identity:list"}, status_code=204)
async def check_project_grant(
    project_id: PathId,
    user_id: PathId,
    role_id: PathId,
    identity: TheIdentity,
) -> None:
    """204 if the role is granted, else 404."""
    await _check(identity, user_id, project_id, role_id)


@put(_IN_PROJECT + "/{role_id:str}", opt={"policy": "identity:change"}, status_code=204)
async def grant_in_project(
    project_id: PathId,
    user_id: PathId,
    role_id: PathId,
    identity: TheIdentity,
) -> None:
    """Grant a role in a project."""
    await identity.directory.grant(user_id, project_id, role_id)


@delete(_IN_PROJECT + "/{role_id:str}", opt={"policy": "identity:change"})
async def revoke_in_project(
    project_id: PathId,
    user_id: PathId,
    role_id: PathId,
    identity: TheIdentity,
) -> None:
    """Take a role in a project away."""
    await identity.directory.revoke_grant(user_id, project_id, role_id)


@get(_IN_SYSTEM, opt={"policy": "identity:list"})
async def list_system_grants(
    request: AnyRequest, user_id: PathId, identity: TheIdentity
) -> dict[str, Any]:
    """Roles granted to a user in the system."""
    return _listed(request, await identity.directory.roles_of(user_id, None))


@get(_IN_SYSTEM + "/{role_id:str}", opt={"policy": "identity:list"}, status_code=204)
async def check_system_grant(user_id: PathId, role_id: PathId, identity: TheIdentity) -> None:
    """204 if the role is granted, else 404."""
    await _check(identity, user_id, None, role_id)


@put(_IN_SYSTEM + "/{role_id:str}", opt={"policy": "identity:change"}, status_code=204)
async def grant_in_system(user_id: PathId, role_id: PathId, identity: TheIdentity) -> None:
    """Grant a role in the system."""
    await identity.directory.grant(user_id, None, role_id)


@delete(_IN_SYSTEM + "/{role_id:str}", opt={"policy": "identity:change"})
async def revoke_in_system(user_id: PathId, role_id: PathId, identity: TheIdentity) -> None:
    """Take a role in the system away."""
    await identity.directory.revoke_grant(user_id, None, role_id)


async def _check(identity: Identity, user_id: str, project_id: str | None, role_id: str) -> None:
    roles = await identity.directory.roles_of(user_id, project_id)
    if all(role.id != role_id for role in roles):
        raise NotFoundError("the user does not have that role there")


HANDLERS = [
    list_roles,
    show_role,
    create_role,
    update_role,
    delete_role,
    list_assignments,
    list_project_grants,
    check_project_grant,
    grant_in_project,
    revoke_in_project,
    list_system_grants,
    check_system_grant,
    grant_in_system,
    revoke_in_system,
]
