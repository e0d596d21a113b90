"""One mock BMC: login, latency, faults and the journal, around what its routes plan."""

from __future__ import annotations

from random import Random

from holdfast.sim.fleet import documents as doc
from holdfast.sim.fleet.faults import NO_FAULTS, Faults
from holdfast.sim.fleet.http import Reply, Request, Response
from holdfast.sim.fleet.journal import Journal, Outcome
from holdfast.sim.fleet.machine import Clock
from holdfast.sim.fleet.redfish import Plan, Redfish, RefusedError

NONSENSE = (
    b"<html><body>It works!</body></html>",
    b'{"PowerState": 42, "Boot": "yes", "Members": null, "Links": []}',
    b'["Systems"]',
    b'{"PowerState": "On", "Bo',
)


class Bmc:
    """A request handler. The command is executed when its latency has passed, at one instant."""

    __slots__ = ("_clock", "_journal", "_rng", "name", "redfish", "requests")

    def __init__(
        self, name: str, redfish: Redfish, *, clock: Clock, rng: Random, journal: Journal
    ) -> None:
        self.name = name
        self.redfish = redfish
        self.requests = 0
        self._clock = clock
        self._rng = rng
        self._journal = journal

    def __call__(self, request: Request, reply: Reply) -> None:
        self.requests += 1
        try:
            plan = self.redfish.plan(request)
        except RefusedError as refused:
            response = refused.response
            plan = Plan(run=lambda: response, action=_action(request))
        faults = self._faults(plan)
        if faults.dead:
            self._record(request, plan, 0, done=False, fault=faults.dead)
            if faults.dead == "refuse":  # only as one of many Systems: else nothing listens
                reply(None)
            return
        delay_s = faults.latency.draw(self._rng)
        if delay_s > 0.0:
            arrived = self._clock.time()
            self._clock.call_later(delay_s, lambda: self._execute(request, plan, reply, arrived))
        else:
            self._execute(request, plan, reply, None)

    def _execute(self, request: Request, plan: Plan, reply: Reply, arrived: float | None) -> None:
        now = self._clock.time()
        took_s = 0.0 if arrived is None else round(now - arrived, 6)
        faults = self._faults(plan)
        done, fault = False, ""
        if self._chance(faults.error_rate):
            fault = "error"
            response = doc.error(500, "InternalError", "The BMC has an internal error.")
        elif faults.lie == "garbage":
            fault = "garbage"
            response = Response(200, self._rng.choice(NONSENSE))
        elif not plan.public and not self.redfish.sessions.admits(request.headers, now):
            text = "A valid session or basic authentication is needed."
            response = doc.error(401, "ResourceAtUriUnauthorized", text)
        elif faults.lie == "ignore" and plan.action not in ("read", "session"):
            fault = "ignore"
            response = Response(204)
        else:
            try:
                response = plan.run()
            except RefusedError as refused:
                response = refused.response
            done = response.status < 400
        lost = self._chance(faults.lost_answer_rate)
        fault = "lost_answer" if lost else fault
        self._record(request, plan, response.status, done=done, fault=fault, took_s=took_s)
        reply(None if lost else response)

    def _faults(self, plan: Plan) -> Faults:
        if plan.machine is not None:
            return plan.machine.faults
        machines = self.redfish.machines
        return next(iter(machines.values())).faults if len(machines) == 1 else NO_FAULTS

    def _chance(self, rate: float) -> bool:
        return rate > 0.0 and self._rng.random() < rate

    def _record(
        self, request: Request, plan: Plan, status: int, *, done: bool, fault: str,
        took_s: float = 0.0,
    ) -> None:  # fmt: skip
        machine = plan.machine
        name = machine.name if machine is not None else self.name
        outcome = Outcome(status=status, done=done, took_s=took_s, fault=fault)
        self._journal.command(name, request, plan.action, plan.value, outcome)


def _action(request: Request) -> str:
    """What a request that could not be planned was about, for the journal."""
    if request.method in ("GET", "HEAD"):
        return "read"
    return "session" if "/SessionService" in request.path else "refused"
