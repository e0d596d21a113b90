"""Roles with known bugs put back into them: ``python -m tests.chaos.buggy run ROLE --slot SLOT``.

Only here, never in production code. They show that the referee can find what it is to find:

- conductor: no trust window, and deaf to being told that its lease is over. Whatever it had in
  hand goes on when it wakes up.
- rack: no token check. The gateway executes what an earlier owner sends.
"""

from __future__ import annotations

import sys
from uuid import UUID

from holdfast.bmc import gateway
from holdfast.bmc.gate import Gate
from holdfast.cli.main import main
from holdfast.core.lease import TrustWindow


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


def put_bugs_back(role: str) -> None:
    """Before anything of the role is made."""
    if role == "rack":
        setattr(gateway, Gate.__name__, BlindGate)
    elif role == "conductor":
        for name in ("end", "open", "guard"):
            setattr(TrustWindow, name, vars(EndlessTrust)[name])


if __name__ == "__main__":
    put_bugs_back(sys.argv[2])
    main()
