"""What PostgreSQL and the network can answer, as errors of ours. The only place that maps them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from holdfast.errors import (
    ConfigError,
    ConflictError,
    HoldfastError,
    InvalidInputError,
    StoreUnavailableError,
)
from holdfast.store.pg.driver import asyncpg

# The server rolled the transaction back for the sake of another: it may simply run again.
RETRYABLE: tuple[type[Exception], ...] = (
    asyncpg.SerializationError,
    asyncpg.DeadlockDetectedError,
)

_UNREACHABLE: tuple[type[Exception], ...] = (
    asyncpg.PostgresConnectionError,  # 08xxx
    asyncpg.OperatorInterventionError,  # 57xxx: shutting down, starting up, time limit
    asyncpg.InsufficientResourcesError,  # 53xxx: no connection slot, disk full
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.ReadOnlySQLTransactionError,  # a primary that was demoted under us
    asyncpg.LockNotAvailableError,
    asyncpg.InternalClientError,  # the server's farewell was read, the end not yet
    OSError,
    TimeoutError,
)
_REFUSED: tuple[type[Exception], ...] = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ClientConfigurationError,
)


def unreachable(fault: BaseException) -> bool:
    """Whether the server, or the way to it, is at fault: then the connection is of no use."""
    # asyncpg has one class for its caller's mistakes and for a connection that has gone.
    gone = isinstance(fault, asyncpg.InterfaceError) and "clos" in str(fault)
    return gone or isinstance(fault, _UNREACHABLE)


def translate(fault: BaseException) -> HoldfastError | None:
    """The error to raise instead of ``fault``; None for what is a bug and shall be seen as such."""
    if isinstance(fault, HoldfastError):
        return None
    if unreachable(fault) or isinstance(fault, RETRYABLE):
        reason = str(fault) or type(fault).__name__
        return StoreUnavailableError(f"the database did not answer: {reason}; try again later")
    if isinstance(fault, _REFUSED):
        return ConfigError(f"the database refuses the connection: {fault}; check database.url")
    if isinstance(fault, asyncpg.UniqueViolationError):
        return ConflictError(
            f"it exists already: {_field(fault, 'detail')}",
            kind="duplicate",
            constraint=_field(fault, "constraint_name"),
        )
    if isinstance(fault, asyncpg.ForeignKeyViolationError):
        return ConflictError(
            f"it refers to what does not exist, or is referred to: {_field(fault, 'detail')}",
            kind="reference",
            constraint=_field(fault, "constraint_name"),
        )
    if isinstance(fault, (asyncpg.IntegrityConstraintViolationError, asyncpg.DataError)):
        return InvalidInputError(f"the database refuses this value: {fault}")
    return None


@contextmanager
def translated() -> Generator[None]:
    """Raise what a fault inside means to the rest of Holdfast."""
    try:
        yield
    except Exception as fault:
        meaning = translate(fault)
        if meaning is None:
            raise
        raise meaning from fault


def _field(fault: Any, name: str) -> str:
    return str(getattr(fault, name, None) or fault)
