"""Use cases that ask for something to be *done* with a node: intents, never effects (I3).

Each writes the node's targets and the job that will do it in one transaction
(``Submission``); the conductor that owns the node writes what comes of it.
"""

from __future__ import annotations

import asyncio
import hashlib
from uuid import uuid4

import msgspec
from sqlalchemy import func, update

from holdfast.baremetal import models
from holdfast.baremetal.drivers import CONFIGDRIVE, does_something, driver_named, info_fault
from holdfast.baremetal.errors import (
    InvalidTransitionError,
    NodeLockedError,
    NotSupportedError,
)
from holdfast.baremetal.service.audit import tell_changes
from holdfast.baremetal.service.rows import NodeRow, find_node, refuse_if_locked
from holdfast.baremetal.service.rules import protected
from holdfast.baremetal.service.secrets import NodeSecrets, refuse_userinfo
from holdfast.baremetal.service.steps import AskedSteps, Steps
from holdfast.baremetal.settings import BaremetalSettings
from holdfast.baremetal.states import (
    JobKind,
    Power,
    Transition,
    Verb,
    job_kinds,
    parse_verb,
    transition,
)
from holdfast.errors import ConflictError, InvalidInputError
from holdfast.identity.policy import Caller
from holdfast.store.model import Json, NewJob, ObjectRef, Submission
from holdfast.store.pg.database import Connection, Database
from holdfast.store.port import Store

_NOT_IN_MAINTENANCE = (Verb.ACTIVE, Verb.REBUILD, Verb.PROVIDE, Verb.CLEAN)
_CANCEL_POLLS = 50
_CANCEL_POLL_S = 0.1


class ProvisionRequest(AskedSteps, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of ``PUT /v1/nodes/{ident}/states/provision``."""

    target: str
    configdrive: str | dict[str, Json] | None = None
    service_steps: list[dict[str, Json]] | None = None
    rescue_password: str | None = None


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

    def __init__(
        self, db: Database, store: Store, secrets: NodeSecrets, settings: BaremetalSettings
    ) -> None:
        self._db = db
        self._store = store
        self._secrets = secrets
        self._steps = Steps(db)
        self._timeout_s = {
            JobKind.VERIFY: settings.manage_timeout_s,
            JobKind.INSPECT: settings.manage_timeout_s,
            JobKind.ADOPT: settings.manage_timeout_s,
            JobKind.CLEAN: settings.clean_timeout_s,
            JobKind.PROVIDE: settings.clean_timeout_s,
            JobKind.DEPLOY: settings.deploy_timeout_s,
            JobKind.UNDEPLOY: settings.clean_timeout_s,
            JobKind.POWER: settings.power_timeout_s,
            JobKind.BOOT_DEVICE: settings.power_timeout_s,
            JobKind.MEDIA: settings.power_timeout_s,
            JobKind.NMI: settings.power_timeout_s,
        }

    async def provision(self, caller: Caller, ident: str, asked: ProvisionRequest) -> None:
        """Start what a provision verb means in the node's present state.

        Asking again for what the same caller's job is doing already is no error:
        the first answer may have been lost on its way (promise 2 of the design).
        Raises ``InvalidTransitionError`` with the verbs allowed there,
        ``NodeLockedError``, ``NodeProtectedError``, or ``InvalidInputError``.
        """
        verb = parse_verb(asked.target)
        _check_request(verb, asked)
        node = await find_node(self._db, caller, ident)
        try:
            move = transition(verb, node.provision_state, node.label)
        except InvalidTransitionError:
            args = await self._args(caller, node, verb, asked)
            if await self._under_way(caller, node, job_kinds(verb), args):
                return
            raise
        _check_marks(verb, node)
        args = await self._args(caller, node, verb, asked)
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
        if verb is Verb.INSPECT:
            patch |= {"inspection_started_at": now, "inspection_finished_at": None}
        expect: dict[str, Json] = {}
        if asked.configdrive is not None:
            expect, with_drive = await self._with_config_drive(node, asked.configdrive)
            patch |= with_drive
        await self._submit(caller, node, move.job, args, patch, verb=verb, expect=expect)

    async def _with_config_drive(
        self, node: NodeRow, drive: Json
    ) -> tuple[dict[str, Json], dict[str, Json]]:
        """What the columns of instance_info are, and what they become."""
        row = await self._db.fetchrow(
            "select instance_info, instance_secrets from node where uuid = $1", node.uuid
        )
        was: dict[str, Json] = {} if row is None else dict(row.items())
        info, sealed = self._secrets.split_instance(
            node.uuid,
            {**(was.get("instance_info") or {}), CONFIGDRIVE: drive},
            was.get("instance_secrets"),
        )
        return was, {"instance_info": info, "instance_secrets": sealed}

    async def _args(
        self, caller: Caller, node: NodeRow, verb: Verb, asked: ProvisionRequest
    ) -> dict[str, Json]:
        """The job's arguments: the steps that the request asks for, and those it implies."""
        if verb is Verb.CLEAN:
            return {"clean_steps": await self._steps.of_cleaning(caller, node, asked)}
        if verb not in (Verb.ACTIVE, Verb.REBUILD):
            return {}
        args: dict[str, Json] = {"rebuild": True} if verb is Verb.REBUILD else {}
        if steps := await self._steps.of_deployment(node, asked):
            args["deploy_steps"] = steps
        if asked.configdrive is not None:
            # It tells an equal request from another; the drive itself is nowhere but sealed.
            args["configdrive_digest"] = _digest(node, asked.configdrive)
        return args

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

    async def set_media(self, caller: Caller, ident: str, url: str | None) -> None:
        """Start inserting an image into the virtual CD drive; None: emptying it."""
        node = await find_node(self._db, caller, ident)
        _check_driver_info(node)
        if url is not None:
            refuse_userinfo("image_url", url)
        await self._submit(caller, node, JobKind.MEDIA, {"url": url}, {"last_error": None})

    async def inject_nmi(self, caller: Caller, ident: str) -> None:
        """Start sending the machine's processor a non-maskable interrupt."""
        node = await find_node(self._db, caller, ident)
        _check_driver_info(node)
        await self._submit(caller, node, JobKind.NMI, {}, {"last_error": None})

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
        except ConflictError as fault:
            if await self._under_way(caller, node, frozenset({kind}), args):
                return
            await self._explain(node, verb)
            if str(fault.details.get("field", "")).startswith("instance_"):
                raise ConflictError(  # without the values of those columns
                    f"instance_info of node {node.label} has just been changed; please retry"
                ) from None
            raise

    async def _under_way(
        self, caller: Caller, node: NodeRow, kinds: frozenset[JobKind], args: dict[str, Json]
    ) -> bool:
        """Whether the node's job in hand is the very thing this caller asks for (again)."""
        job = await self._store.active_job(ObjectRef(models.KIND, node.uuid))
        return (
            job is not None
            and not job.cancel_requested
            and job.kind in {kind.value for kind in kinds}
            and job.args == args
            and job.requested_by == caller.label()
        )

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
            await tell_changes(conn, node, {"provision_state": move.during})

        await self._db.run(work)


def _digest(node: NodeRow, drive: Json) -> str:
    """Short, and bound to the node: equal drives of two nodes do not look equal."""
    plain = msgspec.json.encode(drive, order="deterministic")
    return hashlib.sha256(node.uuid.bytes + plain).hexdigest()[:16]


def _check_request(verb: Verb, asked: ProvisionRequest) -> None:
    """Refuse what the verb does not take, and what this release does not do, by name."""
    if asked.configdrive is not None and verb not in (Verb.ACTIVE, Verb.REBUILD):
        raise InvalidInputError(
            "Adding a config drive is only supported when setting provision state to "
            "active or rebuild"
        )
    if asked.disable_ramdisk:
        raise NotSupportedError("disable_ramdisk is not supported: every step here needs one")
    if later := [name for name in ("service_steps", "rescue_password") if getattr(asked, name)]:
        raise NotSupportedError(f"{', '.join(later)}: not supported yet; leave it out")
    if asked.clean_steps is not None and asked.runbook is not None:
        raise InvalidInputError("Give clean_steps or a runbook, not both")
    cleaning = asked.clean_steps is not None or asked.runbook is not None
    if verb is Verb.CLEAN and not cleaning:
        raise InvalidInputError("The verb 'clean' needs clean_steps or a runbook")
    if cleaning and verb is not Verb.CLEAN:
        raise InvalidInputError("clean_steps and runbooks go with the verb 'clean' only")
    if asked.deploy_steps is not None and verb not in (Verb.ACTIVE, Verb.REBUILD):
        raise InvalidInputError("deploy_steps go with the verbs 'active' and 'rebuild' only")


def _check_marks(verb: Verb, node: NodeRow) -> None:
    """What operators have marked the node with counts before what tenants ask."""
    if verb in (Verb.DELETED, Verb.REBUILD) and node.protected:
        raise protected(node)
    if verb is Verb.PROVIDE and node.retired:
        raise InvalidInputError(
            f"Node {node.label} is retired and can not become available: unset retired first"
        )
    if verb in _NOT_IN_MAINTENANCE and node.maintenance:
        raise InvalidInputError(
            f"The {verb} operation can't be performed on node {node.label} because it's in "
            "maintenance mode: unset maintenance first"
        )
    if verb is Verb.INSPECT and not does_something(node.interface("inspect")):
        raise InvalidInputError(
            f"Node {node.label} has no inspect interface (inspect_interface is "
            f"'{node.interface('inspect')}'): set another first"
        )


def _check_driver_info(node: NodeRow) -> None:
    fault = info_fault(driver_named(node.driver), node.driver_info)
    if fault is not None:
        raise InvalidInputError(f"Node {node.label} cannot be worked on: {fault}")
