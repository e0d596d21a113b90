"""The simulated ramdisk agent of one boot: lookup, heartbeats, and its command API.

Behaves on the wire as ironic-python-agent 13.0 does: asks the API for its version,
looks its node up by MAC address (and UUID, if its kernel was told one) until found,
takes its token and heartbeat time-out from there, announces its call-back URL at
once and then at a jittered share of that time-out, soon after a command has ended,
and again soon when refused. It does no I/O: calls go out through ``Caller``.

Kernel parameters are the query of the virtual CD's URL: ``ipa-api-url``,
``ipa-agent-token`` and ``node_uuid`` are heeded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, TypeAlias
from urllib.parse import urlencode

import msgspec

from holdfast.sim.fleet.agent_commands import Command, CommandRefusedError, Commands
from holdfast.sim.fleet.http import Reply, Request, json_object, json_response
from holdfast.sim.fleet.journal import Journal, Outcome
from holdfast.sim.fleet.machine import Clock, Machine, Timer
from holdfast.sim.fleet.settings import AgentSettings, Times

Json: TypeAlias = dict[str, Any]
Version: TypeAlias = tuple[int, int]

VERSION_HEADER = "X-OpenStack-Ironic-API-Version"
VERSION_FALLBACK: Version = (1, 31)
VERSION_AGENT: Version = (1, 36)  # heartbeats carry agent_version
VERSION_TOKEN: Version = (1, 62)  # heartbeats carry agent_token
VERSION_MAX: Version = (1, 68)
TOKEN_MIN_LENGTH = 32
TOKEN_MASKED = "******"  # noqa: S105 - what the API says instead of a token handed out before
LOCKED_PAUSES = (1.0, 2.0, 6.0)  # times heartbeat_min_s: pauses after a lookup answered 409


class ApiCall(msgspec.Struct, frozen=True, kw_only=True):
    """A request of the agent to the Ironic API."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes = b""
    timeout_s: float = 30.0


class ApiReply(msgspec.Struct, frozen=True, kw_only=True):
    """Its answer; status 0: there was none."""

    status: int = 0
    body: bytes = b""

    def document(self) -> Json:
        """The body as a JSON object, {} if it is none."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, Any])
        except msgspec.DecodeError:
            return {}


Caller: TypeAlias = Callable[[ApiCall, Callable[[ApiReply], None]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the agents of a fleet share."""

    settings: AgentSettings
    times: Times
    clock: Clock
    rng: Random
    journal: Journal
    caller: Caller


class Agent:
    """One boot of the ramdisk on one machine. ``start`` it; ``stop`` it when power goes."""

    def __init__(self, machine: Machine, around: Surroundings, *, api_url: str) -> None:
        kernel = machine.media.parameters() if machine.media is not None else {}
        self.machine = machine
        self.callback_url = ""
        self.boot = machine.boots
        self.node_uuid: str = kernel.get("node_uuid", "")
        self.token: str = kernel.get("ipa-agent-token", "")
        self.serving = True
        self.heartbeats = 0  # accepted ones
        self._api_url = kernel.get("ipa-api-url", api_url).rstrip("/")
        self._around = around
        self._clock = around.clock
        self._rng = around.rng
        self._calling = False
        self._looked_up = False
        self._started = around.clock.time()
        self._version: Version | None = None
        self._heartbeat_timeout_s = 300.0
        self._lookups = 0
        self._locked = 0
        self._last_s = 0.0
        self._in_flight = False
        self._forced = False
        self._timer: Timer | None = None
        self.commands = Commands(
            machine, around.times, clock=around.clock, rng=around.rng, owner=self
        )

    def start(self, callback_url: str) -> None:
        """Begin calling the API; ``callback_url`` is where this agent listens."""
        self.callback_url = callback_url
        if self._api_url and not self.machine.faults.agent_silent:
            self._calling = True
            self._look_up()

    def stop(self) -> None:
        self.serving = self._calling = False
        self.commands.stop()
        self._cancel()

    def lock_down(self) -> None:
        """Serve nothing and call nobody, until the machine is powered off."""
        self.stop()

    # -- calling the API --------------------------------------------------------------------

    def _call(
        self, method: str, path: str, version: Version, body: bytes,
        on_reply: Callable[[ApiReply], None],
    ) -> None:  # fmt: skip
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if path != "/":
            headers[VERSION_HEADER] = f"{version[0]}.{version[1]}"
        call = ApiCall(
            method=method, url=self._api_url + path, headers=headers, body=body,
            timeout_s=self._around.settings.request_timeout_s,
        )  # fmt: skip
        self._around.caller(call, lambda reply: on_reply(reply) if self._calling else None)

    def _with_version(self, then: Callable[[Version], None]) -> None:
        if self._version is not None:
            then(self._version)
            return

        def answered(reply: ApiReply) -> None:
            default = json_object(reply.document().get("default_version"))
            major, _, minor = str(default.get("version")).partition(".")
            if major.isdecimal() and minor.isdecimal():
                self._version = (int(major), int(minor))
            then(self._version or VERSION_FALLBACK)

        self._call("GET", "/", VERSION_FALLBACK, b"", answered)

    def _look_up(self) -> None:
        self._lookups += 1
        query = {"addresses": self.machine.mac}
        if self.node_uuid:
            query["node_uuid"] = self.node_uuid
        path = "/v1/lookup?" + urlencode(query, safe=":")
        self._with_version(
            lambda version: self._call("GET", path, min(version, VERSION_TOKEN), b"", self._found)
        )

    def _found(self, reply: ApiReply) -> None:
        document = reply.document() if reply.status == 200 else {}
        node, config = json_object(document.get("node")), json_object(document.get("config"))
        if "uuid" not in node or "config" not in document:
            self._look_up_again(locked=reply.status == 409)
            return
        self.node_uuid = str(node["uuid"])
        self._configure(config)
        if self._calling:
            self._looked_up = True
            self._note("looked up")
            self._beat()

    def _look_up_again(self, *, locked: bool) -> None:
        settings = self._around.settings
        low, high = settings.lookup_retry_s
        if self._clock.time() - self._started > settings.lookup_timeout_s:
            self._note("gave up")
            self.stop()
            return
        if locked:
            pause = LOCKED_PAUSES[min(self._locked, len(LOCKED_PAUSES) - 1)]
            delay_s = pause * settings.heartbeat_min_s
            self._locked += 1
        else:
            longest = min(high, low * 2.0 ** min(self._lookups, 16))
            delay_s = self._rng.uniform(low, max(low, longest))
        self._plan(delay_s, self._look_up)

    def _configure(self, config: Json) -> None:
        self._heartbeat_timeout_s = float(config.get("heartbeat_timeout") or 300.0)
        token = str(config.get("agent_token") or "")
        if len(token) >= TOKEN_MIN_LENGTH:
            self.token = token
        elif token == TOKEN_MASKED and not self.token:
            self._note("no token")  # handed out to an earlier boot: ours may serve nobody
            self.lock_down()

    # -- heartbeats -------------------------------------------------------------------------

    def _beat(self) -> None:
        self._in_flight = True
        self._forced = False
        self._with_version(self._beat_as)

    def _beat_as(self, version: Version) -> None:
        body: Json = {"callback_url": self.callback_url}
        if version >= VERSION_TOKEN:
            body["agent_token"] = self.token or None
        if version >= VERSION_AGENT:
            body["agent_version"] = self._around.settings.version
        path = f"/v1/heartbeat/{self.node_uuid}"
        content = msgspec.json.encode(body)
        self._call("POST", path, min(version, VERSION_MAX), content, self._beaten)

    def _beaten(self, reply: ApiReply) -> None:
        settings = self._around.settings
        self._in_flight = False
        self._last_s = self._clock.time()
        if reply.status == 202:
            self.heartbeats += 1
            if self.heartbeats == 1:
                self._note("heartbeat accepted")
            delay_s = self._heartbeat_timeout_s * self._rng.uniform(*settings.heartbeat_jitter)
            if self._forced:  # a command ended while this one was on its way
                delay_s = min(delay_s, settings.heartbeat_min_s)
        else:
            delay_s = settings.heartbeat_min_s * self._rng.uniform(*settings.retry_jitter)
        self._plan(delay_s, self._beat)

    def command_ended(self) -> None:
        """Heartbeat soon, but never more often than heartbeat_min_s."""
        self._forced = True
        if self._calling and self._looked_up and not self._in_flight:
            since_s = self._clock.time() - self._last_s
            self._plan(max(0.0, self._around.settings.heartbeat_min_s - since_s), self._beat)

    def _plan(self, delay_s: float, callback: Callable[[], None]) -> None:
        self._cancel()
        self._timer = self._clock.call_later(delay_s, callback)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _note(self, what: str) -> None:
        self._around.journal.state(self.machine.name, "agent", what)

    # -- being called -----------------------------------------------------------------------

    def handle(self, request: Request, reply: Reply) -> None:
        """Answer a request for the command API; leave it unanswered once it serves no more."""
        if not self.serving:
            reply(None)
            return
        parts = [part for part in request.path.split("/") if part]
        parts = parts[1:] if parts[:1] == ["v1"] else parts
        match request.method, parts:
            case "GET", ["status"]:
                reply(json_response(
                    {"started_at": self._started, "version": self._around.settings.version}
                ))  # fmt: skip
            case "GET", ["commands"]:
                self._guarded(request, reply, self._list)
            case "GET", ["commands", command_id]:
                self._guarded(request, reply, lambda: self._get(request, reply, command_id))
            case "POST", ["commands"]:
                self._guarded(request, reply, lambda: self._run(request, reply))
            case _:
                reply(json_response(CommandRefusedError(404, "404 Not Found").body(), 404))

    def _guarded(self, request: Request, reply: Reply, act: Callable[[], Json | None]) -> None:
        """Answer what ``act`` returns, unless it is None: then ``act`` has seen to it."""
        name, value = _asked(request)
        try:
            given = request.parameters().get("agent_token")
            if not given or given != self.token:
                raise CommandRefusedError(401, "401 Unauthorized: Token invalid.")
            document = act()
        except CommandRefusedError as refused:
            self._record(request, name, value, refused.http_status, done=False)
            reply(json_response(refused.body(), refused.http_status))
            return
        if request.method == "GET":
            self._record(request, name, value, 200, done=True)
        if document is not None:
            reply(json_response(document))

    def _list(self) -> Json:
        return {"commands": [command.document() for command in self.commands.results.values()]}

    def _get(self, request: Request, reply: Reply, command_id: str) -> None:
        command = self.commands.results.get(command_id)
        if command is None:
            raise CommandRefusedError(
                404, f"Not found: Command Result with id {command_id} not found."
            )
        self._answer(request, reply, command)

    def _run(self, request: Request, reply: Reply) -> None:
        name, value = _asked(request)
        body = _document(request)
        params = json_object(body.get("params"))
        if not name or not isinstance(body.get("params"), dict):
            raise CommandRefusedError(400, "400 Bad Request: Missing or invalid name or params")
        command = self.commands.execute(name, params)
        lost = self._rng.random() < self.machine.faults.agent_lost_answer_rate
        fault = "lost_answer" if lost else ""
        self._record(request, name, value, 200, done=True, fault=fault)
        if lost:
            reply(None)
        else:
            self._answer(request, reply, command)

    def _answer(self, request: Request, reply: Reply, command: Command) -> None:
        def answer(ended: bool) -> None:
            reply(json_response(command.document()) if ended else None)

        if request.parameters().get("wait", "").lower() == "true":
            self.commands.when_ended(command, answer)
        else:
            answer(True)

    def _record(
        self, request: Request, name: str, value: str, status: int, *, done: bool, fault: str = ""
    ) -> None:
        outcome = Outcome(status=status, done=done, fault=fault, boot=self.boot)
        action = f"agent.{name}" if name else "read"
        self._around.journal.command(self.machine.name, request, action, value, outcome)


def _document(request: Request) -> Json:
    try:
        return request.document()
    except msgspec.DecodeError:
        return {}


def _asked(request: Request) -> tuple[str, str]:
    """The command's name and, of an execute command, its step, for the journal."""
    if request.method != "POST":
        return "", ""
    body = _document(request)
    step = json_object(json_object(body.get("params")).get("step"))
    name = body.get("name")
    return (name if isinstance(name, str) else ""), str(step.get("step", ""))
