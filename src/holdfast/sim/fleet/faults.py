"""What may be wrong with one BMC, its machine and its agent; set at run time."""

from __future__ import annotations

import math
from random import Random
from typing import Literal

import msgspec


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """A log-normal delay before a command is executed; ``sigma`` 0 is constant."""

    median_s: float = 0.0
    sigma: float = 0.0
    max_s: float = 60.0

    def draw(self, rng: Random) -> float:
        if self.median_s <= 0.0:
            return 0.0
        if self.sigma <= 0.0:
            return min(self.median_s, self.max_s)
        return min(self.median_s * math.exp(rng.gauss(0.0, self.sigma)), self.max_s)


class Faults(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Faults of one machine. The default is none.

    ``dead``: "refuse" accepts no connection, "hang" accepts and never answers.
    ``lie``: "ignore" answers success and does nothing; "garbage" does nothing and
    answers 200 with nonsense, half the time not even JSON.
    ``lost_answer_rate``: the command is executed and its connection closed unanswered.
    ``stuck_power``: a transition that has begun (PoweringOn, PoweringOff) never ends.
    ``agent_silent``: the ramdisk boots and never calls back (judged at its boot).
    ``fail_steps``: agent steps that always fail; ``step_fail_rate``: any, by chance.
    """

    latency: Latency = Latency()
    error_rate: float = 0.0  # 500 instead of doing it
    lost_answer_rate: float = 0.0
    dead: Literal["", "refuse", "hang"] = ""
    lie: Literal["", "ignore", "garbage"] = ""
    stuck_power: bool = False
    graceful_ignored: bool = False  # a soft power off is accepted and nothing happens
    slow_boot_s: float = 0.0  # added to each boot
    agent_silent: bool = False
    agent_lost_answer_rate: float = 0.0  # the agent's command is begun, and never answered
    step_fail_rate: float = 0.0
    fail_steps: tuple[str, ...] = ()


NO_FAULTS = Faults()
