"""Driving the simulated agent for machines of somebody else's BMC emulator.

``sushy-emulator --fake`` (of sushy-tools) mocks power, boot device and virtual media,
but nothing ever boots in its machines. It can tell us, though: a system of its
configuration with ``external_notifier`` true is sent to ``EXTERNAL_NOTIFICATION_URL``
as ``PUT`` with the whole system as JSON after each change of it::

    EXTERNAL_NOTIFICATION_URL = "http://127.0.0.1:CONTROL_PORT/notify"
    SUSHY_EMULATOR_FAKE_SYSTEMS = [{"uuid": "...", "name": "...", "power_state": "Off",
        "external_notifier": True, "nics": [{"mac": "52:54:00:00:00:01", "ip": "192.0.2.1"}]}]

and the fleet, started with ``--sushy http://HOST:PORT`` (where the emulator listens),
then boots and stops the same agent as in its own machines. Three habits of that
emulator are allowed for: a change of power is applied (and told) only when somebody
reads the system after its time has come, so we read it then; an inserted image is
downloaded first, so ``GET /ramdisk.iso`` on our control port serves a small one; and
its boot device is never used up.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from random import Random
from typing import Any, TypeAlias
from uuid import UUID

import msgspec

from holdfast.errors import InvalidInputError
from holdfast.sim.fleet.agent import ApiCall, ApiReply, Caller
from holdfast.sim.fleet.machine import OVERRIDE_TARGETS, Clock, Machine, Media, Power, Watcher
from holdfast.sim.fleet.settings import Times

PENDING_MARGIN_S = 0.2
RAMDISK_IMAGE = b"\0" * 32_768 + b"\x01CD001\x01" + b"\0" * 2_041  # an empty ISO 9660 descriptor


class Pending(msgspec.Struct, frozen=True):
    """A change of power that has not happened yet."""

    power_state: str
    apply_time: float  # epoch seconds, of the emulator's clock


class Nic(msgspec.Struct, frozen=True):
    """A network interface; only its hardware address matters here."""

    mac: str = ""


BootImage: TypeAlias = "tuple[str | None, bool, bool]"  # image, write protected, inserted


class System(msgspec.Struct, frozen=True, kw_only=True):
    """A system as the emulator tells of it."""

    uuid: UUID
    name: str
    power_state: str = "Off"
    pending_power: Pending | None = None
    boot_device: str = "Hdd"
    boot_image: dict[str, BootImage] | None = None
    nics: list[Nic] = []


class MirroredMachine(Machine):
    """A machine whose power is the emulator's: we learn of it, and ask there to change it."""

    __slots__ = ("_ask",)

    def __init__(self, index: int, *, ask: Callable[[str], None], **rest: Any) -> None:
        super().__init__(index, **rest)
        self._ask = ask  # sends a Redfish ResetType to the emulator

    def mirror(self, system: System) -> None:
        """Follow what the emulator says."""
        image, write_protected, inserted = (system.boot_image or {}).get("Cd", (None, True, False))
        self.media = (
            Media(image=image, write_protected=write_protected) if inserted and image else None
        )
        target = system.boot_device if system.boot_device in OVERRIDE_TARGETS else "None"
        self.override = (target, "Continuous" if target != "None" else "Disabled")
        if system.power_state == "On" and self.power is Power.OFF:
            self.energise()
        elif system.power_state != "On":
            self.cut_power()

    def shut_down(self) -> None:
        self._ask("ForceOff")

    def reboot(self) -> None:
        self._ask("ForceRestart")


class SushyBridge:
    """Takes notifications; owns the mirrored machines."""

    def __init__(
        self, url: str, basic: str, *, times: Times, clock: Clock, rng: Random, caller: Caller,
        watcher: Watcher, adopt: Callable[[Machine], None],
    ) -> None:  # fmt: skip
        pair = f"{basic}".encode()
        self._url = url.rstrip("/")
        self._headers = {
            "Content-Type": "application/json",
            "Authorization": "Basic " + base64.b64encode(pair).decode(),
        }
        self._times = times
        self._clock = clock
        self._rng = rng
        self._caller = caller
        self._watcher = watcher
        self._adopt = adopt
        self._machines: dict[UUID, MirroredMachine] = {}

    def notified(self, body: bytes) -> None:
        """One notification. Raises InvalidInputError for what is none."""
        try:
            system = msgspec.json.decode(body, type=System)
        except msgspec.DecodeError as error:
            raise InvalidInputError(f"not a system of sushy-emulator: {error}") from None
        machine = self._machines.get(system.uuid)
        if machine is None:
            machine = self._machines[system.uuid] = self._mirror(system)
            self._adopt(machine)
        machine.mirror(system)
        if system.pending_power is not None:
            wait_s = max(0.0, system.pending_power.apply_time - time.time()) + PENDING_MARGIN_S
            self._clock.call_later(wait_s, lambda: self._read(system.uuid))

    def _mirror(self, system: System) -> MirroredMachine:
        return MirroredMachine(
            len(self._machines),
            ask=lambda kind: self._reset(system.uuid, kind),
            name=system.name,
            uuid=system.uuid,
            mac=system.nics[0].mac if system.nics else "",
            times=self._times,
            clock=self._clock,
            rng=self._rng,
            watcher=self._watcher,
        )

    def _read(self, uuid: UUID) -> None:
        self._send("GET", f"/redfish/v1/Systems/{uuid}", b"")

    def _reset(self, uuid: UUID, kind: str) -> None:
        path = f"/redfish/v1/Systems/{uuid}/Actions/ComputerSystem.Reset"
        self._send("POST", path, msgspec.json.encode({"ResetType": kind}))

    def _send(self, method: str, path: str, body: bytes) -> None:
        def answered(reply: ApiReply) -> None:  # what came of it, the next notification tells
            del reply

        call = ApiCall(method=method, url=self._url + path, headers=self._headers, body=body)
        self._caller(call, answered)
