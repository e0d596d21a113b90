"""The fence: the claim under which an owner writes, checked and locked in the same statement.

``FENCE`` is a common table expression ``f`` over $1..$4 (see ``arguments``). It holds
a row while the claim is the writer's and the writer's incarnation is not gone, and
``for share`` keeps the claim from passing on before the write has been committed.
Without that lock there is a race: the claim may pass on between check and commit.
An *expired* lease does not matter here, only one that was marked over does.
"""

# ruff: noqa: S608 - statements are put together from constants and the names in a TableSpec
from __future__ import annotations

from holdfast.errors import FenceLostError
from holdfast.store.model import Fence

FENCE = """
f as (
    select c.epoch
      from shard_claim c
     where c.grp = $1 and c.shard = $2 and c.owner = $3 and c.epoch = $4
       and exists (select from member m
                    where m.id = c.owner and m.epoch = c.incarnation and m.state <> 'gone')
       for share of c
)"""

HOLDS = f"with {FENCE} select exists (select from f)"


def arguments(fence: Fence) -> tuple[object, object, object, object]:
    """The values of $1..$4."""
    return fence.group, fence.shard, fence.owner, fence.epoch


def lost(fence: Fence) -> FenceLostError:
    """What to raise when the fence no longer holds."""
    return FenceLostError(
        f"shard {fence.shard} of group {fence.group!r} is no longer owned under epoch "
        f"{fence.epoch}; its new owner goes on",
        group=fence.group,
        shard=fence.shard,
        epoch=fence.epoch,
    )
