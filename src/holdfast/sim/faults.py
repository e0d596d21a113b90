"""What the world does to its processes: a seeded schedule of faults, each undone in the end.

A fault says what it hits and for how long; ``World.calm`` then mends whatever is
still broken, so that the verdict is about recovery, not about the fault.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Protocol

import msgspec

from holdfast.sim.loop import Process, SimLoop
from holdfast.sim.machines import SimMachine
from holdfast.sim.memstore import MemStore
from holdfast.sim.network import Network, Server, Trap
from holdfast.sim.processes import SimConductor, SimGateway


class Target(Protocol):
    """The world, as far as faults reach."""

    loop: SimLoop
    network: Network
    lease_s: float
    store: MemStore
    database: Server
    conductors: list[SimConductor]
    gateway: SimGateway
    machines: list[SimMachine]
    database_skew_s: float
    mended: bool

    def say(self, what: str) -> None: ...


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One fault: when, which kind, for how long, and a seed for its details."""

    at_s: float
    kind: str
    for_s: float
    detail: int

    def __str__(self) -> str:
        return f"{self.kind} for {self.for_s:.2f} s"


def schedule(
    chance: random.Random, kinds: tuple[str, ...], *, count: int, within_s: float, lease_s: float
) -> list[Fault]:
    """``count`` faults of these kinds, spread over ``within_s``, of 0.1 to 3 leases each."""
    found = [
        Fault(
            at_s=chance.uniform(0.2, within_s),
            kind=chance.choice(kinds),
            for_s=lease_s * chance.choice((0.1, 0.5, 1.0, 1.5, 3.0)) * chance.uniform(0.8, 1.2),
            detail=chance.getrandbits(32),
        )
        for _ in range(count)
    ]
    return sorted(found, key=lambda fault: fault.at_s)


def pause(world: Target, fault: Fault, chance: random.Random) -> None:
    """SIGSTOP of a conductor."""
    conductor = chance.choice(world.conductors)
    if conductor.life is not None:
        process = conductor.life.process
        world.say(f"{conductor.life.name} is paused")
        world.loop.pause(process)
        world.loop.call_outside(fault.for_s, world.loop.resume, process)


def crash(world: Target, fault: Fault, chance: random.Random) -> None:
    """``kill -9`` of a conductor, reported by its supervisor or (the host died) not."""
    conductor = chance.choice(world.conductors)
    if not conductor.alive:
        return
    conductor.kill()
    if chance.random() < 0.5:
        conductor.bury()
    world.loop.call_outside(fault.for_s * chance.random(), conductor.start)


def drain(world: Target, fault: Fault, chance: random.Random) -> None:
    """An operator drains a conductor; its supervisor starts it again afterwards."""
    del fault
    conductor = chance.choice(world.conductors)
    if conductor.life is not None and conductor.alive:
        world.say(f"{conductor.life.name} is asked to drain")
        conductor.life.membership.request_drain()


def partition(world: Target, fault: Fault, chance: random.Random) -> None:
    """A host and the database or the gateway lose each other, one way or both."""
    source = chance.choice([conductor.slot for conductor in world.conductors] + ["api"])
    target = chance.choice((world.database.name, world.gateway.server.name))
    both_ways = chance.random() < 0.5
    if chance.random() < 0.5:
        source, target = target, source
    world.say(f"{source} {'and' if both_ways else 'to'} {target} cut off")
    world.network.cut(source, target, both_ways=both_ways)
    world.loop.call_outside(fault.for_s, world.network.mend, source, target)


WRITES = frozenset({"begin_step", "end_step", "sleep_step", "patch_object", "take", "hand_over"})
RENEWALS = frozenset({"renew"})
EFFECTS = frozenset(
    {"set_power", "set_boot_device", "insert_media", "eject_media", "agent_command"}
)
COMMANDS = EFFECTS | {"observe", "agent_commands"}


def _ambush(world: Target, chance: random.Random) -> tuple[str, frozenset[str]]:
    """Where a trap is laid: at the writes to the database, or at the commands to the gateway."""
    if chance.random() < 0.5:
        return world.database.name, WRITES
    return world.gateway.server.name, chance.choice((EFFECTS, COMMANDS))


def _stop(world: Target, process: Process, for_s: float) -> None:
    world.say(f"{process.name} is stopped in the middle for {for_s:.2f} s")
    world.loop.pause(process)
    world.loop.call_outside(for_s, world.loop.resume, process)


def freeze(world: Target, fault: Fault, chance: random.Random) -> None:
    """SIGSTOP between a check and the request it allows, or before its answer is read."""
    for_s = max(fault.for_s, world.lease_s * chance.uniform(0.4, 2.0))
    server, asks = _ambush(world, chance)

    def spring(source: str, process: Process) -> None:
        del source
        _stop(world, process, for_s)

    before = chance.random() < 0.7
    world.network.traps.append(Trap(server=server, asks=asks, spring=spring, before=before))


def slow_renewal(world: Target, fault: Fault, chance: random.Random) -> None:
    """A renewal's answer is read late, and then the database cannot be reached any more."""
    del fault
    for_s = world.lease_s * chance.uniform(0.2, 0.48)
    cut_s = world.lease_s * chance.uniform(1.2, 2.0)

    def spring(source: str, process: Process) -> None:
        _stop(world, process, for_s)
        world.loop.call_outside(for_s * 0.9, cut, source)

    def cut(source: str) -> None:
        if not world.mended:
            database = world.database.name
            world.network.cut(source, database)
            world.loop.call_outside(cut_s, world.network.mend, source, database)

    trap = Trap(server=world.database.name, asks=RENEWALS, spring=spring)
    world.network.traps.append(trap)


def slow_boat(world: Target, fault: Fault, chance: random.Random) -> None:
    """One request takes so long that its sender has given it up and done it again."""
    del fault
    late_s = world.lease_s * chance.uniform(0.5, 2.0)
    server, asks = _ambush(world, chance)

    def spring(source: str, process: Process) -> None:
        del source
        world.say(f"a request of {process.name} takes {late_s:.2f} s")

    trap = Trap(server=server, asks=asks, spring=spring, late_s=late_s)
    world.network.traps.append(trap)


def last_words(world: Target, fault: Fault, chance: random.Random) -> None:
    """A conductor dies just after it sent something, which arrives when others have taken over."""
    late_s = world.lease_s * chance.uniform(0.1, 2.0)
    reported = chance.random() < 0.7
    server, asks = _ambush(world, chance)

    def spring(source: str, process: Process) -> None:
        world.say(f"{process.name} dies; its last words take {late_s:.2f} s")
        world.loop.call_outside(0.0, die, source, process)

    def die(source: str, process: Process) -> None:
        for conductor in world.conductors:
            life = conductor.life
            if conductor.slot == source and life is not None and life.process is process:
                conductor.kill()
                if reported:
                    conductor.bury()
                world.loop.call_outside(fault.for_s * chance.random(), conductor.start)

    trap = Trap(server=server, asks=asks, spring=spring, late_s=late_s)
    world.network.traps.append(trap)


def memory_gap(world: Target, fault: Fault, chance: random.Random) -> None:
    """A conductor is stopped before it acts; when it wakes, the gateway has just lost its state."""
    del fault
    for_s = world.lease_s * chance.uniform(1.3, 2.5)
    margin_s = chance.uniform(0.0, 0.1)

    def spring(source: str, process: Process) -> None:
        del source
        _stop(world, process, for_s)
        world.loop.call_outside(for_s - margin_s - 0.3, forget)

    def forget() -> None:
        if world.gateway.server.up and not world.mended:
            world.gateway.kill(lose_state=True)
            world.loop.call_outside(0.3, world.gateway.start)

    trap = Trap(server=world.gateway.server.name, asks=COMMANDS, spring=spring, before=True)
    world.network.traps.append(trap)


def storm(world: Target, fault: Fault, chance: random.Random) -> None:
    """Messages are lost or late, everywhere."""
    weather = world.network.weather
    weather.only = chance.choice((None, world.database.name, world.gateway.server.name))
    weather.lost_chance = chance.uniform(0, 0.2)
    weather.late_chance = chance.uniform(0, 0.4)
    weather.late_s = world.lease_s * chance.uniform(0.2, 2)
    world.say(f"storm: lost {weather.lost_chance:.2f}, late {weather.late_chance:.2f}")
    world.loop.call_outside(fault.for_s, world.network.clear_up)


def no_hints(world: Target, fault: Fault, chance: random.Random) -> None:
    """Hints are lost."""
    world.network.weather.hint_lost_chance = chance.choice((0.5, 1.0))
    world.say("hints are lost")

    def mend() -> None:
        world.network.weather.hint_lost_chance = 0.0

    world.loop.call_outside(fault.for_s, mend)


def outage(world: Target, fault: Fault, chance: random.Random) -> None:
    """The database goes away and comes back: restarted, or a replica with another clock."""
    if not world.database.up:
        return
    failover = chance.random() < 0.5
    skew_s = chance.uniform(-1.0, 1.0) * world.lease_s if failover else 0.0
    world.say(f"database down, {'failover' if failover else 'restart'} follows")
    world.database.stop()

    def back() -> None:
        if world.database.up:
            return
        if failover:
            world.database_skew_s += skew_s
            world.store.failover()
        else:
            world.store.restart()
        world.database.start()
        world.say(f"database back, its clock moved by {skew_s:+.2f} s")

    world.loop.call_outside(fault.for_s, back)


def leap(world: Target, fault: Fault, chance: random.Random) -> None:
    """Somebody sets the database's clock ahead, as it runs."""
    del fault
    leap_s = world.lease_s * chance.uniform(0.5, 3.0)
    world.database_skew_s += leap_s
    world.say(f"the database's clock leaps ahead by {leap_s:.2f} s")


def drift(world: Target, fault: Fault, chance: random.Random) -> None:
    """A conductor's clock runs fast or slow; it stays so."""
    del fault
    conductor = chance.choice(world.conductors)
    conductor.rate = chance.uniform(0.93, 1.07)  # well inside the lease's margin
    world.say(f"{conductor.slot}'s clock runs at {conductor.rate:.3f}")
    if conductor.life is not None:
        world.loop.set_clock(conductor.life.process, conductor.rate)


def gateway_restart(world: Target, fault: Fault, chance: random.Random) -> None:
    """The gateway dies and comes back, with its state or without."""
    if not world.gateway.server.up:
        return
    world.gateway.kill(lose_state=chance.random() < 0.5)
    world.loop.call_outside(max(0.3, fault.for_s / 3), world.gateway.start)


def gateway_pause(world: Target, fault: Fault, chance: random.Random) -> None:
    """SIGSTOP of the gateway."""
    del chance
    process = world.gateway.process
    world.say("the gateway is paused")
    world.loop.pause(process)
    world.loop.call_outside(fault.for_s / 2, world.loop.resume, process)


def bmc_away(world: Target, fault: Fault, chance: random.Random) -> None:
    """A BMC refuses connections, or swallows what it is sent."""
    machine = chance.choice(world.machines)
    world.say(f"{machine.server.name} is away")
    if chance.random() < 0.5:
        machine.server.stop()
        world.loop.call_outside(fault.for_s, machine.server.start)
    else:
        world.network.cut("gateway", machine.server.name)
        world.loop.call_outside(fault.for_s, world.network.mend, "gateway", machine.server.name)


def stuck(world: Target, fault: Fault, chance: random.Random) -> None:
    """A machine's power does not obey, though its BMC says yes."""
    machine = chance.choice(world.machines)
    world.say(f"{machine.server.name}'s power is stuck")
    machine.stuck = True
    world.loop.call_outside(fault.for_s, setattr, machine, "stuck", False)


KINDS: dict[str, Callable[[Target, Fault, random.Random], None]] = {
    kind.__name__: kind
    for kind in (
        pause,
        crash,
        drain,
        partition,
        freeze,
        slow_renewal,
        slow_boat,
        last_words,
        memory_gap,
        storm,
        no_hints,
        outage,
        leap,
        drift,
        gateway_restart,
        gateway_pause,
        bmc_away,
        stuck,
    )
}


def strike(world: Target, fault: Fault) -> None:
    """Let one fault happen now."""
    KINDS[fault.kind](world, fault, random.Random(fault.detail))
