"""The ramdisk agent's commands: what it can be told, and how it answers.

Names, shapes and refusals are ironic-python-agent's (13.0): one command at a time,
``deploy.`` and ``clean.`` steps run in the background, errors as ``faultcode`` and
``faultstring``, results as ``command_status`` and ``command_result``.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable
from random import Random
from typing import Any, Protocol, TypeAlias
from uuid import UUID

import msgspec

from holdfast.errors import HoldfastError
from holdfast.sim.fleet.http import json_object
from holdfast.sim.fleet.machine import Clock, Machine
from holdfast.sim.fleet.settings import Span, Times

Json: TypeAlias = dict[str, Any]

RUNNING, SUCCEEDED, FAILED = "RUNNING", "SUCCEEDED", "FAILED"
VERSION_MISMATCH = "CLEAN_VERSION_MISMATCH"  # spelled so for deploy steps as well
MANAGER = "GenericHardwareManager"
MANAGER_VERSIONS = {"generic_hardware_manager": "1.2"}
RESULTS_MAX = 100
INIT_STOPS_S = 0.1  # between the command to power off and the power going


def _step(name: str, priority: int) -> Json:
    return {"step": name, "priority": priority, "interface": "deploy", "reboot_requested": False}


STEPS: dict[str, list[Json]] = {
    "deploy": [_step("write_image", 80), _step("erase_devices_metadata", 0)],
    "clean": [
        {**_step("erase_devices_metadata", 10), "abortable": True},
        {**_step("erase_devices", 0), "abortable": True},
    ],
}
WHAT_FAILED = {
    "deploy": ("DeploymentError", "Deploy step failed"),
    "clean": ("CleaningError", "Clean step failed"),
}


class CommandRefusedError(HoldfastError):
    """The agent does not begin a command; ``http_status`` says how."""

    code = "agent_refused"

    def __init__(self, http_status: int, message: str) -> None:
        super().__init__(message)
        self.http_status = http_status

    def body(self) -> Json:
        side = "Server" if self.http_status >= 500 else "Client"
        return {"faultcode": side, "faultstring": self.message}


class Command(msgspec.Struct, kw_only=True):
    """One command and, once it ended, its outcome. Public fields are the wire's."""

    id: str
    command_name: str
    command_status: str = RUNNING
    command_error: Json | None = None
    command_result: Json | None = None

    def document(self) -> Json:
        return msgspec.structs.asdict(self)


class Owner(Protocol):
    """The agent a command runs in."""

    def command_ended(self) -> None:
        """A background command ended: a heartbeat is due."""
        ...

    def lock_down(self) -> None:
        """Serve nothing any more, and stop calling."""
        ...


class Commands:
    """Executes the commands of one boot of one agent."""

    def __init__(
        self, machine: Machine, times: Times, *, clock: Clock, rng: Random, owner: Owner
    ) -> None:
        self.results: dict[str, Command] = {}
        self._machine = machine
        self._times = times
        self._clock = clock
        self._rng = rng
        self._owner = owner
        self._alive = True
        self._current: Command | None = None
        self._waiting: dict[str, list[Callable[[bool], None]]] = {}

    def stop(self) -> None:
        """The machine went dark: what runs will never end, who waits is told so."""
        self._alive = False
        waiting, self._waiting = self._waiting, {}
        for callbacks in waiting.values():
            for callback in callbacks:
                callback(False)

    def execute(self, name: str, params: Json) -> Command:
        """Begin a command. Raises CommandRefusedError for one that is not begun."""
        extension, dot, command_name = name.partition(".")
        if not dot:
            text = "Command name must be of the form <extension>.<name>"
            raise CommandRefusedError(400, f"Invalid command: {text}")
        if self._current is not None and self._current.command_status == RUNNING:
            busy = f"Agent is busy: executing command {self._current.command_name}"
            raise CommandRefusedError(409, busy)
        if extension not in {known.partition(".")[0] for known in self._table()}:
            raise CommandRefusedError(404, f"Not found: Extension with id {extension} not found.")
        begin = self._table().get(name)
        if begin is None:
            raise CommandRefusedError(400, f"Invalid command: Unknown command: {command_name}")
        command = Command(id=str(UUID(int=self._rng.getrandbits(128), version=4)),
                          command_name=command_name)  # fmt: skip
        self._keep(command)
        begin(command, params)
        return command

    def when_ended(self, command: Command, callback: Callable[[bool], None]) -> None:
        """Call back with True once it has ended (at once if it has), False if it never will."""
        if command.command_status != RUNNING:
            callback(True)
        else:
            self._waiting.setdefault(command.id, []).append(callback)

    # -- the commands -----------------------------------------------------------------------

    def _table(self) -> dict[str, Callable[[Command, Json], None]]:
        return {
            "deploy.get_deploy_steps": lambda command, _: self._steps(command, "deploy"),
            "clean.get_clean_steps": lambda command, _: self._steps(command, "clean"),
            "deploy.execute_deploy_step": lambda command, p: self._run_step(command, "deploy", p),
            "clean.execute_clean_step": lambda command, p: self._run_step(command, "clean", p),
            "standby.prepare_image": self._prepare_image,
            "standby.sync": lambda command, _: self._finish(command, None),
            "standby.get_partition_uuids": lambda command, _: self._finish(command, {}),
            "standby.power_off": lambda command, _: self._leave(command, self._machine.shut_down),
            "standby.run_image": lambda command, _: self._leave(command, self._machine.reboot),
            "image.install_bootloader": lambda command, _: self._background(
                command, "install_bootloader", lambda: None
            ),
            "log.collect_system_logs": lambda command, _: self._finish(
                command, {"system_logs": self._logs()}
            ),
            "poll.get_hardware_info": lambda command, _: self._finish(command, self._hardware()),
            "system.lockdown": self._lockdown,
        }

    def _steps(self, command: Command, kind: str) -> None:
        result = {f"{kind}_steps": {MANAGER: STEPS[kind]},
                  "hardware_manager_version": MANAGER_VERSIONS}  # fmt: skip
        self._finish(command, result)

    def _run_step(self, command: Command, kind: str, params: Json) -> None:
        step = json_object(params.get("step"))
        if "step" not in step:
            text = f'Malformed {kind}_step, no "step" key: {step}'
            self._fail(command, "CommandExecutionError", "Command execution failed", text)
            return
        versions = params.get(f"{kind}_version")
        if versions is not None and versions != MANAGER_VERSIONS:
            text = f"Current versions: {MANAGER_VERSIONS}, versions used by ironic: {versions}"
            message = "Hardware managers version mismatch, reload agent with correct version"
            self._fail(command, "VersionMismatch", message, text, status=VERSION_MISMATCH)
            return
        name = str(step["step"])
        effect = self._effect(name, params, json_object(step.get("args")))
        if effect is None:
            error, message = WHAT_FAILED[kind]
            text = f"No HardwareManager found to handle method: Could not find method: {name}"
            self._fail(command, error, message, text)
            return

        def act() -> Json:
            return {f"{kind}_result": effect(), f"{kind}_step": step}

        self._background(command, name, act, kind)

    def _effect(self, name: str, params: Json, args: Json) -> Callable[[], object] | None:
        if name == "write_image":
            image = _image_of(args.get("image_info") or params.get("image_info"), params)
            return lambda: self._write(image)
        if name in ("erase_devices_metadata", "erase_devices"):
            return self._machine.erase_disk
        return None

    def _prepare_image(self, command: Command, params: Json) -> None:
        image = _image_of(params.get("image_info"), params)
        text = f"prepare_image: image ({image}) written to device /dev/sda "

        def act() -> Json:
            self._write(image)
            return {"result": text}

        self._background(command, "prepare_image", act, "deploy")

    def _write(self, image: str) -> str:
        self._machine.write_disk(image)
        return f"image ({image}) written to device /dev/sda "

    def _leave(self, command: Command, go: Callable[[], None]) -> None:
        def gone() -> None:
            self._finish(command, None)
            self._clock.call_later(INIT_STOPS_S, lambda: go() if self._alive else None)

        self._later((0.0, 0.0), gone)

    def _lockdown(self, command: Command, params: Json) -> None:
        self._finish(command, None)
        self._clock.call_later(INIT_STOPS_S, self._owner.lock_down)

    def _logs(self) -> str:
        text = f"{self._machine.name}: ramdisk of boot {self._machine.boots}\n"
        return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()

    def _hardware(self) -> Json:
        return {
            "interfaces": [{"name": "eth0", "mac_address": self._machine.mac, "has_carrier": True}],
            "cpu": {"count": 2, "architecture": "x86_64"},
            "memory": {"physical_mb": 65_536},
            "disks": [{"name": "/dev/sda", "size": 480 * 10**9, "rotational": False}],
            "system_vendor": {"manufacturer": "Holdfast", "product_name": "Mock machine"},
            "hostname": self._machine.name,
        }

    # -- their lives ------------------------------------------------------------------------

    def _keep(self, command: Command) -> None:
        self.results[command.id] = command
        self._current = command
        if len(self.results) > RESULTS_MAX:
            del self.results[next(iter(self.results))]

    def _later(self, span: Span, callback: Callable[[], None]) -> None:
        delay_s = self._rng.uniform(*span)
        self._clock.call_later(delay_s, lambda: callback() if self._alive else None)

    def _background(
        self, command: Command, name: str, act: Callable[[], Json | None], kind: str = "deploy"
    ) -> None:
        def end() -> None:
            faults = self._machine.faults
            if name in faults.fail_steps or self._rng.random() < faults.step_fail_rate:
                error, message = WHAT_FAILED[kind]
                text = f"Unexpected exception performing {kind} step {name}. OSError: injected"
                self._fail(command, error, message, text)
            else:
                self._finish(command, act())
            self._owner.command_ended()

        self._later(self._times.step_s, end)

    def _finish(self, command: Command, result: Json | None) -> None:
        command.command_status = SUCCEEDED
        command.command_result = result
        self._release(command)

    def _fail(
        self, command: Command, error: str, message: str, details: str, *, status: str = FAILED
    ) -> None:
        command.command_status = status
        command.command_error = {
            "type": error, "code": 500, "message": message, "details": details,
        }  # fmt: skip
        self._release(command)

    def _release(self, command: Command) -> None:
        for callback in self._waiting.pop(command.id, []):
            callback(True)


def _image_of(image_info: object, params: Json) -> str:
    """What the image is called: the id in its image_info, else the node's image_source."""
    instance = json_object(json_object(params.get("node")).get("instance_info"))
    image = json_object(image_info).get("id") or instance.get("image_source")
    return str(image or "unnamed")
