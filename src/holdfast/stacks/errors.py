"""What can be wrong with a request about stacks. ``kind``: the name Heat's clients know it by."""

from __future__ import annotations

from typing import ClassVar

from holdfast.errors import (
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)


class EntityNotFoundError(NotFoundError):
    """No such stack, resource, output or the like in this project."""

    code = "stack_entity_not_found"
    kind: ClassVar[str] = "EntityNotFound"


class StackExistsError(ConflictError):
    """Another stack of the project has the name."""

    code = "stack_exists"
    kind: ClassVar[str] = "StackExists"


class ActionInProgressError(ConflictError):
    """Something is under way that has to end first."""

    code = "stack_action_in_progress"
    kind: ClassVar[str] = "ActionInProgress"


class OutOfMemoryError(UnavailableError):
    """An engine had not as much memory as a resource's type asked for; another one may."""

    code = "stack_out_of_memory"


class NotSupportedError(InvalidInputError):
    """This cannot be done with this stack or resource, as it is or at all."""

    code = "stack_not_supported"
    kind: ClassVar[str] = "NotSupported"


class ActionNotSupportedError(InvalidInputError):
    """A resource of this type cannot do that."""

    code = "stack_resource_action_not_supported"
    kind: ClassVar[str] = "ResourceActionNotSupported"


class ValidationFailedError(InvalidInputError):
    """The template as a whole makes no stack."""

    code = "stack_validation_failed"
    kind: ClassVar[str] = "StackValidationFailed"


class StackLimitError(ForbiddenError):
    """The project has as many stacks as it may have."""

    code = "stack_limit"
    kind: ClassVar[str] = "RequestLimitExceeded"


class ResourceLimitError(ForbiddenError):
    """The stack would have more resources than one may have, or nest too deep."""

    code = "stack_resource_limit"
    kind: ClassVar[str] = "StackResourceLimitExceeded"


class PlanningTimeoutError(UnavailableError):
    """A request could not be checked in time."""

    code = "stack_planning_timeout"
    kind: ClassVar[str] = "MessagingTimeout"


KINDS: dict[str, str] = {
    error.code: error.kind
    for error in (
        EntityNotFoundError,
        StackExistsError,
        ActionInProgressError,
        NotSupportedError,
        ActionNotSupportedError,
        ValidationFailedError,
        StackLimitError,
        ResourceLimitError,
        PlanningTimeoutError,
    )
}
"""Heat's name of an error by its code."""
