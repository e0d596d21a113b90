"""One thing that was looked at, and what to do about it."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Level(StrEnum):
    """``ok``; ``warn``: it works, and something is at risk; ``fail``: it does not, or must not."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """``check`` names what was looked at, ``found`` says how it is, ``advice`` what to do."""

    check: str
    level: Level
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check=check, level=Level.OK, found=found)


def warn(check: str, found: str, advice: str) -> Finding:
    """Something is at risk."""
    return Finding(check=check, level=Level.WARN, found=found, advice=advice)


def fail(check: str, found: str, advice: str) -> Finding:
    """Something is broken, or unsafe."""
    return Finding(check=check, level=Level.FAIL, found=found, advice=advice)
