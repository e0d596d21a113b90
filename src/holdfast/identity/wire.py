"""The Identity API v3 on the wire: requests decoded strictly, answers as Keystone shapes them.

Reference: OpenStack Identity API v3; compat.md, "Identity (Keystone v3)".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec

from holdfast.errors import InvalidInputError, NotAuthenticatedError
from holdfast.identity.models import (
    DOMAIN_ID,
    DOMAIN_NAME,
    Grant,
    Project,
    RoleRow,
    Scope,
    Token,
    User,
)

VERSION_ID = "v3.14"
_VERSION_UPDATED = "2020-04-07T00:00:00Z"
_MEDIA_TYPE = "application/vnd.openstack.identity-v3+json"
DOMAIN = {"id": DOMAIN_ID, "name": DOMAIN_NAME}

T = TypeVar("T")


# Requests of /v3/auth/tokens


class DomainRef(msgspec.Struct, frozen=True):
    """A domain, by id or name."""

    id: str | None = None
    name: str | None = None


class UserRef(msgspec.Struct, frozen=True):
    """Who logs in: by id, or by name and domain."""

    password: str
    id: str | None = None
    name: str | None = None
    domain: DomainRef | None = None


class PasswordMethod(msgspec.Struct, frozen=True):
    """The method ``password``."""

    user: UserRef


class TokenMethod(msgspec.Struct, frozen=True):
    """The method ``token``."""

    id: str


class CredentialUser(msgspec.Struct, frozen=True):
    """Whose application credential it is: by id, or by name and domain."""

    id: str | None = None
    name: str | None = None
    domain: DomainRef | None = None


class CredentialMethod(msgspec.Struct, frozen=True):
    """The method ``application_credential``: by id, or by name and user."""

    secret: str
    id: str | None = None
    name: str | None = None
    user: CredentialUser | None = None


class AuthIdentity(msgspec.Struct, frozen=True):
    """The methods and what proves them."""

    methods: list[str]
    password: PasswordMethod | None = None
    token: TokenMethod | None = None
    application_credential: CredentialMethod | None = None


class ProjectRef(msgspec.Struct, frozen=True):
    """A project, by id, or by name and domain."""

    id: str | None = None
    name: str | None = None
    domain: DomainRef | None = None


class AuthScope(msgspec.Struct, frozen=True):
    """What the token shall be for."""

    project: ProjectRef | None = None
    system: dict[str, bool] | None = None
    domain: DomainRef | None = None
    unscoped: dict[str, Any] | None = None


class Auth(msgspec.Struct, frozen=True):
    """The object ``auth``."""

    identity: AuthIdentity
    scope: AuthScope | str | None = None  # keystoneauth sends the string "unscoped" too


class AuthRequest(msgspec.Struct, frozen=True):
    """POST /v3/auth/tokens."""

    auth: Auth


# Requests of the directory. Unknown fields are refused, so that nobody believes they took.


Tag: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[^,/]*$")]
Prose: TypeAlias = Annotated[str, msgspec.Meta(max_length=4096)]


class ProjectBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A project to create, or what to change of one."""

    name: str | None = None
    description: Prose | None = None
    enabled: bool | None = None
    domain_id: str | None = None
    parent_id: str | None = None
    is_domain: bool = False
    tags: list[Tag] | None = None
    options: dict[str, Any] = {}


class ProjectRequest(msgspec.Struct, frozen=True):
    """POST and PATCH of projects."""

    project: ProjectBody


class UserBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user to create, or what to change of one."""

    name: str | None = None
    password: str | None = None
    enabled: bool | None = None
    domain_id: str | None = None
    default_project_id: str | None = None
    email: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    description: Prose | None = None
    options: dict[str, Any] = {}


class UserRequest(msgspec.Struct, frozen=True):
    """POST and PATCH of users."""

    user: UserBody


class PasswordChange(msgspec.Struct, frozen=True):
    """The old password and the new one."""

    password: str
    original_password: str


class PasswordRequest(msgspec.Struct, frozen=True):
    """POST /v3/users/{id}/password."""

    user: PasswordChange


def decode(body: bytes, shape: type[T]) -> T:
    """Decode a request. Raises ``InvalidInputError`` naming the field, or the fault in the JSON."""
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"the request has the wrong shape: {error}") from None
    except msgspec.DecodeError as error:
        raise InvalidInputError(f"the request body is not valid JSON: {error}") from None


def name_of(name: str | None) -> str:
    """A name to create something with: 1 to 255 characters, none of them a control one."""
    if name is None or not name.strip() or len(name) > 255 or not name.isprintable():
        raise InvalidInputError("name: 1 to 255 printable characters are needed")
    return name


def check_domain(domain: DomainRef | None) -> None:
    """Raise ``NotAuthenticatedError`` for any domain but the default one."""
    if domain is None or domain.id == DOMAIN_ID or domain.name in (DOMAIN_NAME, DOMAIN_ID):
        return
    raise NotAuthenticatedError(
        f"there is no such domain: the only one here is {DOMAIN_NAME} (id {DOMAIN_ID})"
    )


def check_domain_id(domain_id: str | None) -> None:
    """Raise ``InvalidInputError`` for any domain id but the default one."""
    if domain_id not in (None, DOMAIN_ID):
        raise InvalidInputError(f"domain_id: the only domain here is {DOMAIN_ID}")


def scope_of(asked: AuthScope | str | None) -> Scope:
    """The scope a token is asked for. Raises ``InvalidInputError`` for one that means nothing."""
    if asked is None:
        return Scope()
    if isinstance(asked, str):
        if asked != "unscoped":
            raise InvalidInputError(f"scope: {asked!r} is not a scope; leave it out or name one")
        return Scope(unscoped=True)
    if asked.domain is not None:
        raise InvalidInputError(
            "scope: tokens cannot be scoped to a domain here; use a project or the system"
        )
    if asked.system is not None:
        if asked.system != {"all": True}:
            raise InvalidInputError('scope: the system scope is {"all": true}')
        return Scope(system=True)
    if asked.project is not None:
        if not (asked.project.id or asked.project.name):
            raise InvalidInputError("scope: project needs an id, or a name and its domain")
        check_domain(asked.project.domain)
        if asked.project.id:
            return Scope(project_id=asked.project.id)
        return Scope(project_name=asked.project.name)
    if asked.unscoped is not None:
        return Scope(unscoped=True)
    raise InvalidInputError("scope: name a project or the system")


# Answers


def error_body(status: int, _code: str, message: str) -> dict[str, Any]:
    """An error as every Identity API client reads it: HTTP status, sentence, title."""
    try:
        title = HTTPStatus(status).phrase
    except ValueError:
        title = "Error"
    return {"error": {"code": status, "message": message, "title": title}}


def version_view(url: str) -> dict[str, Any]:
    """The version document; ``url`` is that of ``/v3``."""
    return {
        "id": VERSION_ID,
        "status": "stable",
        "updated": _VERSION_UPDATED,
        "links": [{"rel": "self", "href": f"{url}/"}],
        "media-types": [{"base": "application/json", "type": _MEDIA_TYPE}],
    }


def token_view(
    token: Token, roles: Sequence[RoleRow], catalog: Sequence[Any] | None
) -> dict[str, Any]:
    """The body of a token. ``roles``: all there are, of which the caller's are shown."""
    caller = token.caller
    view: dict[str, Any] = {
        "methods": list(token.methods),
        "user": {
            "domain": DOMAIN,
            "id": caller.user_id,
            "name": caller.user_name,
            "password_expires_at": None,
        },
        "audit_ids": [token.audit_id],
        "issued_at": iso(token.issued_at),
        "expires_at": iso(token.expires_at),
    }
    if caller.project_id is not None:
        view["project"] = {
            "domain": DOMAIN,
            "id": caller.project_id,
            "name": caller.project_name,
        }
        view["is_domain"] = False
    if caller.system:
        view["system"] = {"all": True}
    if token.credential is not None:
        credential_id, name = token.credential
        view["application_credential"] = {
            "id": credential_id,
            "name": name,
            "restricted": caller.restricted,
        }
    if caller.roles:
        view["roles"] = [role_ref(role) for role in roles if role.name in caller.roles]
        if catalog is not None:
            view["catalog"] = list(catalog)
    return {"token": view}


def project_view(project: Project, url: str) -> dict[str, Any]:
    """A project; ``url`` is that of ``/v3``."""
    return {
        "id": project.id,
        "name": project.name,
        "domain_id": DOMAIN_ID,
        "description": project.description,
        "enabled": project.enabled,
        "parent_id": DOMAIN_ID,
        "is_domain": False,
        "tags": list(project.tags),
        "options": {},
        "links": {"self": f"{url}/projects/{project.id}"},
    }


def user_view(user: User, url: str) -> dict[str, Any]:
    """A user; ``url`` is that of ``/v3``. An address is there if there is one, as in Keystone."""
    email = {} if user.email is None else {"email": user.email}
    return {
        **email,
        "id": user.id,
        "name": user.name,
        "domain_id": DOMAIN_ID,
        "enabled": user.enabled,
        "default_project_id": user.default_project,
        "description": user.description,
        "password_expires_at": None,
        "options": {},
        "links": {"self": f"{url}/users/{user.id}"},
    }


def role_view(role: RoleRow, url: str) -> dict[str, Any]:
    """A role; ``url`` is that of ``/v3``."""
    return {
        "id": role.id,
        "name": role.name,
        "domain_id": None,
        "description": None,
        "options": {},
        "links": {"self": f"{url}/roles/{role.id}"},
    }


def role_ref(role: RoleRow) -> dict[str, Any]:
    """A role as tokens show it."""
    return {"id": role.id, "name": role.name}


def grant_view(grant: Grant, names: bool, url: str) -> dict[str, Any]:
    """A role assignment, with names on request."""
    role: dict[str, Any] = {"id": grant.role_id}
    user: dict[str, Any] = {"id": grant.user_id}
    if names:
        role["name"] = grant.role_name
        user |= {"name": grant.user_name, "domain": DOMAIN}
    if grant.project_id is None:
        scope: dict[str, Any] = {"system": {"all": True}}
        path = f"system/users/{grant.user_id}"
    else:
        project: dict[str, Any] = {"id": grant.project_id}
        if names:
            project |= {"name": grant.project_name, "domain": DOMAIN}
        scope = {"project": project}
        path = f"projects/{grant.project_id}/users/{grant.user_id}"
    links = {"assignment": f"{url}/{path}/roles/{grant.role_id}"}
    return {"role": role, "user": user, "scope": scope, "links": links}


def collection(key: str, items: Iterable[Any], url: str) -> dict[str, Any]:
    """A list answer; ``url`` is its own."""
    return {key: list(items), "links": {"self": url, "previous": None, "next": None}}


def iso(epoch_s: float) -> str:
    """``2026-01-31T12:00:00.000000Z``, as keystoneauth parses it."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
