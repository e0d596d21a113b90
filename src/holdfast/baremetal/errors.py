"""What the bare-metal API refuses, and why. Every message says what to do next."""

from __future__ import annotations

from holdfast.errors import ConflictError, ForbiddenError, HoldfastError, InvalidInputError


class InvalidTransitionError(ConflictError):
    """The node's provision state does not allow this verb; the message lists those it allows.

    ``details["allowed"]`` has the verbs. 409 and not Ironic's 400: the request is
    well-formed, it is the node that is elsewhere.
    """

    code = "invalid_transition"


class NodeLockedError(ConflictError):
    """Another job has the node in hand; repeat the request when it has ended."""

    code = "node_locked"


class NodeProtectedError(ForbiddenError):
    """The node is marked protected; unset that before undeploying or rebuilding it."""

    code = "node_protected"


class NotSupportedError(InvalidInputError):
    """Part of the Bare Metal API that this release does not have yet."""

    code = "not_supported"


class NoSuchResourceError(HoldfastError):
    """A path this release does not serve; the message says whether it is known at all."""

    code = "no_such_resource"
    status = 404


class NotAcceptableError(HoldfastError):
    """The asked microversion is outside what is served, or lacks what was asked for."""

    code = "not_acceptable"
    status = 406


class MethodNotThereError(HoldfastError):
    """The path is there, and this method of it is not in the asked microversion."""

    code = "method_not_there"
    status = 405
