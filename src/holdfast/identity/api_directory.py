"""/v3 users, projects, and the one domain: listed, shown, changed."""

from __future__ import annotations

from typing import Any

from litestar import delete, get, patch, post

from holdfast.errors import ForbiddenError, InvalidInputError, NotAuthenticatedError, NotFoundError
from holdfast.identity import wire
from holdfast.identity.models import DOMAIN_ID, DOMAIN_NAME, Project, User
from holdfast.identity.parameters import AnyRequest, PathId, TheCaller, TheIdentity
from holdfast.identity.policy import Caller, Role


def _v3(request: AnyRequest) -> str:
    return f"{request.state.api_url}/v3"


def _enabled(request: AnyRequest) -> bool | None:
    """The filter ``enabled`` as Keystone reads it: anything but 0 or false is true."""
    value = request.query_params.get("enabled")
    return None if value is None else value.lower() not in ("0", "false")


def _elsewhere(request: AnyRequest) -> bool:
    """Whether the filter names a domain that does not exist here."""
    return request.query_params.get("domain_id", DOMAIN_ID) != DOMAIN_ID


def _oversees(caller: Caller) -> bool:
    return caller.everywhere and caller.has(Role.READER)


# Projects


@get("/v3/projects", opt={"policy": "identity:list"})
async def list_projects(request: AnyRequest, identity: TheIdentity) -> dict[str, Any]:
    """All projects, filtered by ``name``, ``enabled`` and ``tags`` (by commas, all of them)."""
    found: list[Project] = []
    if not _elsewhere(request):
        tags = request.query_params.get("tags")
        found = await identity.directory.projects(
            name=request.query_params.get("name"),
            enabled=_enabled(request),
            tags=None if tags is None else tags.split(","),
        )
    url = _v3(request)
    return wire.collection(
        "projects", [wire.project_view(project, url) for project in found], f"{url}/projects"
    )


@get("/v3/projects/{project_id:str}", opt={"policy": "identity:self"})
async def show_project(
    request: AnyRequest,
    project_id: PathId,
    identity: TheIdentity,
    caller: TheCaller,
) -> dict[str, Any]:
    """One project: one's own, or any for readers of the system."""
    project = await identity.directory.project(project_id)
    if project is None or not (_oversees(caller) or caller.project_id == project_id):
        raise NotFoundError(f"Could not find project: {project_id}.")
    return {"project": wire.project_view(project, _v3(request))}


@post("/v3/projects", opt={"policy": "identity:change"})
async def create_project(request: AnyRequest, identity: TheIdentity) -> dict[str, Any]:
    """A new project in the one domain."""
    asked = wire.decode(await request.body(), wire.ProjectRequest).project
    _check_project(asked)
    project = await identity.directory.create_project(
        wire.name_of(asked.name),
        asked.description or "",
        asked.enabled is not False,
        asked.tags or (),
    )
    return {"project": wire.project_view(project, _v3(request))}


@patch("/v3/projects/{project_id:str}", opt={"policy": "identity:change"})
async def update_project(
    request: AnyRequest, project_id: PathId, identity: TheIdentity
) -> dict[str, Any]:
    """Change name, description, tags or whether it is enabled."""
    asked = wire.decode(await request.body(), wire.ProjectRequest).project
    _check_project(asked)
    name = None if asked.name is None else wire.name_of(asked.name)
    project = await identity.directory.update_project(
        project_id, name, asked.description, asked.enabled, asked.tags
    )
    return {"project": wire.project_view(project, _v3(request))}


@delete("/v3/projects/{project_id:str}", opt={"policy": "identity:change"})
async def delete_project(project_id: PathId, identity: TheIdentity) -> None:
    """Remove a project with its grants and tokens."""
    await identity.directory.delete_project(project_id)


def _check_project(asked: wire.ProjectBody) -> None:
    wire.check_domain_id(asked.domain_id)
    wire.check_domain_id(asked.parent_id)
    if asked.is_domain or asked.options:
        raise InvalidInputError("project: is_domain and options are not supported here")


# Users


@get("/v3/users", opt={"policy": "identity:list"})
async def list_users(request: AnyRequest, identity: TheIdentity) -> dict[str, Any]:
    """All users, filtered by ``name`` and ``enabled``."""
    found: list[User] = []
    if not _elsewhere(request):
        found = await identity.directory.users(
            name=request.query_params.get("name"), enabled=_enabled(request)
        )
    url = _v3(request)
    return wire.collection("users", [wire.user_view(user, url) for user in found], f"{url}/users")


@get("/v3/users/{user_id:str}", opt={"policy": "identity:self"})
async def show_user(
    request: AnyRequest,
    user_id: PathId,
    identity: TheIdentity,
    caller: TheCaller,
) -> dict[str, Any]:
    """One user: oneself, or anybody for readers of the system."""
    user = await identity.directory.user(user_id)
    if user is None or not (_oversees(caller) or caller.user_id == user_id):
        raise NotFoundError(f"Could not find user: {user_id}.")
    return {"user": wire.user_view(user, _v3(request))}


@get("/v3/users/{user_id:str}/projects", opt={"policy": "identity:self"})
async def projects_of_user(
    request: AnyRequest,
    user_id: PathId,
    identity: TheIdentity,
    caller: TheCaller,
) -> dict[str, Any]:
    """The projects in which a user has a role."""
    if not (_oversees(caller) or caller.user_id == user_id):
        raise NotFoundError(f"Could not find user: {user_id}.")
    url = _v3(request)
    found = await identity.directory.projects_of(user_id)
    views = [wire.project_view(project, url) for project in found]
    return wire.collection("projects", views, f"{url}/users/{user_id}/projects")


@post("/v3/users", opt={"policy": "identity:change"})
async def create_user(request: AnyRequest, identity: TheIdentity) -> dict[str, Any]:
    """A new user; it has no role yet."""
    asked = wire.decode(await request.body(), wire.UserRequest).user
    _check_user(asked)
    if asked.password is None:
        raise InvalidInputError("password: a user needs one here")
    user = await identity.directory.create_user(
        wire.name_of(asked.name),
        asked.password,
        asked.default_project_id,
        asked.enabled is not False,
        description=asked.description or "",
        email=asked.email,
    )
    return {"user": wire.user_view(user, _v3(request))}


@patch("/v3/users/{user_id:str}", opt={"policy": "identity:change"})
async def update_user(
    request: AnyRequest, user_id: PathId, identity: TheIdentity
) -> dict[str, Any]:
    """Change a user; a new password or disabling ends its tokens."""
    asked = wire.decode(await request.body(), wire.UserRequest).user
    _check_user(asked)
    user = await identity.directory.update_user(
        user_id,
        name=None if asked.name is None else wire.name_of(asked.name),
        password=asked.password,
        default_project=asked.default_project_id,
        enabled=asked.enabled,
        description=asked.description,
        email=asked.email,
    )
    return {"user": wire.user_view(user, _v3(request))}


@delete("/v3/users/{user_id:str}", opt={"policy": "identity:change"})
async def delete_user(user_id: PathId, identity: TheIdentity) -> None:
    """Remove a user with its grants and tokens."""
    await identity.directory.delete_user(user_id)


@post("/v3/users/{user_id:str}/password", opt={"policy": "identity:self"}, status_code=204)
async def change_password(
    request: AnyRequest,
    user_id: PathId,
    identity: TheIdentity,
    caller: TheCaller,
) -> None:
    """Change one's own password; it ends all one's tokens."""
    asked = wire.decode(await request.body(), wire.PasswordRequest).user
    if user_id != caller.user_id:
        raise ForbiddenError("only the user itself changes its password this way")
    address = request.client.host if request.client else ""
    try:
        await identity.login(user_id, asked.original_password, by_id=True, address=address)
    except NotAuthenticatedError:
        raise NotAuthenticatedError("original_password: this is not the password") from None
    await identity.directory.update_user(user_id, password=asked.password)


def _check_user(asked: wire.UserBody) -> None:
    wire.check_domain_id(asked.domain_id)
    if asked.options:
        raise InvalidInputError("user: options are not supported here")


# Domains, and the catalog as lists


@get("/v3/domains", opt={"policy": "identity:list"})
async def list_domains(request: AnyRequest) -> dict[str, Any]:
    """The one domain."""
    url = f"{_v3(request)}/domains"
    wanted = request.query_params.get("name", DOMAIN_NAME).lower() == DOMAIN_NAME.lower()
    return wire.collection("domains", [_domain(request)] if wanted else [], url)


@get("/v3/domains/{domain_id:str}", opt={"policy": "identity:self"})
async def show_domain(request: AnyRequest, domain_id: PathId) -> dict[str, Any]:
    """The one domain, by id."""
    if domain_id != DOMAIN_ID:
        raise NotFoundError(f"Could not find domain: {domain_id}.")
    return {"domain": _domain(request)}


@post("/v3/domains", opt={"policy": "identity:change"})
async def create_domain() -> None:
    """Refused: there is one domain."""
    raise ForbiddenError("there is one domain here, Default: use projects to keep users apart")


@get("/v3/groups", opt={"policy": "identity:list"})
async def list_groups(request: AnyRequest) -> dict[str, Any]:
    """None: roles are granted to users."""
    return wire.collection("groups", [], f"{_v3(request)}/groups")


@post("/v3/groups", opt={"policy": "identity:change"})
async def create_group() -> None:
    """Refused: there are no groups."""
    raise ForbiddenError("there are no groups here: grant roles to users")


def _domain(request: AnyRequest) -> dict[str, Any]:
    return {
        **wire.DOMAIN,
        "enabled": True,
        "description": "The only domain",
        "tags": [],
        "options": {},
        "links": {"self": f"{_v3(request)}/domains/{DOMAIN_ID}"},
    }


HANDLERS = [
    list_projects,
    show_project,
    create_project,
    update_project,
    delete_project,
    list_users,
    show_user,
    projects_of_user,
    create_user,
    update_user,
    delete_user,
    change_password,
    list_domains,
    show_domain,
    create_domain,
    list_groups,
    create_group,
]
