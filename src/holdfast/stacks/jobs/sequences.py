"""All operations of a phase in one line, by one engine: ``stack.sequence``.

For stacks without convergence (X13). The line is gone through inside one job: where a
resource has to be waited for, the engine waits with it. If it dies, another goes on at
the operation it was at.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from holdfast.core.jobs import Done, Fail, Outcome, Sleep, Step, StepContext
from holdfast.stacks.jobs.kinds import SEQUENCE, ItemArgs, Unbound, args_of
from holdfast.stacks.jobs.memos import failed
from holdfast.stacks.jobs.operations import OUTSIDE_S, Operation
from holdfast.stacks.parts import Parts
from holdfast.store.model import Job, JobError, Json, Write

STEP = "next"
READ_AGAIN_S = 15.0  # of waiting, before the job is read again: its inbox may have grown
WAIT_S = 1.0  # between two looks at what is waited for: nobody wakes a job that runs


class SequenceHandler(Unbound):
    """``stack.sequence``: one operation a step, in the order of its arguments."""

    kind = SEQUENCE

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.steps = (Step(name=STEP, run=self._next, timeout_s=OUTSIDE_S),)

    async def _next(self, ctx: StepContext) -> Outcome:
        items: list[dict[str, Any]] = ctx.args["items"]
        number: int = ctx.memo.get("number", 0)
        if number >= len(items):
            return Done()
        item = msgspec.convert(items[number], ItemArgs)
        notes: dict[str, Json] = ctx.memo.get("item", {})
        begun = ctx.resumed or ctx.job.attempt > 1
        waited_s = 0.0
        while True:
            outcome = await Operation(self._parts, ctx, item, notes, begun=begun).run()
            if isinstance(outcome, Fail):
                return outcome
            if isinstance(outcome, Sleep):
                notes, begun = outcome.memo or {}, True
                waited_s += min(outcome.seconds, WAIT_S)
                if outcome.writes or waited_s > READ_AGAIN_S:
                    return self._on(number, notes, outcome.writes)
                await asyncio.sleep(min(outcome.seconds, WAIT_S))
                now = ctx.now + min(outcome.seconds, WAIT_S)
                ctx = msgspec.structs.replace(ctx, now=now)
                continue
            if outcome.goto is not None:  # a replacement: the same item, another row
                return self._on(number, outcome.memo or {}, outcome.writes)
            return self._on(number + 1, {}, outcome.writes)

    @staticmethod
    def _on(number: int, notes: dict[str, Json], writes: tuple[Write, ...]) -> Done:
        return Done(goto=STEP, memo={"number": number, "item": notes}, writes=writes)

    def closing(self, job: Job, error: JobError, now: float) -> tuple[Write, ...]:
        items: list[dict[str, Any]] = job.args["items"]
        number: int = job.memo.get("number", 0)
        if number >= len(items):
            return ()
        item = msgspec.convert(items[number], ItemArgs)
        return failed(job, args_of(job), item, job.memo.get("item", {}), error, now)
