"""Roles with known bugs put back into them: ``python -m tests.chaos.buggy BUG run ROLE ...``.

Only here, never in production code. They show that the checks can find what they are to find:

- trusting (a conductor): no trust window, and deaf to being told that its lease is over.
  Whatever it had in hand goes on when it wakes up.
- blind (the gateway): no token check. It executes what an earlier owner sends.
- greedy (an engine): takes jobs that others run.
- hasty (any member): judges others by a database that has only just come back, and has not
  watched them itself.
"""

from __future__ import annotations

import sys
from uuid import UUID

from holdfast.bmc import gateway
from holdfast.bmc.gate import Gate
from holdfast.cli.main import main
from holdfast.core.lease import TrustWindow
from holdfast.core.members import Sightings
from holdfast.store.pg import members, queue

DUE = "state in ('queued', 'waiting')"
FULL_LEASE = "and d.noticed_at + m.lease_s * interval '1 second' < clock_timestamp()"


class BlindGate(Gate):
    """Knows terms, and looks at no token."""

    def admit(self, bmc: UUID, term: int, token: int) -> None:
        known = self.mark(bmc)
        highest = max(token, known.token) if known and known.term == term else token
        super().admit(bmc, term, highest)

    def judge(self, bmc: UUID, term: int, token: int) -> None:
        known = self.mark(bmc)
        super().judge(bmc, term, max(token, known.token) if known else token)


class EndlessTrust(TrustWindow):
    """A member that always believes that it may act."""

    def end(self) -> None:
        return

    def open(self) -> bool:
        return True

    def guard(self) -> None:
        return


def put_back(bug: str) -> None:
    """Before anything of the role is made."""
    if bug == "blind":
        setattr(gateway, Gate.__name__, BlindGate)
    elif bug == "trusting":
        for name in ("end", "open", "guard"):
            setattr(TrustWindow, name, vars(EndlessTrust)[name])
    elif bug == "greedy":
        assert DUE in queue.CLAIM
        queue.CLAIM = queue.CLAIM.replace(DUE, "state in ('queued', 'waiting', 'running')")
    elif bug == "hasty":
        assert FULL_LEASE in members.REAP
        members.REAP = members.REAP.replace(FULL_LEASE, "")
        setattr(Sightings, Sightings.still.__name__, lambda _: None)
    else:
        raise ValueError(bug)


if __name__ == "__main__":
    put_back(sys.argv.pop(1))
    main()
