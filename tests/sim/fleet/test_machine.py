"""A simulated machine's power, boot and disk, on a clock moved by hand."""

from __future__ import annotations

import pytest
from tests.sim.fleet.manual import ManualClock, Watcher, make_machine

from holdfast.errors import ConflictError
from holdfast.sim.fleet.faults import Faults
from holdfast.sim.fleet.machine import Machine, Media, Power, Running

CD = Media(image="http://images/ramdisk.iso?ipa-api-url=http://api/baremetal&x=1")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
def machine(clock: ManualClock, watcher: Watcher) -> Machine:
    return make_machine(clock, watcher)


def powered(machine: Machine, clock: ManualClock) -> Machine:
    machine.reset("On")
    clock.advance(11.0)
    return machine


def test_power_on_takes_its_time_and_is_seen_on_its_way(machine, clock):
    machine.reset("On")
    assert machine.power is Power.POWERING_ON
    clock.advance(0.99)
    assert machine.power is Power.POWERING_ON
    clock.advance(0.01)
    assert (machine.power, machine.running) == (Power.ON, Running.BOOTING)


def test_power_on_of_a_machine_that_is_on_changes_nothing(machine, clock):
    powered(machine, clock)
    machine.reset("On")
    clock.advance(60.0)
    assert (machine.power, machine.boots) == (Power.ON, 1)


def test_what_was_asked_last_during_a_transition_happens_after_it(machine, clock):
    machine.reset("On")
    machine.reset("ForceOff")
    clock.advance(1.0)
    assert machine.power is Power.POWERING_OFF
    machine.reset("On")
    machine.reset("ForceOff")
    clock.advance(60.0)
    assert (machine.power, machine.boots) == (Power.OFF, 0)


def test_a_restart_goes_through_off_and_boots_anew(machine, clock, watcher):
    powered(machine, clock)
    watcher.seen.clear()
    machine.reset("ForceRestart")
    clock.advance(60.0)
    power = [seen for seen in watcher.seen if seen.startswith("power")]
    assert power == ["power PoweringOff", "power Off", "power PoweringOn", "power On"]
    assert machine.boots == 2


@pytest.mark.parametrize("kind", ["ForceRestart", "GracefulRestart", "Nmi"])
def test_what_needs_power_is_refused_without_it(machine, kind):
    with pytest.raises(ConflictError, match="needs a machine that is On"):
        machine.reset(kind)


def test_an_nmi_is_counted_and_leaves_the_power_alone(machine, clock):
    powered(machine, clock).reset("Nmi")
    assert (machine.nmis, machine.power) == (1, Power.ON)


def test_a_cd_with_an_image_boots_the_ramdisk_after_the_boot_time(machine, clock, watcher):
    machine.insert(CD)
    machine.set_override("Cd", "Once")
    machine.reset("On")
    clock.advance(10.9)
    assert "ramdisk up" not in watcher.seen
    clock.advance(0.1)
    assert machine.running is Running.RAMDISK
    assert watcher.seen[-1] == "ramdisk up"


def test_pxe_boots_the_ramdisk(machine, clock):
    machine.set_override("Pxe", "Continuous")
    assert powered(machine, clock).running is Running.RAMDISK


def test_an_override_for_once_is_used_up_at_power_on_and_a_lasting_one_is_not(machine, clock):
    machine.set_override("Pxe", "Once")
    powered(machine, clock)
    assert machine.override == ("None", "Disabled")
    machine.set_override("Pxe", "Continuous")
    machine.reset("ForceRestart")
    clock.advance(60.0)
    assert machine.override == ("Pxe", "Continuous")


@pytest.mark.parametrize(("disk", "runs"), [(None, Running.NOTHING), ("debian", Running.INSTANCE)])
def test_without_override_or_with_an_empty_cd_the_disk_boots(machine, clock, disk, runs):
    if disk is not None:
        machine.write_disk(disk)
    machine.set_override("Cd", "Once")
    assert powered(machine, clock).running is runs


def test_a_media_url_carries_kernel_parameters():
    assert CD.parameters() == {"ipa-api-url": "http://api/baremetal", "x": "1"}


def test_power_off_stops_the_ramdisk_at_once(machine, clock, watcher):
    machine.set_override("Pxe", "Once")
    powered(machine, clock).reset("ForceOff")
    assert "ramdisk down" in watcher.seen
    assert machine.power is Power.POWERING_OFF


def test_a_power_cut_stops_everything_at_once_and_leaves_the_disk(machine, clock, watcher):
    machine.write_disk("debian")
    machine.set_override("Pxe", "Once")
    powered(machine, clock).cut_power()
    assert (machine.power, machine.running, machine.disk) == (Power.OFF, Running.DARK, "debian")
    watcher.seen.clear()
    clock.advance(600.0)
    assert watcher.seen == []


def test_a_power_cut_during_a_boot_ends_the_boot(machine, clock):
    machine.reset("On")
    clock.advance(5.0)
    machine.cut_power()
    clock.advance(60.0)
    assert machine.running is Running.DARK


def test_a_graceful_shutdown_takes_longer_and_can_be_ignored(machine, clock):
    powered(machine, clock).reset("GracefulShutdown")
    clock.advance(4.9)
    assert machine.power is Power.POWERING_OFF
    clock.advance(0.1)
    assert machine.power is Power.OFF
    powered(machine, clock).set_faults(Faults(graceful_ignored=True))
    machine.reset("GracefulShutdown")
    machine.reset("GracefulRestart")
    clock.advance(60.0)
    assert (machine.power, machine.boots) == (Power.ON, 2)


def test_a_stuck_transition_ends_only_when_mended(machine, clock):
    machine.set_faults(Faults(stuck_power=True))
    machine.reset("On")
    clock.advance(3_600.0)
    assert machine.power is Power.POWERING_ON
    machine.set_faults(Faults())
    clock.advance(0.0)
    assert machine.power is Power.ON


def test_a_slow_boot_is_slow(machine, clock):
    machine.set_faults(Faults(slow_boot_s=100.0))
    machine.reset("On")
    clock.advance(110.9)
    assert machine.running is Running.BOOTING
    clock.advance(0.2)
    assert machine.running is Running.NOTHING


def test_the_running_system_can_power_off_and_reboot(machine, clock):
    machine.set_override("Pxe", "Continuous")
    powered(machine, clock).reboot()
    assert (machine.power, machine.running) == (Power.ON, Running.BOOTING)
    clock.advance(10.0)
    machine.shut_down()
    clock.advance(1.0)
    assert (machine.power, machine.boots) == (Power.OFF, 2)


def test_the_etag_changes_with_the_state(machine):
    before = machine.etag
    machine.set_override("Pxe", "Once")
    assert machine.etag != before
