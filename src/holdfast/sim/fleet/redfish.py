"""The routes of a mock BMC: from a request to a plan of what it does, if it may.

A plan names the action and its value (for the journal) and holds the function that
does it; ``bmc.Bmc`` decides when it runs, and whether at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import msgspec

from holdfast.errors import ConflictError, HoldfastError
from holdfast.sim.fleet import documents as doc
from holdfast.sim.fleet import hardware
from holdfast.sim.fleet.accounts import Account, Sessions
from holdfast.sim.fleet.http import Request, Response, json_response
from holdfast.sim.fleet.machine import (
    OVERRIDE_ENABLED,
    OVERRIDE_TARGETS,
    RESET_TYPES,
    Machine,
    Media,
)


class RefusedError(HoldfastError):
    """The BMC refuses a request; ``details`` carry the Redfish message id and HTTP status."""

    code = "refused"

    def __init__(self, status: int, message_id: str, message: str) -> None:
        super().__init__(message)
        self.response = doc.error(status, message_id, message)


class Plan(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a request asks for. ``public``: needs no login. ``run`` may raise RefusedError."""

    run: Callable[[], Response]
    action: str = "read"
    value: str = ""
    machine: Machine | None = None
    public: bool = False


class Redfish:
    """The Redfish service of one BMC with one machine ("1"), or with many."""

    __slots__ = ("_account", "_now", "machines", "sessions")

    def __init__(
        self, machines: dict[str, Machine], account: Account, now: Callable[[], float]
    ) -> None:
        self.machines = machines
        self.sessions = Sessions(account)
        self._account = account
        self._now = now

    def plan(self, request: Request) -> Plan:
        """Raises RefusedError for what does not exist or makes no sense."""
        parts = [part for part in request.path.split("/") if part]
        if parts[:1] != ["redfish"]:
            raise _missing(request.path)
        if len(parts) == 1:
            return Plan(run=lambda: json_response({"v1": f"{doc.ROOT}/"}), public=True)
        if parts[1] != "v1":
            raise _missing(request.path)
        match parts[2:]:
            case []:
                return self._read(request, lambda: doc.service_root(self._uuid()), public=True)
            case ["SessionService", *rest]:
                return self._plan_sessions(request, rest)
            case ["Systems" | "Managers" | "Chassis" as kind]:
                name = "ComputerSystem" if kind == "Systems" else kind.removesuffix("s")
                return self._read(request, lambda: doc.collection(name, kind, list(self.machines)))
            case ["Systems", system_id, *rest]:
                return self._plan_system(request, system_id, self._machine(system_id), rest)
            case ["Managers", system_id, *rest]:
                return self._plan_manager(request, system_id, self._machine(system_id), rest)
            case ["Chassis", system_id]:
                machine = self._machine(system_id)
                return self._read(request, lambda: doc.chassis(system_id, machine), machine)
            case _:
                raise _missing(request.path)

    # -- sessions ---------------------------------------------------------------------------

    def _plan_sessions(self, request: Request, rest: list[str]) -> Plan:
        path = "SessionService/Sessions"
        match rest:
            case []:
                idle_s = self._account.session_idle_s
                return self._read(request, lambda: doc.session_service(idle_s))
            case ["Sessions"] if request.method == "POST":
                return Plan(run=lambda: self._log_in(request), action="session", public=True)
            case ["Sessions"]:
                return self._read(
                    request, lambda: doc.collection("Session", path, self.sessions.ids())
                )
            case ["Sessions", session_id] if request.method == "DELETE":
                return Plan(run=lambda: self._log_out(session_id), action="session")
            case ["Sessions", session_id] if session_id in self.sessions.ids():
                username = self._account.username
                return self._read(request, lambda: doc.session(session_id, username))
            case _:
                raise _missing(request.path)

    def _log_in(self, request: Request) -> Response:
        body = _body(request)
        try:
            made = self.sessions.log_in(body.get("UserName"), body.get("Password"), self._now())
        except OverflowError:
            raise RefusedError(
                503, "SessionLimitExceeded", "The number of sessions is at its limit."
            ) from None
        if made is None:
            raise RefusedError(401, "ResourceAtUriUnauthorized", "User name or password is wrong.")
        session_id, token = made
        document = doc.session(session_id, self._account.username)
        location = str(document["@odata.id"])
        return json_response(document, 201, (("X-Auth-Token", token), ("Location", location)))

    def _log_out(self, session_id: str) -> Response:
        if not self.sessions.log_out(session_id):
            raise _missing(f"session {session_id}")
        return Response(204)

    # -- systems ----------------------------------------------------------------------------

    def _plan_system(
        self, request: Request, system_id: str, machine: Machine, rest: list[str]
    ) -> Plan:
        match rest:
            case [] if request.method == "PATCH":
                boot = _boot_of(_body(request))
                value = ":".join(_override(boot, machine))
                return Plan(
                    run=lambda: _set_boot(request, boot, machine),
                    action="boot", value=value, machine=machine,
                )  # fmt: skip
            case []:
                return self._read(request, lambda: doc.system(system_id, machine), machine)
            case ["Actions", "ComputerSystem.Reset"]:
                _only("POST", request)
                kind = _choice(_body(request), "ResetType", RESET_TYPES)
                return Plan(
                    run=lambda: _reset(machine, kind), action="power", value=kind, machine=machine
                )
            case _:
                found = hardware.part(system_id, machine, rest)
                if found is None:
                    raise _missing(request.path)
                return self._read(request, lambda: found, machine)

    # -- managers ---------------------------------------------------------------------------

    def _plan_manager(
        self, request: Request, system_id: str, machine: Machine, rest: list[str]
    ) -> Plan:
        path = f"Managers/{system_id}/VirtualMedia"
        match rest:
            case []:
                return self._read(request, lambda: doc.manager(system_id, machine), machine)
            case ["VirtualMedia"]:
                return self._read(
                    request, lambda: doc.collection("VirtualMedia", path, ["Cd"]), machine
                )
            case ["VirtualMedia", "Cd"]:
                return self._read(request, lambda: doc.virtual_media(system_id, machine), machine)
            case ["VirtualMedia", "Cd", "Actions", "VirtualMedia.InsertMedia"]:
                _only("POST", request)
                media = _media(_body(request))
                return Plan(
                    run=lambda: _insert(machine, media),
                    action="media", value=media.image, machine=machine,
                )  # fmt: skip
            case ["VirtualMedia", "Cd", "Actions", "VirtualMedia.EjectMedia"]:
                _only("POST", request)
                return Plan(run=lambda: _eject(machine), action="media", machine=machine)
            case _:
                raise _missing(request.path)

    # -- shared by all ----------------------------------------------------------------------

    def _machine(self, system_id: str) -> Machine:
        machine = self.machines.get(system_id)
        if machine is None:
            raise _missing(f"system {system_id}")
        return machine

    def _uuid(self) -> str:
        return str(next(iter(self.machines.values())).uuid)

    def _read(
        self,
        request: Request,
        build: Callable[[], doc.Document],
        machine: Machine | None = None,
        *,
        public: bool = False,
    ) -> Plan:
        if request.method not in ("GET", "HEAD"):
            raise RefusedError(
                405, "OperationNotAllowed", f"{request.method} is not allowed on {request.path}."
            )

        def run() -> Response:
            if machine is None:
                return json_response(build())
            etag = _etag(machine)
            if request.headers.get("if-none-match") == etag:
                return Response(304, headers=(("ETag", etag),))
            document = build()
            document["@odata.etag"] = etag
            return json_response(document, 200, (("ETag", etag),))

        return Plan(run=run, machine=machine, public=public)


# -- what the commands do -------------------------------------------------------------------


def _reset(machine: Machine, kind: str) -> Response:
    try:
        machine.reset(kind)
    except ConflictError as conflict:
        raise RefusedError(409, "ResourceInStandby", conflict.message) from conflict
    return Response(204)


def _set_boot(request: Request, boot: dict[str, object], machine: Machine) -> Response:
    wanted = request.headers.get("if-match", "*").removeprefix("W/")
    if wanted not in ("*", _etag(machine).removeprefix("W/")):
        raise RefusedError(412, "PreconditionFailed", "The resource has changed; read it again.")
    machine.override_mode = str(boot.get("BootSourceOverrideMode", machine.override_mode))
    machine.set_override(*_override(boot, machine))
    return Response(204)


def _insert(machine: Machine, media: Media) -> Response:
    if machine.media is not None and machine.media != media:
        raise RefusedError(409, "ResourceInUse", "An image is inserted already; eject it first.")
    machine.insert(media)
    return Response(204)


def _eject(machine: Machine) -> Response:
    machine.eject()
    return Response(204)


def _etag(machine: Machine) -> str:
    return f'W/"{machine.etag}"'


# -- what comes in --------------------------------------------------------------------------


def _missing(what: str) -> RefusedError:
    return RefusedError(404, "ResourceMissingAtURI", f"There is nothing at {what}.")


def _only(method: str, request: Request) -> None:
    if request.method != method:
        raise RefusedError(405, "OperationNotAllowed", f"{request.path} takes {method} only.")


def _body(request: Request) -> dict[str, object]:
    try:
        return request.document()
    except msgspec.DecodeError as error:
        raise RefusedError(400, "MalformedJSON", f"The body is no JSON object: {error}") from None


def _choice(body: dict[str, object], name: str, allowed: tuple[str, ...]) -> str:
    value = body.get(name)
    if value not in allowed:
        text = f"{name} is {value!r}; allowed are {', '.join(allowed)}."
        raise RefusedError(400, "PropertyValueNotInList", text)
    return str(value)


def _boot_of(body: dict[str, object]) -> dict[str, object]:
    unknown = sorted(set(body) - {"Boot"})
    if unknown or not isinstance(body.get("Boot"), dict):
        text = f"Only Boot can be changed, not {', '.join(unknown) or 'nothing'}."
        raise RefusedError(400, "PropertyUnknown", text)
    boot = cast("dict[str, object]", body["Boot"])
    if "BootSourceOverrideMode" in boot:
        _choice(boot, "BootSourceOverrideMode", ("UEFI", "Legacy"))
    return boot


def _override(boot: dict[str, object], machine: Machine) -> tuple[str, str]:
    """(target, enabled) after this change; what it does not name stays as it is."""
    target, enabled = machine.override
    if "BootSourceOverrideTarget" in boot:
        target = _choice(boot, "BootSourceOverrideTarget", OVERRIDE_TARGETS)
        enabled = "Once" if enabled == "Disabled" and target != "None" else enabled
    if "BootSourceOverrideEnabled" in boot:
        enabled = _choice(boot, "BootSourceOverrideEnabled", OVERRIDE_ENABLED)
    return (target, enabled) if target != "None" else ("None", "Disabled")


def _media(body: dict[str, object]) -> Media:
    image = body.get("Image")
    if not isinstance(image, str) or "://" not in image:
        raise RefusedError(400, "PropertyMissing", "Image must be the URL of an image.")
    return Media(image=image, write_protected=body.get("WriteProtected") is not False)
