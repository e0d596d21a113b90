"""``make chaos``: faults by chance for hours, while machines deploy and undeploy all the time.

HOLDFAST_TEST_CHAOS_S says for how long. The bars are those of the design for two hours on one
machine, in proportion to the time.
"""

from __future__ import annotations

import asyncio
import os

import pytest
from tests.chaos.cluster import Layout
from tests.chaos.network import Network, why_not
from tests.chaos.run import for_seconds, play, seed_of_today

pytestmark = pytest.mark.chaos

DURATION_S = float(os.environ.get("HOLDFAST_TEST_CHAOS_S") or 0)
HOSTS = 2


@pytest.mark.skipif(not DURATION_S, reason="set HOLDFAST_TEST_CHAOS_S (make chaos does)")
def test_nothing_is_lost_or_done_twice_however_long_it_goes_on():
    reason = why_not()
    assert reason is None, f"`make chaos` needs partitions: {reason}"
    layout = Layout(nodes=40, unsupervised=HOSTS, lease_s=3.0, clean=True)
    with Network(HOSTS) as network:
        script = for_seconds(DURATION_S)
        outcome = asyncio.run(play(layout, script, seed=seed_of_today(), network=network))
    assert outcome.broken() == []
