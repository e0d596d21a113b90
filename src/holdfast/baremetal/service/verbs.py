"""Use cases that ask for something to be *done* with a node: intents, never effects (I3).

Each writes the node's targets and the job that will do it in one transaction
(``Submission``); the conductor that owns the node writes what comes of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import func, update

from holdfast.baremetal import models
from holdfast.baremetal.drivers import INTERFACES, driver_named, info_fault
from holdfast.baremetal.errors import (
    InvalidTransitionError,
    NodeLockedError,
    NodeProtectedError,
    NotSupportedError,
)
from holdfast.baremetal.service.rows import NodeRow, find_node, refuse_if_locked
from holdfast.baremetal.service.rules import check_traits
from holdfast.baremetal.settings import BaremetalSettings
from holdfast.baremetal.states import (
    JobKind,
    Power,
    Transition,
    Verb,
    parse_verb,
    transition,
)
from holdfast.errors import ConflictError, InvalidInputError
from holdfast.identity.policy import Caller
from holdfast.store.model import Json, NewJob, ObjectRef, Submission
from holdfast.store.pg.database import Connection, Database
from holdfast.store.port import Store

_NEED_DRIVER_INFO = ("boot", "deploy", "management", "power")
_CANCEL_POLLS = 50
_CANCEL_POLL_S = 0.1


class ProvisionRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of ``PUT /v1/nodes/{ident}/states/provision``."""

    target: str
    configdrive: str | dict[str, Json] | None = None
    clean_steps: list[dict[str, Json]] | None = None
    deploy_steps: list[dict[str, Json]] | None = None
    service_steps: list[dict[str, Json]] | None = None
    rescue_password: str | None = None
    disable_ramdisk: bool | None = None
    runbook: str | None = None


class PowerRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of ``PUT /v1/nodes/{ident}/states/power``. ``timeout`` in seconds."""

    target: str
    timeout: int | None = None


class BootDevice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of ``PUT /v1/nodes/{ident}/management/boot_device``."""

    boot_device: str
    persistent: bool = False


class Verbs:
    """Submits jobs for nodes, and cancels them."""

    def __init__(self, db: Database, store: Store, settings: BaremetalSettings) -> None:
        self._db = db
        self._store = store
        self._timeout_s = {
            JobKind.VERIFY: settings.manage_timeout_s,
            JobKind.PROVIDE: settings.clean_timeout_s,
            JobKind.DEPLOY: settings.deploy_timeout_s,
            JobKind.UNDEPLOY: settings.clean_timeout_s,
            JobKind.POWER: settings.power_timeout_s,
            JobKind.BOOT_DEVICE: settings.power_timeout_s,
        }

    async def provision(self, caller: Caller, ident: str, asked: ProvisionRequest) -> None:
        """Start what a provision verb means in the node's present state.

        Raises ``InvalidTransitionError`` with the verbs allowed there,
        ``NodeLockedError``, ``NodeProtectedError``, or ``InvalidInputError``.
        """
        verb = parse_verb(asked.target)
        _check_request(verb, asked)
        node = await find_node(self._db, caller, ident)
        move = transition(verb, node.provision_state, node.label)
        _check_marks(verb, node)
        if move.cancels:
            await self._cancel(node, verb)
            if move.job is None:
                return
            node = await find_node(self._db, caller, ident)
            move = transition(verb, node.provision_state, node.label)
        if move.job is None:
            await self._set_aside(node, move)
            return
        _check_driver_info(node)
        now = await self._db.fetchval("select clock_timestamp()")
        patch: dict[str, Json] = {
            "provision_state": move.during,
            "target_provision_state": move.target,
            "provision_updated_at": now,
            "last_error": None,
        }
        expect: dict[str, Json] = {}
        if asked.configdrive is not None:
            info = await self._db.fetchval(
                "select instance_info from node where uuid = $1", node.uuid
            )
            expect["instance_info"] = info
            patch["instance_info"] = {**(info or {}), "configdrive": asked.configdrive}
        args: dict[str, Json] = {"rebuild": True} if verb is Verb.REBUILD else {}
        await self._submit(caller, node, move.job, args, patch, verb=verb, expect=expect)

    async def power(self, caller: Caller, ident: str, asked: PowerRequest) -> None:
        """Start a change of power state."""
        try:
            target = Power(asked.target)
        except ValueError:
            raise InvalidInputError(
                f"'{asked.target}' is no power target; use one of: {', '.join(Power)}"
            ) from None
        if asked.timeout is not None and asked.timeout < 1:
            raise InvalidInputError("timeout must be at least 1 second")
        node = await find_node(self._db, caller, ident)
        if node.disable_power_off and target is not Power.ON:
            raise InvalidInputError(
                f"Node {node.label} must not be powered off (disable_power_off): unset that first"
            )
        _check_driver_info(node)
        await self._submit(
            caller,
            node,
            JobKind.POWER,
            {"target": target.value, "timeout": asked.timeout},
            {"target_power_state": target.result, "last_error": None},
        )

    async def set_boot_device(self, caller: Caller, ident: str, asked: BootDevice) -> None:
        """Start setting the device from which the node boots next."""
        node = await find_node(self._db, caller, ident)
        devices = driver_named(node.driver).boot_devices
        if asked.boot_device not in devices:
            raise InvalidInputError(
                f"Invalid boot device {asked.boot_device}; supported: {', '.join(devices)}"
            )
        _check_driver_info(node)
        args: dict[str, Json] = {"device": asked.boot_device, "persistent": asked.persistent}
        await self._submit(caller, node, JobKind.BOOT_DEVICE, args, {"last_error": None})

    async def set_maintenance(
        self, caller: Caller, ident: str, maintenance: bool, reason: str | None = None
    ) -> None:
        """Set or clear maintenance. A flag of the operators': it waits for no job."""
        node = await find_node(self._db, caller, ident)
        values: dict[str, Any] = {"maintenance": maintenance, "maintenance_reason": reason}
        if not maintenance:
            values["fault"] = None
        await self._write(node.uuid, values)

    async def set_traits(
        self, caller: Caller, ident: str, change: Callable[[list[str]], list[str]]
    ) -> None:
        """Change a node's traits: ``change`` maps the present ones to the new."""

        async def work(conn: Connection) -> None:
            node = await find_node(conn, caller, ident, lock=True)
            node.require_managed_by(caller, "setting its traits")
            await refuse_if_locked(conn, node)
            present = await conn.fetchval("select traits from node where uuid = $1", node.uuid)
            traits = sorted(set(change(list(present))))
            check_traits(traits)
            await conn.execute(_update(node.uuid, {"traits": traits}))

        await self._db.run(work)

    async def boot_device(self, caller: Caller, ident: str) -> dict[str, Json]:
        """The boot device a job last set; null while none has."""
        node = await find_node(self._db, caller, ident)
        known: dict[str, Json] | None = await self._db.fetchval(
            "select driver_internal_info->'boot_device' from node where uuid = $1", node.uuid
        )
        if known is None:
            return {"boot_device": None, "persistent": None}
        return {"boot_device": known["device"], "persistent": known["persistent"]}

    async def boot_devices(self, caller: Caller, ident: str) -> list[str]:
        """The devices the node's driver can boot from."""
        node = await find_node(self._db, caller, ident)
        return list(driver_named(node.driver).boot_devices)

    async def validate(self, caller: Caller, ident: str) -> dict[str, Json]:
        """Per interface ``result`` (null: not supported) and ``reason``; asks no hardware."""
        node = await find_node(self._db, caller, ident)
        driver = driver_named(node.driver)
        fault = info_fault(driver, node.driver_info)
        checked: dict[str, Json] = {}
        for kind in INTERFACES:
            if not driver.supports(kind):
                reason = f"The {kind} interface is not supported by driver {driver.name}"
                checked[kind] = {"result": None, "reason": reason}
            elif kind in _NEED_DRIVER_INFO and fault is not None:
                checked[kind] = {"result": False, "reason": fault}
            else:
                checked[kind] = {"result": True}
        return checked

    async def _submit(
        self,
        caller: Caller,
        node: NodeRow,
        kind: JobKind,
        args: dict[str, Json],
        patch: dict[str, Json],
        *,
        verb: Verb | None = None,
        expect: dict[str, Json] | None = None,
    ) -> None:
        expected = {"provision_state": node.provision_state, **(expect or {})}
        submission = Submission(
            job=NewJob(
                id=uuid4(),
                kind=kind.value,
                object=ObjectRef(models.KIND, node.uuid),
                args=args,
                deadline_s=self._timeout_s[kind],
                requested_by=caller.label(),
            ),
            expect={name: (value,) for name, value in expected.items()},
            patch=patch,
        )
        try:
            await self._store.submit(submission)
        except ConflictError:
            await self._explain(node, verb)
            raise

    async def _explain(self, node: NodeRow, verb: Verb | None) -> None:
        """Say why a submission met a conflict: a job in hand, or another state by now."""
        await refuse_if_locked(self._db, node)
        if verb is not None:
            state = await self._db.fetchval(
                "select provision_state from node where uuid = $1", node.uuid
            )
            transition(verb, str(state), node.label)

    async def _cancel(self, node: NodeRow, verb: Verb) -> None:
        """Cancel the job in hand; before another is to follow, wait until it has ended."""
        job = await self._store.active_job(ObjectRef(models.KIND, node.uuid))
        if job is None or not await self._store.cancel(job.id):
            if verb is Verb.ABORT:
                raise InvalidTransitionError(
                    f"There is nothing to abort on node {node.label}: its job has just ended"
                )
            return
        if verb is Verb.ABORT:
            return
        for _ in range(_CANCEL_POLLS):
            ended = await self._store.job(job.id)
            if ended is None or ended.state.ended:
                return
            await asyncio.sleep(_CANCEL_POLL_S)
        raise NodeLockedError(
            f"Node {node.label} is still being released from its cancelled deployment, "
            "please retry after that is completed."
        )

    async def _set_aside(self, node: NodeRow, move: Transition) -> None:
        """A change of state for which nothing has to be done."""

        async def work(conn: Connection) -> None:
            await conn.execute("select 1 from node where uuid = $1 for update", node.uuid)
            await refuse_if_locked(conn, node)
            changed = await conn.execute(
                update(models.NODE)
                .where(
                    models.NODE.c.uuid == node.uuid,
                    models.NODE.c.provision_state == node.provision_state,
                )
                .values(
                    provision_state=move.during,
                    target_provision_state=None,
                    last_error=None,
                    provision_updated_at=func.clock_timestamp(),
                )
            )
            if not changed:
                raise ConflictError(f"Node {node.label} has just changed its state; please retry")

        await self._db.run(work)

    async def _write(self, uuid: UUID, values: dict[str, Any]) -> None:
        await self._db.execute(_update(uuid, values))


def _update(uuid: UUID, values: dict[str, Any]) -> Any:
    return (
        update(models.NODE)
        .where(models.NODE.c.uuid == uuid)
        .values(updated_at=func.clock_timestamp(), **values)
    )


def _check_request(verb: Verb, asked: ProvisionRequest) -> None:
    """Refuse what the verb does not take, and what this release does not do, by name."""
    if asked.configdrive is not None and verb not in (Verb.ACTIVE, Verb.REBUILD):
        raise InvalidInputError(
            "Adding a config drive is only supported when setting provision state to "
            "active or rebuild"
        )
    later = (
        "clean_steps",
        "deploy_steps",
        "service_steps",
        "rescue_password",
        "disable_ramdisk",
        "runbook",
    )
    if given := [name for name in later if getattr(asked, name)]:
        raise NotSupportedError(f"{', '.join(given)}: not supported yet; leave it out")


def _check_marks(verb: Verb, node: NodeRow) -> None:
    """What operators have marked the node with counts before what tenants ask."""
    if verb in (Verb.DELETED, Verb.REBUILD) and node.protected:
        raise NodeProtectedError(
            f"Node {node.label} is protected and can not be undeployed, rebuilt or deleted: "
            "unset protected first"
        )
    if verb is Verb.PROVIDE and node.retired:
        raise InvalidInputError(
            f"Node {node.label} is retired and can not become available: unset retired first"
        )
    if verb in (Verb.ACTIVE, Verb.REBUILD) and node.maintenance:
        raise InvalidInputError(
            f"The {verb} operation can't be performed on node {node.label} because it's in "
            "maintenance mode: unset maintenance first"
        )


def _check_driver_info(node: NodeRow) -> None:
    fault = info_fault(driver_named(node.driver), node.driver_info)
    if fault is not None:
        raise InvalidInputError(f"Node {node.label} cannot be worked on: {fault}")
