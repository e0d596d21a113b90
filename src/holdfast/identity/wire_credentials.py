"""Application credentials on the wire (Identity API v3, "Application Credentials")."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import msgspec

from holdfast.errors import InvalidInputError
from holdfast.identity.credentials import CredentialProof, NewCredential
from holdfast.identity.models import Credential
from holdfast.identity.wire import (
    CredentialMethod,
    CredentialUser,
    check_domain,
    iso,
    name_of,
    role_ref,
)


def proof_of(method: CredentialMethod | None) -> CredentialProof:
    """What is to be proved. Raises ``InvalidInputError`` unless it says which one is meant."""
    if method is None:
        raise InvalidInputError(
            "identity: the method application_credential needs its object of that name"
        )
    if method.id:
        return CredentialProof(secret=method.secret, id=method.id)
    user = method.user or CredentialUser()
    if not method.name or not (user.id or user.name):
        raise InvalidInputError(
            "identity: application_credential needs an id, or a name and its user"
        )
    if not user.id:
        check_domain(user.domain)
    return CredentialProof(
        secret=method.secret,
        name=method.name,
        user_id=user.id,
        user_name=None if user.id else user.name,
    )


_NEVER = datetime(9999, 1, 1, tzinfo=UTC).timestamp()


class RoleRef(msgspec.Struct, frozen=True):
    """A role, by id or name."""

    id: str | None = None
    name: str | None = None


class CredentialBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A credential to create."""

    name: str | None = None
    description: str | None = None
    secret: str | None = None
    expires_at: str | None = None
    roles: list[RoleRef] | None = None
    unrestricted: bool | None = None
    project_id: str | None = None
    access_rules: list[dict[str, Any]] | None = None


class CredentialRequest(msgspec.Struct, frozen=True):
    """POST /v3/users/{id}/application_credentials."""

    application_credential: CredentialBody


def new_credential(asked: CredentialBody, project_id: str | None) -> NewCredential:
    """What is to be made. ``project_id``: that of the caller's token."""
    if asked.access_rules:
        raise InvalidInputError(
            "access_rules are not supported here, and a credential that ignored them would "
            "allow more than you mean: leave them out, and give it fewer roles instead"
        )
    if asked.project_id not in (None, project_id):
        raise InvalidInputError("project_id: a credential is for the project of your token")
    roles = [role.id or role.name or "" for role in asked.roles or ()]
    if "" in roles:
        raise InvalidInputError("roles: each needs an id or a name")
    return NewCredential(
        name=name_of(asked.name),
        description=asked.description or "",
        roles=tuple(roles),
        secret=asked.secret,
        unrestricted=bool(asked.unrestricted),
        expires_at=None if asked.expires_at is None else _expiry(asked.expires_at),
    )


def _expiry(text: str) -> float:
    """A moment in the future, ISO 8601; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInputError(
            f"expires_at: {text[:40]!r} is no time; write it like 2030-01-31T12:00:00Z"
        ) from None
    at = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if at <= time.time():
        raise InvalidInputError("expires_at: this moment has passed")
    if at >= _NEVER:
        raise InvalidInputError("expires_at: leave it out for a credential that does not expire")
    return at


def credential_view(credential: Credential, url: str) -> dict[str, Any]:
    """A credential; ``url`` is that of ``/v3``."""
    path = f"users/{credential.user_id}/application_credentials/{credential.id}"
    return {
        "id": credential.id,
        "name": credential.name,
        "description": credential.description,
        "user_id": credential.user_id,
        "project_id": credential.project_id,
        "roles": [{**role_ref(role), "domain_id": None} for role in credential.roles],
        "unrestricted": credential.unrestricted,
        "expires_at": None if credential.expires_at is None else iso(credential.expires_at)[:-1],
        "system": None,
        "links": {"self": f"{url}/{path}"},
    }
