"""One simulated machine: power, boot override, virtual media, disk. No I/O.

State::

    Off --On--> PoweringOn --(power_on_s)--> On
     ^                                        |  booting --(boot_s)--> ramdisk
     |                                        |                      | instance
     +--(power_off_s)-- PoweringOff <--Off----+                      | nothing

A request during a transition is remembered; the last one wins when it ends. What
boots is decided at power-on: the override's device (a ``Once`` is used up then),
else the disk. The CD with an image in it, and PXE, boot the ramdisk; the disk
boots the instance once an image was written, else nothing runs.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from random import Random
from typing import Protocol
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import msgspec

from holdfast.errors import ConflictError
from holdfast.sim.fleet.faults import NO_FAULTS, Faults
from holdfast.sim.fleet.settings import Times


class Timer(Protocol):
    """What a clock hands back for a planned call."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Time and the future; an asyncio loop is one."""

    def time(self) -> float:
        """Seconds, monotonic."""
        ...

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer: ...


class Power(StrEnum):
    """Redfish's PowerState, spelled as there (DSP0268)."""

    ON = "On"
    OFF = "Off"
    POWERING_ON = "PoweringOn"
    POWERING_OFF = "PoweringOff"


class Running(StrEnum):
    """What the processor executes."""

    DARK = "dark"
    BOOTING = "booting"
    RAMDISK = "ramdisk"
    INSTANCE = "instance"
    NOTHING = "nothing"  # powered, and nothing bootable found


class Media(msgspec.Struct, frozen=True, kw_only=True):
    """The virtual CD."""

    image: str
    write_protected: bool = True

    def parameters(self) -> dict[str, str]:
        """The image URL's query: the kernel parameters of the ramdisk in it."""
        return dict(parse_qsl(urlsplit(self.image).query))


class Watcher(Protocol):
    """Who is told what a machine does."""

    def ramdisk_up(self, machine: Machine) -> None: ...

    def ramdisk_down(self, machine: Machine) -> None: ...

    def changed(self, machine: Machine, what: str, value: str) -> None: ...


RESET_TYPES = ("On", "ForceOn", "ForceOff", "GracefulShutdown", "ForceRestart", "GracefulRestart",
               "Nmi")  # fmt: skip
OVERRIDE_TARGETS = ("None", "Pxe", "Cd", "Hdd")
OVERRIDE_ENABLED = ("Disabled", "Once", "Continuous")


class Machine:
    """A machine and the part of its BMC that outlives power."""

    __slots__ = (
        "_afterwards",
        "_clock",
        "_rng",
        "_timer",
        "_times",
        "_watcher",
        "boots",
        "disk",
        "etag",
        "faults",
        "index",
        "mac",
        "media",
        "name",
        "nmis",
        "override",
        "override_mode",
        "power",
        "running",
        "uuid",
    )

    def __init__(
        self,
        index: int,
        *,
        name: str,
        uuid: UUID,
        mac: str,
        times: Times,
        clock: Clock,
        rng: Random,
        watcher: Watcher,
    ) -> None:
        self.index = index
        self.name = name
        self.uuid = uuid
        self.mac = mac
        self.power = Power.OFF
        self.running = Running.DARK
        self.override: tuple[str, str] = ("None", "Disabled")  # target, enabled
        self.override_mode = "UEFI"
        self.media: Media | None = None
        self.disk: str | None = None  # what the image on the disk is called
        self.faults: Faults = NO_FAULTS
        self.boots = 0
        self.nmis = 0
        self.etag = 1
        self._times = times
        self._clock = clock
        self._rng = rng
        self._watcher = watcher
        self._timer: Timer | None = None
        self._afterwards: str | None = None  # "on" | "off": asked for during a transition

    # -- what the BMC is told ---------------------------------------------------------------

    def reset(self, kind: str) -> None:
        """Redfish's ComputerSystem.Reset. Raises ConflictError where the state forbids it."""
        if kind in ("On", "ForceOn"):
            self._want_on()
        elif kind == "ForceOff":
            self._want_off(graceful=False)
        elif kind == "GracefulShutdown":
            self._want_off(graceful=True)
        elif self.power is not Power.ON:
            raise ConflictError(f"{kind} needs a machine that is On, this one is {self.power}")
        elif kind == "Nmi":
            self.nmis += 1
            self._changed("nmi", str(self.nmis))
        else:
            self._restart(graceful=kind == "GracefulRestart")

    def set_override(self, target: str, enabled: str) -> None:
        self.override = ("None", "Disabled") if enabled == "Disabled" else (target, enabled)
        self._changed("override", ":".join(self.override))

    def insert(self, media: Media) -> None:
        self.media = media
        self._changed("media", media.image)

    def eject(self) -> None:
        self.media = None
        self._changed("media", "")

    def cut_power(self) -> None:
        """The mains fail: off at once, whatever was going on."""
        self._cancel()
        self._afterwards = None
        self._go_dark(Power.OFF)

    def halt(self) -> None:
        """The simulation ends: nothing planned happens any more."""
        self._cancel()

    def set_faults(self, faults: Faults) -> None:
        """Change what is wrong with it; a stuck transition that is no longer so ends now."""
        freed = self.faults.stuck_power and not faults.stuck_power
        self.faults = faults
        if freed and self.power is Power.POWERING_ON:
            self._then(0.0, self.energise)
        elif freed and self.power is Power.POWERING_OFF:
            self._then(0.0, self._is_off)

    # -- what software running on it does ---------------------------------------------------

    def shut_down(self) -> None:
        """The running system powers the machine off."""
        if self.power is Power.ON:
            self._go_dark(Power.POWERING_OFF)
            self._then(self._draw(self._times.power_off_s), self._is_off)

    def reboot(self) -> None:
        """The running system restarts the machine; its power stays on."""
        if self.power is Power.ON:
            self._go_dark(Power.ON)
            self._boot()

    def write_disk(self, image: str) -> None:
        self.disk = image
        self._changed("disk", image)

    def erase_disk(self) -> None:
        self.disk = None
        self._changed("disk", "")

    # -- power ------------------------------------------------------------------------------

    def _want_on(self) -> None:
        if self.power is Power.POWERING_OFF:
            self._afterwards = "on"
        elif self.power is Power.POWERING_ON:
            self._afterwards = None
        elif self.power is Power.OFF:
            self._set_power(Power.POWERING_ON)
            self._then(self._draw(self._times.power_on_s), self.energise)

    def _want_off(self, *, graceful: bool) -> None:
        if graceful and self.faults.graceful_ignored:
            return
        if self.power is Power.POWERING_ON:
            self._afterwards = "off"
        elif self.power is Power.POWERING_OFF:
            self._afterwards = None
        elif self.power is Power.ON:
            self._go_dark(Power.POWERING_OFF)
            span = self._times.graceful_s if graceful else self._times.power_off_s
            self._then(self._draw(span), self._is_off)

    def _restart(self, *, graceful: bool) -> None:
        self._want_off(graceful=graceful)
        if self.power is Power.POWERING_OFF:  # unless ignored
            self._afterwards = "on"

    def _is_off(self) -> None:
        if self.faults.stuck_power:
            return
        self._set_power(Power.OFF)
        if self._next() == "on":
            self._want_on()

    def energise(self) -> None:
        """The supply is stable: power is on, and the firmware starts."""
        if self.faults.stuck_power:
            return
        self._set_power(Power.ON)
        if self._next() == "off":
            self._want_off(graceful=False)
        else:
            self._boot()

    def _next(self) -> str | None:
        afterwards, self._afterwards = self._afterwards, None
        return afterwards

    # -- boot -------------------------------------------------------------------------------

    def _boot(self) -> None:
        target, enabled = self.override
        if enabled == "Once":
            self.set_override("None", "Disabled")
        what = self._found(target)
        self.boots += 1
        self._set_running(Running.BOOTING)
        delay_s = self._draw(self._times.boot_s) + self.faults.slow_boot_s
        self._then(delay_s, lambda: self._booted(what))

    def _found(self, target: str) -> Running:
        if target == "Pxe" or (target == "Cd" and self.media is not None):
            return Running.RAMDISK
        return Running.NOTHING if self.disk is None else Running.INSTANCE

    def _booted(self, what: Running) -> None:
        self._set_running(what)
        if what is Running.RAMDISK:
            self._watcher.ramdisk_up(self)

    def _go_dark(self, power: Power) -> None:
        self._cancel()
        was = self.running
        self._set_power(power)
        self._set_running(Running.DARK)
        if was is Running.RAMDISK:
            self._watcher.ramdisk_down(self)

    # -- plumbing ---------------------------------------------------------------------------

    def _then(self, delay_s: float, callback: Callable[[], object]) -> None:
        self._cancel()
        self._timer = self._clock.call_later(delay_s, callback)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _draw(self, span: tuple[float, float]) -> float:
        return self._rng.uniform(*span)

    def _set_power(self, power: Power) -> None:
        if power is not self.power:
            self.power = power
            self._changed("power", power)

    def _set_running(self, running: Running) -> None:
        if running is not self.running:
            self.running = running
            self._changed("running", running)

    def _changed(self, what: str, value: str) -> None:
        self.etag += 1
        self._watcher.changed(self, what, value)
