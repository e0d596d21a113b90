"""How large templates, and what comes of them, may become. The caller's settings fill this in."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """The defaults admit 10,000 resources in a template; Heat's names in parentheses."""

    template_bytes_max: int = 524288
    """Bytes of one template, environment or nested template (``max_template_size``)."""
    depth_max: int = 64
    """Maps and lists inside one another."""
    nodes_max: int = 400_000
    """Values in a document once its aliases are written out (against "billion laughs")."""
    resources_max: int = -1
    """Resources of one template (``max_resources_per_stack``); -1: as many as you like."""


DEFAULT_LIMITS = Limits()

TEXT_MAX = 4 * 1024 * 1024
"""Characters that one function call of a template may produce."""
ITEMS_MAX = 100_000
"""List items or map entries that one function call of a template may produce."""
EFFORT_MAX = 5_000_000
"""Steps, each of about a microsecond, that replacing in texts may take in one function call."""
YAQL_ITERATIONS_MAX = 2_000
"""Elements one YAQL collection expression may run over (Heat: ``limit_iterators``)."""
YAQL_MEMORY_BYTES_MAX = 200_000
"""Bytes a YAQL expression's intermediate values may take (Heat: ``memory_quota``)."""
YAQL_STEPS_MAX = 20_000
"""Function calls inside one YAQL expression: the bound on time that loops in loops need."""
PATTERN_SECONDS_MAX = 0.5
"""Time that one match of a user's regular expression may take."""
