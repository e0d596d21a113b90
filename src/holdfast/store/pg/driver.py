"""asyncpg, which has no types, behind one door: what passes here is ``Any``."""

from __future__ import annotations

from typing import Any

import asyncpg as _asyncpg  # pyright: ignore[reportMissingTypeStubs]

asyncpg: Any = _asyncpg
