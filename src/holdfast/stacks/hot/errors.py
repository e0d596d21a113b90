"""What can be wrong with a template, an environment or a parameter: always a sentence, always 400.

A :class:`HotError` says where (path in the document, line and column of its text when there is
a text) and carries in ``kind`` the name under which Heat's clients know the fault
(``error.type`` of the Orchestration API's error body).
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from holdfast.errors import InvalidInputError

Path = tuple[str | int, ...]
"""Where in a document: keys and list indexes from its top."""


class Position(NamedTuple):
    """A place in a text; both count from 1."""

    line: int
    column: int


def render_path(path: Path) -> str:
    """``resources.web.properties.list[0]``."""
    text = ""
    for part in path:
        if isinstance(part, int) or part.isdigit():
            text += f"[{part}]"
        else:
            text += f".{part}" if text else part
    return text


class HotError(InvalidInputError):
    """Base of all faults of the language. The message is ``[label: ][path: ]sentence[ (line …)]``.

    ``reason`` is the sentence alone, ``path`` and ``position`` say where.
    """

    code = "template_invalid"
    kind: ClassVar[str] = "StackValidationFailed"

    def __init__(
        self,
        reason: str,
        path: Path = (),
        *,
        label: str = "",
        position: Position | None = None,
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.label = label
        self.path: Path = ()
        self.position: Position | None = None
        self.place(path, position)

    def place(self, path: Path, position: Position | None) -> None:
        """Say where the fault is: ``path`` from the document's top."""
        self.path, self.position = path, position
        where = render_path(path)
        message = f"{self.label}: " if self.label else ""
        message += f"{where}: {self.reason}" if where else self.reason
        if position is not None:
            message += f" (line {position.line}, column {position.column})"
        self.message = message
        self.args = (message,)

    def under(self, *prefix: str | int) -> HotError:
        """The same fault, seen from a document in which its path lies under ``prefix``."""
        self.place((*prefix, *self.path), self.position)
        return self


class DocumentError(HotError):
    """The text is no YAML or JSON, or larger or deeper than the limits allow."""

    code = "document_invalid"


class LimitError(HotError):
    """A limit would be exceeded; the message names it and the limit."""

    code = "limit_exceeded"
    status = 400
    kind = "RequestLimitExceeded"


class VersionError(HotError):
    """No template version, or none that is known."""

    code = "template_version_invalid"
    kind = "InvalidTemplateVersion"


class SectionError(HotError):
    """A section of the template that its version does not have."""

    code = "template_section_invalid"
    kind = "InvalidTemplateSection"


class ReferenceToNothingError(HotError):
    """``get_resource``, ``get_attr`` or ``depends_on`` names a resource that is not there."""

    code = "template_reference_invalid"
    kind = "InvalidTemplateReference"


class AttributeUnknownError(HotError):
    """``get_attr`` names an attribute that the resource's type does not have."""

    code = "template_attribute_invalid"
    kind = "InvalidTemplateAttribute"


class CircularDependencyError(HotError):
    """Resources wait for each other; the message names the circle."""

    code = "circular_dependency"
    kind = "CircularDependencyException"


class ParameterMissingError(HotError):
    """A parameter has neither a value nor a default."""

    code = "parameter_missing"
    kind = "UserParameterMissing"


class ParameterUnknownError(HotError):
    """A value was given for a parameter that the template does not define."""

    code = "parameter_unknown"
    kind = "UnknownUserParameter"


class ParameterSchemaError(HotError):
    """A parameter's or a property's definition is itself wrong."""

    code = "schema_invalid"
    kind = "InvalidSchemaError"


class ImmutableParameterError(HotError):
    """An update would change parameters that may not change."""

    code = "parameter_immutable"
    kind = "ImmutableParameterModified"


class EnvironmentFaultError(HotError):
    """The environment, or a file of it, is wrong."""

    code = "environment_invalid"
    kind = "InvalidEnvironment"
