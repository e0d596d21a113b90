"""What goes wrong in serving, each with a code, an HTTP status and a way on."""

from __future__ import annotations

import orjson

from holdfast.errors import (
    ConflictError,
    HoldfastError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)


class PackageError(InvalidInputError):
    """The package cannot be accepted; nothing of it was kept."""

    code = "bad_package"


class PackageFormatError(PackageError):
    """The package's format is not one this version reads: build it anew (D15)."""

    code = "package_format"


class SignatureError(PackageError):
    """The package's signature is missing, wrong, or by a key this node does not trust."""

    code = "package_signature"


class EndpointKindError(PackageError):
    """The endpoint's kind, or its model's flavour, cannot be served here."""

    code = "endpoint_kind"


class FetchError(InvalidInputError):
    """What a URL led to was refused, or did not come whole and in time."""

    code = "fetch"


class LoadError(ConflictError):
    """A generation could not be loaded; whatever served before goes on serving."""

    code = "load_failed"


class UnknownServiceError(NotFoundError):
    """No service of this name is on this node."""

    code = "no_such_service"


class UnknownGenerationError(NotFoundError):
    """The service has no such generation, or none that is loaded."""

    code = "no_such_generation"


class QueryError(InvalidInputError):
    """The query does not fit its endpoint; the message says what would."""

    code = "bad_query"


class BodyTooLargeError(InvalidInputError):
    """More was sent than this node reads."""

    code = "too_large"
    status = 413


class QueueFullError(HoldfastError):
    """As many queries wait for this endpoint as may; try again later."""

    code = "queue_full"
    status = 429
    transient = True


class NotServingError(UnavailableError):
    """The service is disabled, still loading, or its workers cannot start."""

    code = "not_serving"


class DeadlineError(HoldfastError):
    """No answer within the endpoint's time-out; the worker that was stuck has been stopped."""

    code = "deadline"
    status = 504
    transient = True


class WorkerDiedError(HoldfastError):
    """Workers died of this query, and of its repetitions."""

    code = "worker_died"
    status = 500


def error_body(error: BaseException) -> tuple[int, bytes]:
    """(status, body) of an error, as dataikuapi reads it."""
    if isinstance(error, HoldfastError):
        status, kind, text = error.status, type(error).__name__, error.message
    elif isinstance(error, MemoryError):
        status, kind, text = 500, "MemoryError", "The endpoint needs more memory than it may use."
    else:
        status, kind, text = 500, type(error).__name__, str(error) or type(error).__name__
    text = text[:4000]
    return status, orjson.dumps({"errorType": kind, "message": text, "detailedMessage": text})
