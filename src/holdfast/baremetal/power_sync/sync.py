"""The duty itself: a thin shell around ``schedule`` and ``verdict``.

Level-triggered: which nodes are owned is re-read when claims have moved and several
times per interval, and each node is read right before it is asked. In memory is only
what may be lost: when to ask whom, and how often in a row there was no answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

import msgspec
import structlog

from holdfast.baremetal.credentials import SecretBox, decrypt_driver_secrets
from holdfast.baremetal.jobs.machine import MissingDriverInfoError, redfish_target
from holdfast.baremetal.power_sync import restore, verdict
from holdfast.baremetal.power_sync.schedule import Schedule
from holdfast.baremetal.power_sync.settings import PowerSyncSettings
from holdfast.baremetal.power_sync.verdict import Node, Verdict
from holdfast.bmc.commands import Observed, Origin
from holdfast.bmc.dispatch import OUT_OF_DATE
from holdfast.bmc.errors import (
    BmcAuthError,
    BmcRefusedError,
    BmcTimeoutError,
    BmcUnreachableError,
    StaleTokenError,
)
from holdfast.bmc.observing import Ask, Observer
from holdfast.core.members import attempt
from holdfast.core.worker import Tenure
from holdfast.errors import (
    ConflictError,
    FenceLostError,
    HoldfastError,
    InvalidInputError,
    NotFoundError,
)
from holdfast.store.model import Fence, NewJob, ObjectRef, Submission
from holdfast.store.port import Store

log = structlog.get_logger(__name__)

NODE = "node"
STEP = "power-sync"
FIELDS = (*verdict.FIELDS, "updated_at")
REREADS = 4  # of what is owned, per interval: how soon a new node is found
# The BMC's own doing, or its credentials'; every other error says nothing about the BMC.
SILENCE = (
    BmcUnreachableError,
    BmcTimeoutError,
    BmcAuthError,
    BmcRefusedError,
    InvalidInputError,
)


class Case(msgspec.Struct, frozen=True):
    """One node that is being asked about, as it was read."""

    ref: ObjectRef
    fence: Fence
    node: Node


class PowerSync:
    """``core.worker.Duty``: keeps ``power_state`` of one conductor's nodes true. Runs once."""

    def __init__(
        self,
        store: Store,
        observer: Observer,
        box: SecretBox,
        settings: PowerSyncSettings,
        new_id: Callable[[], UUID] = uuid4,
    ) -> None:
        self._store = store
        self._observer = observer
        self._box = box
        self._settings = settings
        self._new_id = new_id
        self.schedule = Schedule(settings)
        self._passes: set[asyncio.Task[None]] = set()
        self._restored: dict[UUID, int] = {}  # switched back so often, to no effect yet
        self._moves = -1
        self._reread_at = 0.0

    def late_s(self) -> float:
        """How late the latest observation is, in seconds."""
        return self.schedule.late_s(_now())

    async def run(self, tenure: Tenure) -> None:
        """Ask everybody in turn, for ever."""
        try:
            while True:
                await attempt(lambda: self._turn(tenure), "power_sync")
                await asyncio.sleep(self.schedule.window_s)
        finally:
            for task in self._passes:
                task.cancel()
            await asyncio.gather(*self._passes, return_exceptions=True)

    async def _turn(self, tenure: Tenure) -> None:
        now = _now()
        if tenure.moves() != self._moves or now >= self._reread_at:
            await self._reread(tenure, now)
        if not tenure.window.open():
            return
        nodes = self.schedule.due(now)
        if nodes:
            task = asyncio.create_task(self._pass(tenure, nodes))
            self._passes.add(task)
            task.add_done_callback(self._passes.discard)

    async def _reread(self, tenure: Tenure, now: float) -> None:
        moves, me = tenure.moves(), tenure.member
        owned = await self._store.owned_objects(NODE, me.id, me.epoch, ())
        for gone in self.schedule.keep((ref.id for ref, _, _ in owned), now):
            self._restored.pop(gone, None)
            self._observer.forget(ObjectRef(NODE, gone))
        self._moves = moves
        self._reread_at = now + self._settings.interval_s / REREADS

    async def _pass(self, tenure: Tenure, nodes: Sequence[UUID]) -> None:
        """Ask about some nodes, and settle each with the schedule, whatever happens."""
        left = set(nodes)
        try:
            await self._observe(tenure, nodes, left)
        except HoldfastError as fault:
            log.info("power_sync.passed_over", nodes=len(left), reason=fault.code)
        except Exception:  # a bug: it must not end the duty, nor be silent
            log.exception("power_sync.fault")
        finally:
            for node in left:
                self.schedule.passed_over(node, _now())

    async def _observe(self, tenure: Tenure, nodes: Sequence[UUID], left: set[UUID]) -> None:
        me = tenure.member
        found = await self._store.owned_objects(
            NODE, me.id, me.epoch, FIELDS, only=nodes, idle=True
        )
        cases: list[Case] = []
        asks: list[Ask] = []
        for ref, fence, node in found:
            case = Case(ref, fence, node)
            if verdict.is_asked(node) and (ask := self._ask(me.id, case)) is not None:
                cases.append(case)
                asks.append(ask)
        tenure.window.guard()
        async for together in self._observer.observe(asks):
            for seen in together:
                case = cases[seen.index]
                left.discard(case.ref.id)
                await self._settle(case, seen)

    def _ask(self, member: UUID, case: Case) -> Ask | None:
        """What to send; None for a node that does not say where its BMC is."""
        ref, node = case.ref, case.node
        info, blob = node["driver_info"], node["driver_secrets"]
        username = str(info.get("redfish_username", ""))
        try:
            target = redfish_target(info)
        except MissingDriverInfoError:
            return None

        def secrets() -> dict[str, str]:
            opened = decrypt_driver_secrets(self._box, ref.id, blob)
            return {"username": username, "password": opened.get("redfish_password", "")}

        token = max(case.fence.epoch, int(node["entered_epoch"] or 0))
        return Ask(
            obj=ref,
            token=token,
            target=target,
            version=(blob, username),
            secrets=secrets,
            origin=Origin(member=member, epoch=token, step=STEP),
            deadline_s=self.schedule.timeout_s(ref.id),
        )

    # -- what came of it ------------------------------------------------------------------

    async def _settle(self, case: Case, seen: Observed) -> None:
        """One result: note it in the schedule, and write what it means for the node."""
        now, node_id, error = _now(), case.ref.id, seen.error
        if error is None:
            self.schedule.answered(node_id, now, seen.seconds)
            await self._write(case, self._on_answer(case, seen))
        elif isinstance(error, SILENCE) and error.details.get("begun") is not False:
            failures = self.schedule.failed(node_id, now)
            most = self._settings.failures_max
            await self._write(case, verdict.on_silence(case.node, failures, most, error.message))
        else:
            self.schedule.passed_over(node_id, now, soon=isinstance(error, OUT_OF_DATE))
            if isinstance(error, StaleTokenError):
                self._reread_at = now

    def _on_answer(self, case: Case, seen: Observed) -> Verdict:
        """Force the recorded state, but not for ever on a machine that does not obey."""
        found = seen.result or {}
        power, moving = found.get("power_state"), bool(found.get("powering"))
        tried = self._restored.get(case.ref.id, 0)
        force = self._settings.force_power_state and tried < self._settings.failures_max
        decided = verdict.on_answer(case.node, power, moving=moving, force=force)
        if decided.restore is not None:
            self._restored[case.ref.id] = tried + 1
        elif not moving:
            self._restored.pop(case.ref.id, None)
        return decided

    async def _write(self, case: Case, decided: Verdict) -> None:
        """Write and submit, unless somebody was quicker: then the next pass sees to it."""
        try:
            if decided.patch:
                seen = {"updated_at": case.node["updated_at"]}
                if not await self._store.patch_idle(case.fence, case.ref, decided.patch, seen):
                    return
                log.info("power_sync.changed", node=str(case.ref.id), **decided.patch)
            if decided.restore is not None:
                await self._restore(case, decided.restore)
        except (FenceLostError, NotFoundError):
            self._reread_at = _now()
        except ConflictError as fault:
            log.info("power_sync.left_alone", node=str(case.ref.id), reason=fault.message)

    async def _restore(self, case: Case, target: str) -> None:
        job = NewJob(
            id=self._new_id(),
            kind=restore.KIND,
            object=case.ref,
            args={"target": target},
            deadline_s=restore.DEADLINE_S,
            requested_by=restore.REQUESTED_BY,
        )
        states = {name: (case.node[name],) for name in ("power_state", "provision_state")}
        await self._store.submit(
            Submission(
                job=job,
                expect={**states, "maintenance": (False,)},
                patch={"target_power_state": target},
            )
        )
        log.info("power_sync.restoring", node=str(case.ref.id), target=target)


def _now() -> float:
    return asyncio.get_running_loop().time()
