"""Acting for somebody later: what a user may still do, of what was delegated once.

A delegation names a user, a project and roles, and holds no credential. Whoever acts on it
(an engine, for a stack) asks here at every use, and gets no more than what the user has by
then: a disabled account, a project taken away or a role revoked end it at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.errors import ForbiddenError
from holdfast.identity import queries
from holdfast.identity.models import ADMIN
from holdfast.identity.policy import Caller, implied
from holdfast.store.pg.database import Database


class Delegations:
    """Looks delegations up in the directory. No cache: a revocation counts at once."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def caller(self, user_id: str, project_id: str, roles: Sequence[str]) -> Caller:
        """The user as a caller in that project, with those of ``roles`` that are still granted.

        Raises ``ForbiddenError`` if nothing of it is left.
        """
        user = await self._db.fetchrow(queries.USER_BY_ID, user_id)
        project = await self._db.fetchrow(queries.PROJECT_BY_ID, project_id)
        granted = await self._db.fetch(queries.ROLES_IN_PROJECT, user_id, project_id)
        left = implied(row["name"] for row in granted) & implied(roles)
        usable = user is not None and user["enabled"] and project is not None and project["enabled"]
        if user is None or project is None or not usable or not left:
            raise ForbiddenError(
                f"what was delegated by user {user_id} in project {project_id} is theirs no more: "
                "an administrator must grant the role again, or somebody who has it must update"
            )
        return Caller(
            user_id=user_id,
            user_name=user["name"],
            project_id=project_id,
            project_name=project["name"],
            roles=left,
            everywhere=project["name"] == ADMIN,
        )
