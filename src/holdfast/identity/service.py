"""Use cases of authentication: log in, issue, validate and revoke tokens.

``Identity`` is what the rest of the program sees; users, projects and grants are
under ``Identity.directory``, application credentials under ``Identity.credentials``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from holdfast.errors import ForbiddenError, HoldfastError, NotAuthenticatedError
from holdfast.identity import queries
from holdfast.identity.audit import audit, login_failed
from holdfast.identity.credentials import CredentialProof, Credentials
from holdfast.identity.directory import Directory, user_of
from holdfast.identity.models import ADMIN, Project, Scope, Token, User
from holdfast.identity.passwords import LoginLimit, Passwords
from holdfast.identity.policy import Caller, implied
from holdfast.identity.settings import IdentitySettings
from holdfast.identity.tokens import (
    TokenCache,
    TokenHasher,
    derive_key,
    new_audit_id,
    new_secret,
)
from holdfast.store.pg.database import Database, Row

_LOG = structlog.get_logger("holdfast.identity")
_PURGE_BATCH = 1_000


class Identity:
    """Authentication over one database. ``master_key``: the deployment's (see ``tokens``)."""

    def __init__(
        self, db: Database, master_key: bytes, settings: IdentitySettings | None = None
    ) -> None:
        self._db = db
        self.settings = settings or IdentitySettings()
        self.passwords = Passwords(self.settings)
        self._limit = LoginLimit(self.settings)
        self._hasher = TokenHasher(derive_key(master_key))
        self._cache = TokenCache(self.settings)
        self.directory = Directory(db, self.passwords, on_change=self._cache.clear)
        self.credentials = Credentials(db, self.passwords, on_change=self._cache.clear)

    async def login(self, user: str, password: str, *, by_id: bool, address: str = "") -> User:
        """The user with this name (or id) and password.

        Raises ``NotAuthenticatedError``, the same for an unknown user, a wrong password
        and a disabled account, and ``TooManyAttemptsError`` after too many of those.
        """
        self._limit.check(user, address)
        query = queries.USER_BY_ID if by_id else queries.USER_BY_NAME
        row = await self._db.fetchrow(query, user)
        encoded: str | None = row["password_hash"] if row else None
        right = await self.passwords.verify(encoded, password)
        if row is None or not right or not row["enabled"]:
            known = row["id"] if row else None
            raise await self._refused("password", user, known, address)
        return user_of(row)

    async def login_with_credential(
        self, proof: CredentialProof, address: str = ""
    ) -> tuple[User, str, str]:
        """The user of an application credential, the credential's id, and its project.

        Raises as ``login`` does; an expired credential is no different from a wrong secret.
        """
        self._limit.check(proof.label, address)
        row = await self._db.fetchrow(
            queries.CREDENTIAL_TO_LOG_IN, proof.id, proof.name, proof.user_id, proof.user_name
        )
        encoded: str | None = row["secret_hash"] if row else None
        right = await self.passwords.verify(encoded, proof.secret)
        if row is None or not right or not row["enabled"] or not row["current"]:
            known = row["user_id"] if row else None
            raise await self._refused("application_credential", proof.label, known, address)
        user = user_of(row, key="user_id", name="user_name")
        return user, row["id"], row["project"]

    async def _refused(
        self, method: str, asked: str, user_id: str | None, address: str
    ) -> NotAuthenticatedError:
        """Count and record a failed login; returns what to raise, which never says why."""
        self._limit.failed(asked, address)
        _LOG.warning("login failed", method=method, user=asked[:64], address=address)
        await login_failed(self._db, method=method, asked=asked, user_id=user_id, address=address)
        what = "the user name, its domain or the password is wrong, or the user is disabled"
        if method == "application_credential":
            what = "the application credential or its secret is wrong, expired or disabled"
        return NotAuthenticatedError(f"The request you have made requires authentication: {what}.")

    async def issue(
        self,
        user: User,
        scope: Scope,
        methods: Sequence[str],
        *,
        parent: Token | None = None,
        credential: str | None = None,
    ) -> tuple[str, Token]:
        """Make a token: its secret, shown once, and its content.

        ``parent``: the token it is made from; the new one ends no later. ``credential``: the
        id of the application credential that was proved; ``scope`` is then its project.
        Raises ``NotAuthenticatedError`` when the user has no role in the scope.
        """
        if parent is not None and parent.credential is not None:
            raise ForbiddenError(
                "a token made with an application credential cannot be exchanged for another: "
                "log in with the credential again"
            )
        project = await self._project_of(user, scope)
        if scope.system and not await self.directory.roles_of(user.id, None):
            raise NotAuthenticatedError(f"{user.name} has no role in the system")
        secret = new_secret()
        digest = self._hasher.hash(secret)
        await self._db.execute(
            queries.INSERT_TOKEN,
            digest,
            new_audit_id(),
            user.id,
            project.id if project else None,
            scope.system,
            sorted(set(methods) | set(parent.methods if parent else ())),
            self.settings.token_ttl_s,
            parent.expires_at if parent else None,
            credential,
        )
        token = await self.token(secret)
        if token is None:
            raise NotAuthenticatedError("the token ended while it was being made: log in again")
        return secret, token

    async def _project_of(self, user: User, scope: Scope) -> Project | None:
        """The project a scope means, or None for the system and for no scope."""
        if scope.system or scope.unscoped:
            return None
        if scope.implicit and user.default_project is None:
            return None
        if scope.project_name is not None:
            project = await self.directory.find_project(scope.project_name)
        else:
            project = await self.directory.project(scope.project_id or user.default_project or "")
        if (
            project is None
            or not project.enabled
            or not await self.directory.roles_of(user.id, project.id)
        ):
            if scope.implicit:
                return None  # as Keystone: a default project that is no use gives no scope
            raise NotAuthenticatedError(
                f"{user.name} has no role in that project, or there is no such project"
            )
        return project

    async def token(self, secret: str) -> Token | None:
        """The token's content if it is valid now, within the bound of the cache."""
        digest = self._hasher.hash(secret)
        if digest is None:
            return None
        token = self._cache.get(digest)
        if token is not None:
            return token
        generation = self._cache.generation()
        row = await self._db.fetchrow(queries.TOKEN_BY_HASH, digest)
        token = _token(row) if row is not None else None
        if token is not None:
            self._cache.put(digest, token, generation)
        return token

    async def caller(self, secret: str) -> Caller:
        """Who holds this token. Raises ``NotAuthenticatedError`` if nobody does any more."""
        token = await self.token(secret)
        if token is None:
            raise NotAuthenticatedError(
                "The request you have made requires authentication: "
                "the token is unknown, expired or revoked. Get a new one and repeat the request."
            )
        return token.caller

    async def revoke(self, secret: str) -> bool:
        """End a token now; False if there was none."""
        digest = self._hasher.hash(secret)
        if digest is None:
            return False
        async with self._db.transaction() as conn:
            gone = await conn.fetchrow(queries.DELETE_TOKEN, digest)
            if gone is not None:
                data = {"user": gone["account"]}
                await audit(conn, "token.revoke", ("token", gone["audit_id"]), data=data)
        self._cache.clear()
        return gone is not None

    async def purge(self) -> int:
        """Delete expired tokens, in batches; returns how many went."""
        gone = 0
        while True:
            batch = len(await self._db.fetch(queries.PURGE_TOKENS, _PURGE_BATCH))
            gone += batch
            if batch < _PURGE_BATCH:
                return gone

    async def purge_forever(self) -> None:
        """Purge at the configured interval until cancelled; outages are waited out."""
        while True:
            await asyncio.sleep(self.settings.token_purge_interval_s)
            try:
                gone = await self.purge()
            except HoldfastError as error:
                _LOG.warning("token purge put off", reason=error.message)
            else:
                _LOG.debug("expired tokens purged", count=gone)


def _token(row: Row) -> Token | None:
    """A row of ``TOKEN_BY_HASH``; None for a scoped token none of whose roles is left."""
    roles = implied(row["roles"])
    credential: tuple[str, str] | None = None
    if row["credential_id"] is not None:
        credential = (row["credential_id"], row["credential_name"])
        roles &= implied(row["credential_roles"])
    scoped: bool = row["project_id"] is not None or row["system"]
    if scoped and not roles:
        return None
    caller = Caller(
        user_id=row["user_id"],
        user_name=row["user_name"],
        project_id=row["project_id"],
        project_name=row["project_name"],
        roles=roles,
        system=row["system"],
        everywhere=row["system"] or row["project_name"] == ADMIN,
        restricted=credential is not None and not row["unrestricted"],
    )
    return Token(
        caller=caller,
        audit_id=row["audit_id"],
        methods=tuple(row["methods"]),
        issued_at=row["issued_at"],
        expires_at=row["expires_at"],
        expires_in_s=row["expires_in_s"],
        credential=credential,
    )
