"""Deploy templates and runbooks: steps under a name that is also a trait."""

from __future__ import annotations

from collections import Counter
from uuid import UUID

from holdfast.baremetal import models
from holdfast.baremetal.resources import DEPLOY_TEMPLATES, RUNBOOKS
from holdfast.baremetal.service.records import Records
from holdfast.baremetal.service.rules import check_traits
from holdfast.baremetal.service.writing import Broken, Values, required
from holdfast.errors import ConflictError, ForbiddenError, InvalidInputError
from holdfast.identity.policy import Caller
from holdfast.store.model import Json
from holdfast.store.pg.database import Database

_TEMPLATE_TAKEN: Broken = {
    "deploy_template_name_key": (
        ConflictError,
        "A deploy template with name {name} already exists.",
    )
}
_RUNBOOK_TAKEN: Broken = {
    "runbook_name_key": (ConflictError, "A runbook with name {name} already exists.")
}


class DeployTemplates:
    """Steps that each deployment runs whose instance asks for the trait of their name."""

    def __init__(self, db: Database, document_bytes_max: int) -> None:
        self._records = Records(
            db, DEPLOY_TEMPLATES, models.DEPLOY_TEMPLATE, _TEMPLATE_TAKEN, document_bytes_max
        )

    async def create(self, document: Values) -> UUID:
        """Create a template; returns its UUID."""
        required(document, "name", "steps")
        values = self._records.given(document)
        _check_template({}, values)
        return await self._records.create(values)

    async def update(self, caller: Caller, ident: str, operations: Json) -> UUID:
        """Apply a JSON patch; returns the template's UUID."""
        return await self._records.update(caller, ident, operations, _check_template)

    async def delete(self, caller: Caller, ident: str) -> None:
        """Delete a template."""
        await self._records.delete(caller, ident)


class Runbooks:
    """Steps for manual cleaning, kept by a project or, if public, by the administrators."""

    def __init__(self, db: Database, document_bytes_max: int) -> None:
        self._records = Records(db, RUNBOOKS, models.RUNBOOK, _RUNBOOK_TAKEN, document_bytes_max)

    async def create(self, caller: Caller, document: Values) -> UUID:
        """Create a runbook of the caller's project; returns its UUID."""
        required(document, "name", "steps")
        values = self._records.given(document)
        values.setdefault("owner", None if caller.everywhere else caller.project_id)
        if not caller.everywhere and (values.get("public") or values["owner"] != caller.project_id):
            raise ForbiddenError(
                "Only an administrator of the system may create a runbook that is public "
                "or another project's"
            )
        _check_name(values)
        if values.get("public"):
            values["owner"] = None
        return await self._records.create(values)

    async def update(self, caller: Caller, ident: str, operations: Json) -> UUID:
        """Apply a JSON patch; returns the runbook's UUID."""

        def allow(row: Values, changes: Values) -> None:
            _require_own(caller, row)
            if not caller.everywhere and {"public", "owner"} & set(changes):
                raise ForbiddenError(
                    "Only an administrator of the system may change whose a runbook is"
                )
            _check_name(changes)
            if changes.get("public"):
                changes["owner"] = None

        return await self._records.update(caller, ident, operations, allow)

    async def delete(self, caller: Caller, ident: str) -> None:
        """Delete a runbook."""
        await self._records.delete(caller, ident, lambda row, _: _require_own(caller, row))


def _check_name(values: Values) -> None:
    if "name" in values:
        check_traits([values["name"]])


def _check_template(_row: Values, values: Values) -> None:
    _check_name(values)
    counted = Counter((step.interface, step.step) for step in values.get("steps", ()))
    if twice := [f"{i}.{s}" for (i, s), count in counted.items() if count > 1]:
        raise InvalidInputError(f"A deploy template cannot have a step twice: {', '.join(twice)}")


def _require_own(caller: Caller, row: Values) -> None:
    """Raise ``ForbiddenError`` for a public runbook, which others may only use."""
    if not caller.may_see(row["owner"]):
        raise ForbiddenError(
            f"The runbook {row['name']} is not your project's: create one of your own"
        )
