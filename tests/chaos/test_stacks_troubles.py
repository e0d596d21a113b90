"""What must not leave a stack IN_PROGRESS past its deadline, and requests that meet each other."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.chaos.client import Client, History
from tests.chaos.processes import until
from tests.chaos.stacks_cluster import Engines, StackCluster
from tests.chaos.stacks_counted import HANGS
from tests.chaos.stacks_provider import Provider, judge
from tests.chaos.stacks_user import Template, User, template_of, wanted_of

pytestmark = pytest.mark.chaos

TIMEOUT_S = 6.0
SOON_S = 5.0  # a lease of somebody who was lost, a tick, and a second; the machine is slow
SETTINGS = {
    "HOLDFAST_STACKS__TIMEOUT_S": f"{TIMEOUT_S:g}",
    "HOLDFAST_CORE__STALL_S": "3",
}
