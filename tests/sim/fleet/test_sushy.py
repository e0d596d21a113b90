"""Following the notifications of sushy-emulator (sushy-tools 2.2, fake driver)."""

from __future__ import annotations

import time
from random import Random

import msgspec
import pytest
from tests.sim.fleet.manual import TIMES, IronicApi, ManualClock, Watcher

from holdfast.errors import InvalidInputError
from holdfast.sim.fleet.machine import Machine, Power, Running
from holdfast.sim.fleet.sushy import SushyBridge

UUID = "27946b59-9e44-4fa7-8e91-f3527a1ef094"
SYSTEM = {
    "uuid": UUID,
    "name": "fake",
    "power_state": "Off",
    "external_notifier": True,
    "nics": [{"mac": "00:5c:52:31:3a:9c", "ip": "172.22.0.100"}],
}
MEDIA = {"boot_device": "Cd", "boot_image": {"Cd": ["/var/x.iso", True, True]}}


class Rig:
    def __init__(self) -> None:
        self.clock = ManualClock()
        self.emulator = IronicApi()
        self.watcher = Watcher()
        self.machines: list[Machine] = []
        self.bridge = SushyBridge(
            "http://emulator:8000/", "admin:password", times=TIMES, clock=self.clock,
            rng=Random(5), caller=self.emulator, watcher=self.watcher, adopt=self.machines.append,
        )  # fmt: skip

    def told(self, **changes: object) -> Machine:
        self.bridge.notified(msgspec.json.encode({**SYSTEM, **changes}))
        (machine,) = self.machines
        return machine


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_a_system_switched_on_with_an_image_boots_the_agent(rig):
    rig.told(**MEDIA)
    machine = rig.told(power_state="On", **MEDIA)
    assert machine.mac == "00:5c:52:31:3a:9c"
    rig.clock.advance(10.0)
    assert rig.watcher.seen[-1] == "ramdisk up"


@pytest.mark.parametrize(
    ("state", "runs"),
    [
        ({"boot_device": "Pxe"}, Running.RAMDISK),
        ({"boot_device": "Hdd"}, Running.NOTHING),
        ({}, Running.NOTHING),
        ({"boot_device": "Cd", "boot_image": {"Cd": [None, False, False]}}, Running.NOTHING),
    ],
)
def test_what_boots_depends_on_the_boot_device(rig, state, runs):
    machine = rig.told(power_state="On", **state)
    rig.clock.advance(10.0)
    assert machine.running is runs


def test_notifications_that_change_nothing_do_not_boot_it_again(rig):
    rig.told(power_state="On", **MEDIA)
    machine = rig.told(power_state="On", boot_mode="UEFI", **MEDIA)
    rig.clock.advance(10.0)
    assert machine.boots == 1


def test_a_system_switched_off_stops_the_agent(rig):
    rig.told(power_state="On", **MEDIA)
    rig.clock.advance(10.0)
    machine = rig.told(power_state="Off", **MEDIA)
    assert (machine.power, rig.watcher.seen[-1]) == (Power.OFF, "ramdisk down")


def test_a_pending_change_is_read_when_its_time_has_come_so_that_it_is_applied(rig):
    rig.told(pending_power={"power_state": "On", "apply_time": int(time.time()) + 3})
    assert rig.emulator.calls == []
    rig.clock.advance(4.0)
    (call,) = rig.emulator.calls
    assert (call.method, call.url) == ("GET", f"http://emulator:8000/redfish/v1/Systems/{UUID}")


def test_an_agent_that_powers_off_asks_the_emulator_to(rig):
    machine = rig.told(power_state="On", **MEDIA)
    machine.shut_down()
    machine.reboot()
    assert machine.power is Power.ON
    assert [(call.url.rpartition("/")[2], call.body) for call in rig.emulator.calls] == [
        ("ComputerSystem.Reset", b'{"ResetType":"ForceOff"}'),
        ("ComputerSystem.Reset", b'{"ResetType":"ForceRestart"}'),
    ]
    assert rig.emulator.calls[0].headers["Authorization"] == "Basic YWRtaW46cGFzc3dvcmQ="


def test_a_body_that_is_no_system_is_refused(rig):
    with pytest.raises(InvalidInputError, match="not a system"):
        rig.bridge.notified(b"{}")
