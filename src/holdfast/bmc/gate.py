"""The gate: which commands may still be executed. Pure rules, no I/O and no clock.

Architecture, "Gateway". A *mark* is what a gateway knows of a BMC: the route term
under which it is responsible and the highest token seen. Marks only rise. A token
counts from the moment it is seen, but a command may be begun only once its mark is
durable; so after a crash the gateway remembers at least every token it acted on.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import msgspec

from holdfast.bmc.errors import FloorNeededError, StaleTermError, StaleTokenError


class Mark(msgspec.Struct, frozen=True):
    """What is known of one BMC: its route term, and the highest token seen."""

    term: int
    token: int


class Gate:
    """Marks of all BMCs of one gateway incarnation.

    ``known`` is what the gateway remembered durably from before its restart.
    """

    def __init__(self, incarnation: UUID, known: Mapping[UUID, Mark]) -> None:
        self.incarnation = incarnation
        self._seen: dict[UUID, Mark] = dict(known)
        self._durable: dict[UUID, Mark] = dict(known)

    def mark(self, bmc: UUID) -> Mark | None:
        """What is known of the BMC, durable or not."""
        return self._seen.get(bmc)

    def marks(self) -> Mapping[UUID, Mark]:
        """Everything known; a view, to read only."""
        return self._seen

    def floor(self, bmc: UUID, *, incarnation: UUID, term: int, floor: int) -> Mark:
        """Learn a BMC's term and token floor; returns the mark that now holds.

        Raises ``StaleTermError`` when the message was meant for a gateway that has
        since lost its state, or is older than what is known.
        """
        if incarnation != self.incarnation:
            raise StaleTermError(
                f"The route of BMC {bmc} was granted to gateway incarnation {incarnation}, "
                f"this is {self.incarnation}; grant the route to this one and repeat."
            )
        known = self._seen.get(bmc)
        if known is None:
            mark = Mark(term, floor)
        elif term < known.term:
            raise self._stale_term(bmc, term, known.term)
        else:
            # Tokens of all terms come from one sequence, so the highest stays the highest.
            mark = Mark(term, max(floor, known.token))
        self._seen[bmc] = mark
        return mark

    def admit(self, bmc: UUID, term: int, token: int) -> None:
        """Judge a command that arrives; a higher token voids all lower ones from now on.

        Raises ``FloorNeededError``, ``StaleTermError`` or ``StaleTokenError``.
        """
        self.judge(bmc, term, token)
        self._seen[bmc] = Mark(term, token)

    def begin(self, bmc: UUID, term: int, token: int) -> None:
        """Judge the same command again at the moment of sending.

        Raises as ``admit`` does; and ``RuntimeError`` when the mark is not durable,
        which is a bug of the caller.
        """
        self.judge(bmc, term, token)
        durable = self._durable.get(bmc)
        if durable is None or durable.term != term or durable.token < token:
            raise RuntimeError(f"token {token} of BMC {bmc} is not durable yet")

    def unrecorded(self, bmc: UUID) -> Mark | None:
        """The mark that must be made durable before a command is begun, if any."""
        seen = self._seen.get(bmc)
        return None if seen == self._durable.get(bmc) else seen

    def recorded(self, bmc: UUID, mark: Mark) -> None:
        """``mark`` is durable now. Late news of a lower one changes nothing."""
        durable = self._durable.get(bmc)
        if durable is None or (mark.term, mark.token) > (durable.term, durable.token):
            self._durable[bmc] = mark

    def judge(self, bmc: UUID, term: int, token: int) -> None:
        """Raise as ``admit`` does, and learn nothing."""
        known = self._seen.get(bmc)
        if known is None or term > known.term:
            raise FloorNeededError(
                f"No token floor is known for BMC {bmc} under term {term}; "
                "send its floor and repeat the command."
            )
        if term < known.term:
            raise self._stale_term(bmc, term, known.term)
        if token < known.token:
            raise StaleTokenError(
                f"Token {token} for BMC {bmc} is below {known.token}, which was seen already: "
                "the node has another owner. Stop working on it.",
                token=token,
                seen=known.token,
            )

    @staticmethod
    def _stale_term(bmc: UUID, term: int, known: int) -> StaleTermError:
        return StaleTermError(
            f"Term {term} of BMC {bmc} is over, {known} holds now; read its route again.",
            term=term,
            known=known,
        )
