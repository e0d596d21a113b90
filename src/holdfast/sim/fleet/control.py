"""The fleet's own API, on its control port: look at machines, break them, mend them.

    GET    /control/machines[?running=ramdisk&power=On]   every machine with its state
    GET    /control/machines/{index}                      one
    GET    /control/stats                                 counts
    GET    /control/journal[?tail=100]                    the last lines
    PUT    /control/faults      {"machines": M, "faults": {...}}   set (replaces what was)
    DELETE /control/faults                                mend everything
    POST   /control/power-cut   {"machines": M}           off at once
    POST   /control/bmc-reset   {"machines": M}           the BMC forgets its sessions

M is "all", an index, "3-17", or a list of those. Every change is a ``fault`` line of
the journal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, cast

import msgspec

from holdfast.errors import HoldfastError, InvalidInputError, NotFoundError
from holdfast.sim.fleet.agent import Agent
from holdfast.sim.fleet.faults import NO_FAULTS, Faults
from holdfast.sim.fleet.http import Reply, Request, Response, json_response
from holdfast.sim.fleet.journal import POWER_CUT, Journal
from holdfast.sim.fleet.machine import Machine

Json: TypeAlias = dict[str, Any]


class Controlled(Protocol):
    """What of the fleet can be controlled."""

    machines: list[Machine]
    agents: dict[int, Agent]
    journal: Journal

    def address(self, machine: Machine) -> str:
        """The URL of its BMC."""
        ...

    def requests(self) -> int: ...

    def set_faults(self, machine: Machine, faults: Faults, done: Callable[[], None]) -> None:
        """Set them; call ``done`` once its port listens, or no longer does, accordingly."""
        ...

    def reset_bmc(self, machine: Machine) -> None: ...


class Control:
    """A request handler for paths below /control."""

    def __init__(self, fleet: Controlled) -> None:
        self._fleet = fleet

    def __call__(self, request: Request, reply: Reply) -> None:
        parts = [part for part in request.path.split("/") if part][1:]
        try:
            match request.method, parts:
                case "GET", ["machines"]:
                    reply(json_response({"machines": self._list(request.parameters())}))
                case "GET", ["machines", index]:
                    reply(json_response(self.describe(self._select(index)[0])))
                case "GET", ["stats"]:
                    reply(json_response(self._stats()))
                case "GET", ["journal"]:
                    reply(self._journal(request))
                case "PUT", ["faults"]:
                    body = _document(request)
                    self._set(self._chosen(body), _faults(body.get("faults")), reply)
                case "DELETE", ["faults"]:
                    self._set(self._fleet.machines, NO_FAULTS, reply)
                case "POST", ["power-cut"]:
                    reply(self._power_cut(self._chosen(_document(request))))
                case "POST", ["bmc-reset"]:
                    reply(self._bmc_reset(self._chosen(_document(request))))
                case _:
                    raise NotFoundError(f"there is no {request.method} {request.path}")
        except HoldfastError as error:
            document = {"code": error.code, "message": error.message}
            reply(json_response(document, error.status))

    def describe(self, machine: Machine) -> Json:
        """A machine as a document."""
        agent = self._fleet.agents.get(machine.index)
        return {
            "index": machine.index,
            "name": machine.name,
            "address": self._fleet.address(machine),
            "uuid": str(machine.uuid),
            "mac": machine.mac,
            "power": machine.power.value,
            "running": machine.running.value,
            "boot": ":".join(machine.override),
            "media": machine.media.image if machine.media is not None else None,
            "disk": machine.disk,
            "boots": machine.boots,
            "agent": None
            if agent is None
            else {
                "node_uuid": agent.node_uuid or None,
                "callback_url": agent.callback_url,
                "heartbeats": agent.heartbeats,
                "commands": [c.command_name for c in agent.commands.results.values()],
            },
            "faults": {} if machine.faults == NO_FAULTS else msgspec.to_builtins(machine.faults),
        }

    # -- looking ----------------------------------------------------------------------------

    def _list(self, wanted: dict[str, str]) -> list[Json]:
        unknown = sorted(set(wanted) - {"running", "power"})
        if unknown:
            raise InvalidInputError(f"unknown filter {', '.join(unknown)}; use running, power")
        return [
            self.describe(machine)
            for machine in self._fleet.machines
            if wanted.get("running", machine.running.value) == machine.running.value
            and wanted.get("power", machine.power.value) == machine.power.value
        ]

    def _stats(self) -> Json:
        power: dict[str, int] = {}
        running: dict[str, int] = {}
        for machine in self._fleet.machines:
            power[machine.power.value] = power.get(machine.power.value, 0) + 1
            running[machine.running.value] = running.get(machine.running.value, 0) + 1
        return {
            "machines": len(self._fleet.machines),
            "power": power,
            "running": running,
            "requests": self._fleet.requests(),
            "journal_lines": self._fleet.journal.written,
        }

    def _journal(self, request: Request) -> Response:
        text = request.parameters().get("tail", "100")
        if not text.isdecimal():
            raise InvalidInputError(f"tail must be a number of lines, not {text!r}")
        return Response(200, b"[" + b",".join(self._fleet.journal.tail(int(text))) + b"]")

    # -- breaking ---------------------------------------------------------------------------

    def _set(self, machines: list[Machine], faults: Faults, reply: Reply) -> None:
        left = len(machines)
        text = "" if faults == NO_FAULTS else msgspec.json.encode(faults).decode()

        def done() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                reply(json_response({"machines": len(machines)}))

        for machine in machines:
            self._fleet.journal.fault(machine.name, "faults", text)
            self._fleet.set_faults(machine, faults, done)

    def _power_cut(self, machines: list[Machine]) -> Response:
        for machine in machines:
            self._fleet.journal.fault(machine.name, POWER_CUT, "")
            machine.cut_power()
        return json_response({"machines": len(machines)})

    def _bmc_reset(self, machines: list[Machine]) -> Response:
        for machine in machines:
            self._fleet.journal.fault(machine.name, "bmc-reset", "")
            self._fleet.reset_bmc(machine)
        return json_response({"machines": len(machines)})

    # -- which ------------------------------------------------------------------------------

    def _chosen(self, body: Json) -> list[Machine]:
        if "machines" not in body:
            raise InvalidInputError('say which machines: "all", an index, "3-17", or a list')
        chosen = self._select(body["machines"])
        return list({machine.index: machine for machine in chosen}.values())

    def _select(self, wanted: object) -> list[Machine]:
        machines = self._fleet.machines
        if isinstance(wanted, list):
            return [m for one in cast("list[object]", wanted) for m in self._select(one)]
        first, dash, last = str(wanted).partition("-")
        if wanted == "all":
            found = machines
        elif first.isdecimal() and (last.isdecimal() if dash else True):
            found = machines[int(first) : int(last if dash else first) + 1]
        else:
            raise InvalidInputError(f"{wanted!r} names no machines; use all, 3, 3-17, or a list")
        if not found:
            raise NotFoundError(f"there is no machine {wanted}; the fleet has {len(machines)}")
        return found


def _document(request: Request) -> Json:
    try:
        return request.document()
    except msgspec.DecodeError as error:
        raise InvalidInputError(f"the body is no JSON object: {error}") from None


def _faults(given: object) -> Faults:
    try:
        return msgspec.convert(given, Faults)
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"faults: {error}") from None
