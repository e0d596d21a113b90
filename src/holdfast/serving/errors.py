"""What goes wrong in serving, each with a code, an HTTP status and a way on."""

from __future__ import annotations

from typing import Final

import orjson

from holdfast.errors import (
    ConflictError,
    HoldfastError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)

TEXT_CHARS_MAX: Final = 4000
# Of errors, all that there are here. Each has a body, and is the last of its answer (RFC 9110).
ERROR_STATUSES: Final = frozenset(
    {400, 401, 403, 404, 405, 409, 413, 429, 500, 501, 502, 503, 504, 507}
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


class UnknownEndpointError(NotFoundError):
    """The generation has no such endpoint; another node's may have it."""

    code = "no_such_endpoint"


class QueryError(InvalidInputError):
    """The query does not fit its endpoint; the message says what would."""

    code = "bad_query"


class BodyTooLargeError(InvalidInputError):
    """More was sent than this node reads."""

    code = "too_large"
    status = 413


class DiskError(HoldfastError):
    """The node's disk does not take what is to be kept; nothing of it was."""

    code = "disk"
    status = 507


class AnswerTooLargeError(HoldfastError):
    """The endpoint's answer is larger than this node sends."""

    code = "answer_too_large"
    status = 500


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
    """(status, body) of an error, as dataikuapi reads it. Never raises, whatever the error is."""
    status, kind, text = 500, type(error).__name__, text_of(error)
    if isinstance(error, HoldfastError):
        if type(error.status) is int and error.status in ERROR_STATUSES:  # an author's may not be
            status = error.status
    elif isinstance(error, MemoryError):
        kind, text = "MemoryError", "The endpoint needs more memory than it may use."
    document = {"errorType": encodable(kind), "message": text, "detailedMessage": text}
    return status, orjson.dumps(document)


def text_of(error: BaseException) -> str:
    """What an error says, not longer than a client needs; user code's may fail to say it."""
    try:
        text = error.message if isinstance(error, HoldfastError) else str(error)
        return encodable(text[:TEXT_CHARS_MAX] or type(error).__name__)
    except Exception:  # noqa: BLE001 - its __str__ is the author's
        return encodable(type(error).__name__)


def encodable(text: str) -> str:
    """The text with what UTF-8 has no bytes for (lone surrogates) written out."""
    return str(text).encode("utf-8", "backslashreplace").decode()
