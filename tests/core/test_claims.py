"""What a member takes and gives: a pure decision from members, claims and ring (I4, I6)."""

from __future__ import annotations

from uuid import UUID

from holdfast.core.claims import Moves, moves, view
from holdfast.store.model import Claim, Member, MemberState

SHARDS = 16


def member(number: int, *, epoch: int = 1, state: MemberState = MemberState.UP) -> Member:
    return Member(
        id=UUID(int=number),
        role="conductor",
        slot=f"conductor-{number}",
        host="h",
        zone="z",
        group="",
        version="",
        address="",
        epoch=epoch,
        state=state,
        drain_requested=False,
        lease_until=0.0,
        registered_at=0.0,
    )


def claims(owner_of: dict[int, Member | None]) -> list[Claim]:
    made: list[Claim] = []
    for shard in range(SHARDS):
        owner = owner_of.get(shard)
        made.append(
            Claim(
                group="",
                shard=shard,
                owner=None if owner is None else owner.id,
                incarnation=0 if owner is None else owner.epoch,
                epoch=shard + 1,
                objects=1,
            )
        )
    return made


def plan(me: Member, members: list[Member], held: list[Claim]) -> Moves:
    living = [m for m in members if m.state is not MemberState.GONE]
    return moves(view(living, held), me, {(m.id, m.epoch) for m in living})


def test_free_shards_are_taken_by_exactly_one_member() -> None:
    a, b = member(1), member(2)
    first, second = plan(a, [a, b], claims({})), plan(b, [a, b], claims({}))
    assert sorted(first.take + second.take) == list(range(SHARDS))
    assert not first.give
    assert not second.give


def test_the_shards_of_a_dead_member_are_taken_I6() -> None:
    a, dead = member(1), member(2)
    held = claims(dict.fromkeys(range(SHARDS), dead))
    assert plan(a, [a], held).take == tuple(range(SHARDS))


def test_the_shards_of_a_restarted_members_old_incarnation_are_free() -> None:
    a, old, new = member(1), member(2, epoch=5), member(2, epoch=9)
    held = claims(dict.fromkeys(range(SHARDS), old))
    both = plan(a, [a, new], held).take + plan(new, [a, new], held).take
    assert sorted(both) == list(range(SHARDS))


def test_nothing_is_taken_from_a_living_owner_it_hands_over_itself() -> None:
    a, b = member(1), member(2)
    held = claims(dict.fromkeys(range(SHARDS), a))
    assert plan(b, [a, b], held).take == ()
    given = plan(a, [a, b], held).give
    assert sum(len(s) for s in given.values()) == SHARDS // 2


def test_a_draining_member_gives_all_it_has_and_takes_nothing() -> None:
    a, b = member(1, state=MemberState.DRAINING), member(2)
    held = claims(dict.fromkeys(range(SHARDS // 2), a))
    todo = plan(a, [a, b], held)
    assert todo.take == ()
    assert sum(len(s) for s in todo.give.values()) == SHARDS // 2


def test_nothing_is_taken_from_a_draining_owner() -> None:
    a, b = member(1, state=MemberState.DRAINING), member(2)
    held = claims(dict.fromkeys(range(SHARDS), a))
    assert plan(b, [a, b], held).take == ()
