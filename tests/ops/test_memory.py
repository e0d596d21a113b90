"""The limit of memory: real in a process of its own, which outlives what it refused."""

from __future__ import annotations

import subprocess
import sys

import pytest

from holdfast.ops.memory import MB, full, used_mb

GREEDY = """
from holdfast.ops.memory import limit_memory, used_mb
assert limit_memory(0) == limit_memory(0)
limit = limit_memory(300)
assert limit == 300, limit
kept = []
try:
    for _ in range(10_000):
        kept.append(bytearray(1 << 20))
except MemoryError:
    full = used_mb()
    kept.clear()
    print(full, used_mb(), limit_memory(0))
"""


def test_what_asks_for_more_gets_an_error_and_its_process_goes_on():
    done = subprocess.run(
        (sys.executable, "-c", GREEDY), capture_output=True, text=True, timeout=60, check=True
    )
    most, after, limit = (int(word) for word in done.stdout.split())
    assert 250 < most <= 300
    assert after < most / 2
    assert limit == 300  # 0 asks for nothing else


@pytest.mark.parametrize(
    ("used", "limit", "is_full"), [(899, 1000, False), (901, 1000, True), (10**9, 0, False)]
)
def test_a_process_is_full_before_nothing_is_left_and_never_without_a_limit(
    used: int, limit: int, is_full: bool
):
    assert full(used, limit) is is_full


def test_what_is_used_is_counted_as_the_limit_counts_it():
    before = used_mb()
    held = bytearray(200 * MB)
    assert 190 <= used_mb() - before <= 210
    del held
