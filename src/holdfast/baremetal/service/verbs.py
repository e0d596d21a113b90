"""Use cases that ask for something to be *done* with a node: intents, never effects (I3).

Each writes the node's targets and the job that will do it in one transaction
(``Submission``); the conductor that owns the node writes what comes of it.
"""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import msgspec
from sqlalchemy import func, update

from holdfast.baremetal import models
from holdfast.baremetal.credentials import masked_steps
from holdfast.baremetal.drivers import CONFIGDRIVE, does_something, driver_named, info_fault
from holdfast.baremetal.errors import (
    InvalidTransitionError,
    NodeLockedError,
    NotSupportedError,
)
from holdfast.baremetal.service.audit import tell_changes
from holdfast.baremetal.service.drives import check_drive
from holdfast.baremetal.service.rights import (
    BOOT_DEVICE,
    MEDIA,
    NMI,
    POWER,
    PROVISION,
    Right,
    require,
)
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


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a job is to do. ``args`` are kept and shown with it.

    The rest is secret: ``step_args``, those of each step named in ``args``, and ``drive``.
    """

    args: dict[str, Json] = {}
    step_args: list[dict[str, Json]] = []
    drive: Json = None


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
        node = await self._node(caller, ident, PROVISION)
        try:
            move = transition(verb, node.provision_state, node.label)
        except InvalidTransitionError:
            order = await self._order(caller, node, verb, asked)
            if await self._under_way(caller, node, job_kinds(verb), order):
                return
            raise
        _check_marks(verb, node)
        order = await self._order(caller, node, verb, asked)
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
        if order.drive is not None:
            expect, with_drive = await self._with_config_drive(node, order.drive)
            patch |= with_drive
        await self._submit(caller, node, move.job, order, patch, verb=verb, expect=expect)

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

    async def _order(
        self, caller: Caller, node: NodeRow, verb: Verb, asked: ProvisionRequest
    ) -> Order:
        """What the job is to do: the steps that the request asks for, and those it implies."""
        if verb is Verb.CLEAN:
            return _of_steps("clean_steps", await self._steps.of_cleaning(caller, node, asked))
        if verb not in (Verb.ACTIVE, Verb.REBUILD):
            return Order()
        order = _of_steps("deploy_steps", await self._steps.of_deployment(node, asked))
        args = order.args | ({"rebuild": True} if verb is Verb.REBUILD else {})
        if asked.configdrive is not None:
            args["configdrive"] = True  # that there is one; it is nowhere but sealed
        return msgspec.structs.replace(order, args=args, drive=asked.configdrive)

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
        node = await self._node(caller, ident, POWER)
        if node.disable_power_off and target is not Power.ON:
            raise InvalidInputError(
                f"Node {node.label} must not be powered off (disable_power_off): unset that first"
            )
        _check_driver_info(node)
        await self._submit(
            caller,
            node,
            JobKind.POWER,
            Order(args={"target": target.value, "timeout": asked.timeout}),
            {"target_power_state": target.result, "last_error": None},
        )

    async def set_boot_device(self, caller: Caller, ident: str, asked: BootDevice) -> None:
        """Start setting the device from which the node boots next."""
        node = await self._node(caller, ident, BOOT_DEVICE)
        devices = driver_named(node.driver).boot_devices
        if asked.boot_device not in devices:
            raise InvalidInputError(
                f"Invalid boot device {asked.boot_device}; supported: {', '.join(devices)}"
            )
        _check_driver_info(node)
        order = Order(args={"device": asked.boot_device, "persistent": asked.persistent})
        await self._submit(caller, node, JobKind.BOOT_DEVICE, order, {"last_error": None})

    async def set_media(self, caller: Caller, ident: str, url: str | None) -> None:
        """Start inserting an image into the virtual CD drive; None: emptying it."""
        node = await self._node(caller, ident, MEDIA)
        _check_driver_info(node)
        if url is not None:
            refuse_userinfo("image_url", url)
        order = Order(args={"url": url})
        await self._submit(caller, node, JobKind.MEDIA, order, {"last_error": None})

    async def inject_nmi(self, caller: Caller, ident: str) -> None:
        """Start sending the machine's processor a non-maskable interrupt."""
        node = await self._node(caller, ident, NMI)
        _check_driver_info(node)
        await self._submit(caller, node, JobKind.NMI, Order(), {"last_error": None})

    async def _node(self, caller: Caller, ident: str, right: Right) -> NodeRow:
        node = await find_node(self._db, caller, ident)
        require(caller, node, right)
        return node

    async def _submit(
        self,
        caller: Caller,
        node: NodeRow,
        kind: JobKind,
        order: Order,
        patch: dict[str, Json],
        *,
        verb: Verb | None = None,
        expect: dict[str, Json] | None = None,
    ) -> None:
        job = uuid4()
        if order.step_args:
            sealed = self._secrets.seal_steps(node.uuid, job, order.step_args)
            patch = {**patch, "step_secrets": sealed}
        expected = {"provision_state": node.provision_state, **(expect or {})}
        submission = Submission(
            job=NewJob(
                id=job,
                kind=kind.value,
                object=ObjectRef(models.KIND, node.uuid),
                args=order.args,
                deadline_s=self._timeout_s[kind],
                requested_by=caller.label(),
            ),
            expect={name: (value,) for name, value in expected.items()},
            patch=patch,
        )
        try:
            await self._store.submit(submission)
        except ConflictError as fault:
            if await self._under_way(caller, node, frozenset({kind}), order):
                return
            await self._explain(node, verb)
            if fault.details.get("kind") == "busy":  # and no longer: who asks may ask again
                raise NodeLockedError(
                    f"Node {node.label} was locked by a job that has just ended; please retry"
                ) from None
            if str(fault.details.get("field", "")).startswith("instance_"):
                raise ConflictError(  # without the values of those columns
                    f"instance_info of node {node.label} has just been changed; please retry"
                ) from None
            raise

    async def _under_way(
        self, caller: Caller, node: NodeRow, kinds: frozenset[JobKind], order: Order
    ) -> bool:
        """Whether the node's job in hand is the very thing this caller asks for (again)."""
        job = await self._store.active_job(ObjectRef(models.KIND, node.uuid))
        return (
            job is not None
            and not job.cancel_requested
            and job.kind in {kind.value for kind in kinds}
            and job.args == order.args
            and job.requested_by == caller.label()
            and await self._same_secrets(node, job.id, order)
        )

    async def _same_secrets(self, node: NodeRow, job: UUID, order: Order) -> bool:
        """Whether what the job has sealed is what is ordered (again)."""
        row = await self._db.fetchrow(
            "select instance_secrets, step_secrets from node where uuid = $1", node.uuid
        )
        if row is None:
            return False
        return (
            not order.step_args
            or self._secrets.steps_match(node.uuid, job, row["step_secrets"], order.step_args)
        ) and (
            order.drive is None
            or self._secrets.drive_matches(node.uuid, row["instance_secrets"], order.drive)
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


def _of_steps(name: str, steps: list[dict[str, Json]]) -> Order:
    """An order for steps, if there are any; their arguments apart."""
    if not steps:
        return Order()
    return Order(
        args={name: masked_steps(steps)}, step_args=[step.get("args") or {} for step in steps]
    )


def _check_request(verb: Verb, asked: ProvisionRequest) -> None:
    """Refuse what the verb does not take, and what this release does not do, by name."""
    if asked.configdrive is not None and verb not in (Verb.ACTIVE, Verb.REBUILD):
        raise InvalidInputError(
            "Adding a config drive is only supported when setting provision state to "
            "active or rebuild"
        )
    check_drive("configdrive", asked.configdrive)
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
