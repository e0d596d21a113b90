"""The deployment: enough members in enough places, a gateway that agrees, keys that open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

from holdfast.fleet.model import Service
from holdfast.fleet.store import ROLE
from holdfast.fleet.unserved import ADVICE, unserved
from holdfast.ops.doctor.finding import Finding, fail, ok, warn
from holdfast.store.model import Member, MemberState
from holdfast.store.pg.keys import KeyReport


def members(living: Sequence[Member]) -> list[Finding]:
    """At least two conductors, on two hosts, in two zones (I7, P17), all of one version."""
    check = "conductors"
    if not living:
        return [warn("members", "none is registered", "start the system: `holdfast up`")]
    up = [m for m in living if m.role == "conductor" and m.state is MemberState.UP]
    hosts, zones = {m.host for m in up}, {m.zone for m in up}
    text = f"{len(up)} up on {len(hosts)} hosts in {len(zones)} zones"
    found: list[Finding] = []
    if not up:
        found.append(fail(check, "none is up: no node is managed", "start one: `holdfast up`"))
    elif len(up) < 2 or len(hosts) < 2:
        found.append(warn(check, f"not HA: {text} (I7)", "run two, on two hosts at least"))
    elif len(zones) < 2:
        found.append(
            warn(check, f"{text}: the loss of the zone is the loss of all (P17)", "spread the "
                 "hosts over zones and name them in [host] zone")
        )  # fmt: skip
    else:
        found.append(ok(check, text))
    versions = sorted({m.version for m in living})
    if len(versions) > 1:
        found.append(
            warn(
                "versions",
                f"members run {', '.join(versions)}",
                "normal during an update; else update the rest",
            )
        )
    return found


def serving(services: Sequence[Service], living: Sequence[Member]) -> list[Finding]:
    """Whatever stacks want served has an API node in its zones; nothing without services."""
    wanted = [one for one in services if one.deleted_at is None]
    lacking = [fail("API nodes", text, ADVICE) for text in unserved(wanted, living)]
    if lacking or not wanted:
        return lacking
    up = sum(m.role == ROLE and m.state is MemberState.UP for m in living)
    return [ok("API nodes", f"{up} up, for {len(wanted)} services")]


def epochs(highest: int, last: int, used: int) -> Finding:
    """The gateway's highest token lies below what the database will hand out next."""
    check = "epochs"
    advice = (
        "the database has lost its last stretch (restored, or failed over to a standby that "
        "lagged): run `holdfast doctor --fix epochs`, which lets the sequence jump above it"
    )
    if highest > last:
        return fail(
            check,
            f"the gateway has seen epoch {highest}, the database is at {last}: it refuses the "
            "commands of every owner",
            advice,
        )
    if used > last:
        return fail(check, f"epoch {used} is in use, the sequence is at {last}", advice)
    return ok(check, f"the gateway has seen {highest}, the database is at {last}")


def gateways(routes: Mapping[UUID, int], here: UUID | None) -> Finding:
    """All BMCs belong to one gateway, the one that conductors are told. ``here``: that one."""
    check = "gateways"
    shares = ", ".join(f"{gateway} ({count} BMCs)" for gateway, count in sorted(routes.items()))
    advice = (
        "let [rack] url name the same gateway on all hosts, stop every other one, then run "
        "`holdfast doctor --fix gateway`: all BMCs belong to it from then on"
    )
    if len(routes) > 1:
        return fail(check, f"BMCs belong to several: {shares}", advice)
    if here is not None and routes and here not in routes:
        return fail(check, f"BMCs belong to {shares}, and here {here} is asked", advice)
    return ok(check, f"BMCs belong to one: {shares}" if routes else "no BMC belongs to one yet")


def keys(
    known: Sequence[str], counts: Mapping[str, int], reports: Sequence[KeyReport]
) -> list[Finding]:
    """Every secret in the database opens here, and every process has the key that seals."""
    check = "sealed secrets"
    lost = {key: number for key, number in counts.items() if key not in known}
    found: list[Finding] = []
    if lost:
        total = sum(lost.values())
        found.append(
            fail(
                check,
                f"{total} were sealed by keys that are not here: {', '.join(sorted(lost))}",
                "restore those keys from a backup, or enter the credentials anew",
            )
        )
    without = [r.slot for r in reports if r.current is not None and known[0] not in r.known]
    if without:
        found.append(
            fail(
                check,
                f"these processes do not have the key that seals here: {', '.join(without)}",
                "copy master.key to their hosts (mode 0600)",
            )
        )
    return found or [ok(check, f"{sum(counts.values())}, and all open")]
