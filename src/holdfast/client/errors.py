"""How a query can fail."""

from __future__ import annotations

from holdfast.errors import HoldfastError, UnavailableError


class NoInstanceError(UnavailableError):
    """No instance could be asked, or none that was asked stayed; the message has each reason."""

    code = "no_instance"


class DeadlineError(HoldfastError):
    """No answer within the query's deadline; it may still be computed somewhere."""

    code = "deadline"
    status = 504
    transient = True


class AnswerError(HoldfastError):
    """An instance answered that it cannot: ``answer_status``, ``error_type``, ``instance``."""

    code = "query_failed"
    status = 502

    def __init__(self, message: str, answer_status: int, error_type: str, instance: str) -> None:
        super().__init__(message)
        self.answer_status = answer_status
        self.error_type = error_type
        self.instance = instance


class WireError(HoldfastError):
    """What came is no sound HTTP answer."""

    code = "wire"
    status = 502


class AnswerTooLargeError(WireError):
    """The answer is larger than ``answer_bytes_max``: it would be so from every instance."""

    code = "answer_too_large"


class LostError(UnavailableError):
    """A connection could not be made (``sent`` is false), or ended before its answer.

    ``stale``: it had been kept from an earlier query, and ended without a word to this one. Most
    likely the instance had closed it as idle just then: no sign that anything is wrong with it.
    """

    code = "connection_lost"

    def __init__(self, message: str, *, sent: bool, stale: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.stale = stale
