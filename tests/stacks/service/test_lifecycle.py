"""What is asked of stacks at once, and twice."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest
from tests.stacks.people import ALICE, service

from holdfast.errors import HoldfastError
from holdfast.stacks.errors import ActionInProgressError, StackExistsError, StackLimitError
from holdfast.stacks.model import Action, Stack
from holdfast.stacks.service import Stacks
from holdfast.stacks.service.requests import read_request
from holdfast.stacks.settings import StacksSettings
from holdfast.store.pg.database import Database
from holdfast.store.pg.store import PgStore
from holdfast.store.secrets import Vault

TEMPLATE = {
    "heat_template_version": "2021-04-16",
    "parameters": {"value": {"type": "string", "default": "a"}},
    "resources": {"one": {"type": "OS::Heat::TestResource"}},
}


@pytest.fixture
def stacks(store: PgStore, vault: Vault) -> Stacks:
    return service(store, vault, StacksSettings(stacks_per_project_max=3))


async def create(stacks: Stacks, name: str = "app", **more: Any) -> Stack:
    request = read_request({"stack_name": name, "template": TEMPLATE, **more})
    return await stacks.life.create(ALICE, "alice", request)


async def at_once(*calls: Any) -> list[Any]:
    return await asyncio.gather(*calls, return_exceptions=True)


async def test_of_creations_at_once_under_one_name_one_wins(stacks: Stacks, db: Database) -> None:
    answers = await at_once(*(create(stacks) for _ in range(5)))
    assert sum(isinstance(one, Stack) for one in answers) == 1
    assert all(isinstance(one, Stack | StackExistsError) for one in answers)
    assert await db.fetchval("select count(*) from stack") == 1
    assert await db.fetchval("select count(*) from job") == 1


async def test_the_limit_of_a_project_holds_for_creations_at_once_x20(
    stacks: Stacks, db: Database
) -> None:
    answers = await at_once(*(create(stacks, f"s{n}") for n in range(8)))
    assert sum(isinstance(one, Stack) for one in answers) == 3
    assert sum(isinstance(one, StackLimitError) for one in answers) == 5
    assert await db.fetchval("select count(*) from stack") == 3


async def test_updates_at_once_come_one_after_the_other(stacks: Stacks, db: Database) -> None:
    stack = await create(stacks)
    request = read_request({"template": TEMPLATE})
    answers = await at_once(
        *(stacks.life.update(ALICE, stack, request, patch=False) for _ in range(3))
    )
    assert not [one for one in answers if isinstance(one, BaseException)]
    found = await stacks.engine.stack(stack.id)
    assert found is not None
    assert (found.traversal, found.stopped) == (4, 3)
    assert await db.fetchval("select count(*) from job") == 4
    assert await db.fetchval("select count(*) from stack_event") == 4
    assert await db.fetchval("select count(*) from delegation where revoked_at is null") == 1


async def test_of_patches_at_once_none_is_lost_unnoticed(stacks: Stacks, db: Database) -> None:
    stack = await create(stacks)
    request = read_request({"parameters": {"value": "b"}})
    answers = await at_once(
        *(stacks.life.update(ALICE, stack, request, patch=True) for _ in range(3))
    )
    assert sum(isinstance(one, Stack) for one in answers) == 1
    refused = [one for one in answers if isinstance(one, HoldfastError)]
    assert all(isinstance(one, ActionInProgressError) for one in refused)


async def test_a_deletion_and_an_update_at_once_end_in_a_deletion(
    stacks: Stacks, db: Database
) -> None:
    stack = await create(stacks)
    request = read_request({"template": TEMPLATE})
    await at_once(
        stacks.life.update(ALICE, stack, request, patch=False),
        stacks.life.delete(stack),
        stacks.life.update(ALICE, stack, request, patch=False),
    )
    found = await stacks.engine.stack(stack.id)
    assert found is not None
    assert found.action is Action.DELETE


async def test_no_credential_is_written_with_a_stack(stacks: Stacks, db: Database) -> None:
    stack = await create(stacks)
    row = await db.fetchrow("select * from delegation")
    assert row is not None
    assert (row["user_id"], row["project_id"], row["roles"]) == (
        "alice-user",
        "alice",
        ["member", "reader"],
    )
    assert set(row.keys()) == {
        *("id", "user_id", "user_name", "project_id", "project_name", "roles"),
        *("created_at", "revoked_at"),
    }
    assert stack.delegation.roles == ("member", "reader")


async def test_deleted_stacks_are_forgotten_in_time(store: PgStore, vault: Vault) -> None:
    stacks = service(store, vault, StacksSettings(deleted_keep_days=1))
    kept, old = await create(stacks, "kept"), await create(stacks, "old")
    await store.db.execute(
        "update stack set deleted_at = clock_timestamp() - case when id = $1 "
        "then interval '2 days' else interval '1 hour' end",
        old.id,
    )
    await stacks.forget()
    assert await stacks.engine.stack(old.id) is None
    assert await stacks.engine.stack(kept.id) is not None
    for table in ("stack_event", "stack_source"):
        rows = await store.db.fetch(f"select stack from {table}")
        assert {UUID(str(row["stack"])) for row in rows} == {kept.id}
    assert await store.db.fetchval("select count(*) from delegation") == 1
