"""Holdfast: a highly available control plane for bare-metal clouds.

Owns: nothing but the version. Each package below opens with what it owns.
Never imports: anything.
Invariants: the layers in ``pyproject.toml`` (import-linter) are the architecture.
Proved by: ``tests/test_tidy.py`` and ``make lint``.
"""

__version__ = "0.1.0"
