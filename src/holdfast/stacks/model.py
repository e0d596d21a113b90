"""Stacks and their resources, as values. All are immutable; times are epoch seconds (float, UTC).

Shapes only. PostgreSQL (``stacks.pgstore``) and the simulator's store
(``sim.memstacks``) both speak in these values.
"""

from __future__ import annotations

from enum import StrEnum
from uuid import UUID, uuid5

import msgspec

from holdfast.store.model import Json

QUEUE = "stacks"
"""The queue of the core in which all jobs of stacks are."""

EVENT_REASON_CHARS_MAX = 4_000


class Action(StrEnum):
    """What is, or was last, done to a stack or to a resource (Heat's names)."""

    INIT = "INIT"
    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    ROLLBACK = "ROLLBACK"
    SUSPEND = "SUSPEND"
    RESUME = "RESUME"
    CHECK = "CHECK"
    ADOPT = "ADOPT"


class Status(StrEnum):
    """How far it is."""

    IN_PROGRESS = "IN_PROGRESS"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"


class Op(StrEnum):
    """What one job does to one resource."""

    APPLY = "apply"  # create, update or replace: whatever makes it what the template says
    DELETE = "delete"
    CHECK = "check"
    SUSPEND = "suspend"
    RESUME = "resume"
    SIGNAL = "signal"  # act on what was signalled to it, outside any update


class Delegation(msgspec.Struct, frozen=True, kw_only=True):
    """On whose behalf a stack's deferred work is done, for as long as it is not revoked.

    Names a user, a project and the roles that were delegated, never a credential; what
    the user may do is asked of the identity service again at every use.
    """

    user_id: str
    user_name: str
    project_id: str
    project_name: str
    roles: tuple[str, ...] = ()


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What a stack is to be: immutable, and compiled once per process.

    ``template``: the document as it was given. ``environment``: merged already (X: several
    ``environment_files``). Hidden parameters are in it; the store seals it at rest.
    ``facade``: of a nested stack, what the resource it is the body of shows it (metadata,
    deletion_policy, update_policy).
    """

    id: UUID
    template: Json
    files: dict[str, str] = {}
    environment: dict[str, Json] = {}
    facade: dict[str, Json] | None = None
    secret: bool = False  # made of hidden parameters: sealed whole, and what comes of it


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """One stack. ``traversal`` counts what was asked of it; only the latest one counts.

    ``stopped``: the highest traversal that shall do nothing further (one of its resources
    failed, or it was cancelled). ``deadline``: when the present traversal fails by itself.
    ``previous``: the source to roll back to; None: nothing (a stack being created).
    ``root``: the stack it is nested in, at the top; itself for one that is not nested.
    ``owner``: the resource that it is the body of. ``tell``: the job that waits for it.
    """

    id: UUID
    name: str
    project: str
    source: UUID
    action: Action
    status: Status
    reason: str
    traversal: int
    stopped: int = 0
    previous: UUID | None = None
    rollback: bool = False  # disable_rollback, the other way round
    convergence: bool = True
    timeout_s: float = 3600.0
    deadline: float | None = None
    root: UUID
    depth: int = 0
    owner: UUID | None = None
    tell: UUID | None = None
    around: int = 0  # the traversal of the stack around it that the present one belongs to
    tags: tuple[str, ...] = ()
    delegation: Delegation
    created_at: float
    updated_at: float | None = None  # of the last update asked for, as Heat shows it
    deleted_at: float | None = None


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One version of a resource: while it is replaced there are two of its name.

    ``source``: what its definition was resolved from last. ``traversal``: the one that
    touched it last. ``properties``: as they were resolved, whole. ``attributes``: what
    others may read of it. ``data``: the resource type's own durable notes. ``requires``:
    the versions it was made with, which must outlive it. ``replaces``: what it stands in for.
    ``INIT COMPLETE``: nothing of it exists anywhere yet.
    """

    id: UUID
    stack: UUID
    name: str
    type: str
    action: Action = Action.INIT
    status: Status = Status.COMPLETE
    reason: str = ""
    physical_id: str | None = None
    source: UUID | None = None
    traversal: int = 0
    properties: dict[str, Json] = {}
    attributes: dict[str, Json] = {}
    metadata: dict[str, Json] = {}
    data: dict[str, Json] = {}
    requires: tuple[UUID, ...] = ()
    replaces: UUID | None = None
    deletion_policy: str = "Delete"
    created_at: float = 0.0
    updated_at: float | None = None

    @property
    def exists(self) -> bool:
        """Whether something of it may exist somewhere."""
        return self.action is not Action.INIT


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a stack's history. ``resource`` None: of the stack itself."""

    id: UUID
    stack: UUID
    resource: UUID | None
    name: str  # of the resource, or the stack
    type: str
    physical_id: str | None
    action: Action
    status: Status
    reason: str
    at: float


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What one operation sees: the stack, its own row, and the rows of the names it refers to.

    ``others``: of each name the version that the present traversal uses, else the newest.
    ``failed``: a resource of the stack failed in the present traversal.
    """

    stack: Stack
    row: Resource | None
    others: dict[str, Resource] = {}
    failed: bool = False


# Ids are derived, so that whatever is done twice is done to the same thing.


def resource_id(stack: UUID, traversal: int, name: str) -> UUID:
    """The id of the version of a resource that this traversal makes, if it makes one."""
    return uuid5(stack, f"resource/{traversal}/{name}")


def round_id(stack: UUID, traversal: int, phase: str) -> UUID:
    """The id of the job of a traversal's phase; ``apply`` is the first, and the root of all."""
    return uuid5(stack, f"round/{traversal}/{phase}")


def operation_id(stack: UUID, traversal: int, op: Op, what: str | UUID) -> UUID:
    """The id of the job that does this in a traversal: to a name, or to one version of it."""
    return uuid5(stack, f"op/{traversal}/{op.value}/{what}")


def nested_id(resource: UUID) -> UUID:
    """The id of the stack that is the body of this resource."""
    return uuid5(resource, "nested")


def resources_of(stack: UUID) -> str:
    """The name under which jobs reserve a stack: one traversal at a time."""
    return f"stack:{stack}"
