"""Provision states, the verbs that move a node between them, and which job does the work.

A pure table: no I/O. A verb is accepted when ``(verb, state)`` is in it; the request
then writes ``during`` and ``target`` together with the job, in one transaction, and
the job's owner writes all that follows::

    enroll --manage--> verifying ......... -> manageable      | enroll
    manageable --inspect--> inspecting ... -> manageable      | inspect failed
    manageable --clean--> cleaning ....... -> manageable      | clean failed
    manageable --provide--> cleaning ..... -> available       | clean failed
    manageable --adopt--> adopting ....... -> active          | adopt failed
    available --active--> deploying .. wait call-back .. -> active | deploy failed
    active --deleted--> deleting .. cleaning .. -> available  | error, clean failed
    active --rebuild--> deploying ........ -> active          | deploy failed

A retired node becomes manageable where others become available.

``during`` goes out with the intent, because a client that polls takes a state that
ends in "failed", or no target at all, for the answer (compat.md, ``--wait``).

Source: the Bare Metal API's state machine, less what this release refuses (``LATER``).
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from holdfast.baremetal.errors import InvalidTransitionError, NotSupportedError
from holdfast.errors import InvalidInputError


class Provision(StrEnum):
    """Every provision state a node of this release can be in."""

    ENROLL = "enroll"
    VERIFYING = "verifying"
    MANAGEABLE = "manageable"
    INSPECTING = "inspecting"
    INSPECT_FAILED = "inspect failed"
    ADOPTING = "adopting"
    ADOPT_FAILED = "adopt failed"
    AVAILABLE = "available"
    CLEANING = "cleaning"
    CLEAN_WAIT = "clean wait"
    CLEAN_FAILED = "clean failed"
    DEPLOYING = "deploying"
    WAIT_CALLBACK = "wait call-back"
    DEPLOY_FAILED = "deploy failed"
    ACTIVE = "active"
    DELETING = "deleting"
    ERROR = "error"


class Verb(StrEnum):
    """What a client may ask of ``states/provision``; the values are the wire's."""

    MANAGE = "manage"
    INSPECT = "inspect"
    CLEAN = "clean"
    PROVIDE = "provide"
    ADOPT = "adopt"
    ACTIVE = "active"
    REBUILD = "rebuild"
    DELETED = "deleted"
    ABORT = "abort"


class JobKind(StrEnum):
    """The durable jobs of this product; the handlers are in ``baremetal.jobs``."""

    VERIFY = "node.verify"
    INSPECT = "node.inspect"
    CLEAN = "node.clean"
    ADOPT = "node.adopt"
    PROVIDE = "node.provide"
    DEPLOY = "node.deploy"
    UNDEPLOY = "node.undeploy"
    POWER = "node.power"
    BOOT_DEVICE = "node.boot_device"
    MEDIA = "node.media"
    NMI = "node.inject_nmi"


class Power(StrEnum):
    """Targets of ``states/power``; the values are the wire's."""

    ON = "power on"
    OFF = "power off"
    REBOOT = "rebooting"
    SOFT_OFF = "soft power off"
    SOFT_REBOOT = "soft rebooting"

    @property
    def result(self) -> str:
        """The power state in which it ends."""
        return "power off" if self in (Power.OFF, Power.SOFT_OFF) else "power on"


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """What a verb does to a node in one state.

    ``job`` None with ``during``: nothing is to be done, the state just changes.
    ``cancels``: the job in hand is cancelled; for ``deleted`` the own job follows it.
    """

    during: Provision | None = None
    target: Provision | None = None
    job: JobKind | None = None
    cancels: bool = False


_S = Provision
_VERIFY = Transition(during=_S.VERIFYING, target=_S.MANAGEABLE, job=JobKind.VERIFY)
_INSPECT = Transition(during=_S.INSPECTING, target=_S.MANAGEABLE, job=JobKind.INSPECT)
_CLEAN = Transition(during=_S.CLEANING, target=_S.MANAGEABLE, job=JobKind.CLEAN)
_PROVIDE = Transition(during=_S.CLEANING, target=_S.AVAILABLE, job=JobKind.PROVIDE)
_ADOPT = Transition(during=_S.ADOPTING, target=_S.ACTIVE, job=JobKind.ADOPT)
_DEPLOY = Transition(during=_S.DEPLOYING, target=_S.ACTIVE, job=JobKind.DEPLOY)
_UNDEPLOY = Transition(during=_S.DELETING, target=_S.AVAILABLE, job=JobKind.UNDEPLOY)
_GIVE_UP = Transition(during=_S.DELETING, target=_S.AVAILABLE, job=JobKind.UNDEPLOY, cancels=True)
_SET_ASIDE = Transition(during=_S.MANAGEABLE)
_ABORT = Transition(cancels=True)

TRANSITIONS: dict[tuple[Verb, Provision], Transition] = {
    (Verb.MANAGE, _S.ENROLL): _VERIFY,
    (Verb.MANAGE, _S.AVAILABLE): _SET_ASIDE,
    (Verb.MANAGE, _S.CLEAN_FAILED): _SET_ASIDE,
    (Verb.MANAGE, _S.INSPECT_FAILED): _SET_ASIDE,
    (Verb.MANAGE, _S.ADOPT_FAILED): _SET_ASIDE,
    (Verb.INSPECT, _S.MANAGEABLE): _INSPECT,
    (Verb.INSPECT, _S.INSPECT_FAILED): _INSPECT,
    (Verb.CLEAN, _S.MANAGEABLE): _CLEAN,
    (Verb.PROVIDE, _S.MANAGEABLE): _PROVIDE,
    (Verb.ADOPT, _S.MANAGEABLE): _ADOPT,
    (Verb.ADOPT, _S.ADOPT_FAILED): _ADOPT,
    (Verb.ACTIVE, _S.AVAILABLE): _DEPLOY,
    (Verb.ACTIVE, _S.DEPLOY_FAILED): _DEPLOY,
    (Verb.REBUILD, _S.ACTIVE): _DEPLOY,
    (Verb.REBUILD, _S.DEPLOY_FAILED): _DEPLOY,
    (Verb.REBUILD, _S.ERROR): _DEPLOY,
    (Verb.DELETED, _S.ACTIVE): _UNDEPLOY,
    (Verb.DELETED, _S.DEPLOY_FAILED): _UNDEPLOY,
    (Verb.DELETED, _S.ERROR): _UNDEPLOY,
    (Verb.DELETED, _S.WAIT_CALLBACK): _GIVE_UP,
    (Verb.ABORT, _S.VERIFYING): _ABORT,
    (Verb.ABORT, _S.INSPECTING): _ABORT,
    (Verb.ABORT, _S.ADOPTING): _ABORT,
    (Verb.ABORT, _S.CLEANING): _ABORT,
    (Verb.ABORT, _S.CLEAN_WAIT): _ABORT,
    (Verb.ABORT, _S.DEPLOYING): _ABORT,
    (Verb.ABORT, _S.WAIT_CALLBACK): _ABORT,
}

ALIASES: dict[str, Verb] = {"deploy": Verb.ACTIVE, "undeploy": Verb.DELETED}
"""Other names for the same verbs (microversion 1.73)."""

LATER: frozenset[str] = frozenset({"rescue", "service", "unhold", "unrescue"})
"""Verbs of the Bare Metal API that this release refuses by name."""

ALL_STATES: frozenset[str] = frozenset(
    {
        *Provision,
        "clean hold",
        "deploy hold",
        "inspect wait",
        "rebuild",
        "rescue",
        "rescue failed",
        "rescue wait",
        "rescuing",
        "service failed",
        "service hold",
        "service wait",
        "servicing",
        "unrescue failed",
        "unrescuing",
    }
)
"""Every state of the Bare Metal API: a filter may name one that no node is in."""

DELETABLE: frozenset[str] = frozenset(
    {
        _S.ENROLL,
        _S.MANAGEABLE,
        _S.AVAILABLE,
        _S.CLEAN_FAILED,
        _S.INSPECT_FAILED,
        _S.ADOPT_FAILED,
    }
)
"""States in which a node may be deleted; in maintenance any."""

RECONFIGURABLE: frozenset[str] = frozenset(
    {_S.ENROLL, _S.MANAGEABLE, _S.AVAILABLE, _S.INSPECT_FAILED, _S.ADOPT_FAILED}
)
"""States in which driver, interfaces and resource class may change; in maintenance any."""

RAMDISK: frozenset[str] = frozenset(
    {_S.CLEANING, _S.CLEAN_WAIT, _S.DEPLOYING, _S.WAIT_CALLBACK, _S.DELETING}
)
"""States in which a ramdisk agent may look its node up."""


def allowed_verbs(state: str) -> list[str]:
    """The verbs a node in this state accepts, in the order of ``Verb``."""
    return [verb.value for verb in Verb if (verb, state) in TRANSITIONS]


def job_kinds(verb: Verb) -> frozenset[JobKind]:
    """The jobs by which a verb is done, from whatever state."""
    moves = (move for (of, _), move in TRANSITIONS.items() if of is verb)
    return frozenset(move.job for move in moves if move.job is not None)


def parse_verb(asked: str) -> Verb:
    """The verb of that name. Raises ``NotSupportedError`` or ``InvalidInputError`` (400)."""
    if asked in ALIASES:
        return ALIASES[asked]
    if asked in LATER:
        raise NotSupportedError(
            f"The provision verb '{asked}' is not supported yet; "
            f"this release has: {', '.join(Verb)}"
        )
    try:
        return Verb(asked)
    except ValueError:
        raise InvalidInputError(
            f"'{asked}' is no provision verb; use one of: {', '.join([*Verb, *ALIASES])}"
        ) from None


def transition(verb: Verb, state: str, node: object = "the node") -> Transition:
    """What the verb does in this state. Raises ``InvalidTransitionError`` (409) if nothing.

    ``node`` names it in the message.
    """
    try:
        return TRANSITIONS[verb, Provision(state)]
    except (KeyError, ValueError):
        allowed = allowed_verbs(state)
        raise InvalidTransitionError(
            f"The requested action '{verb}' can not be performed on node {node} while it is in "
            f"state '{state}'; allowed there: {', '.join(allowed) or 'nothing until it changes'}",
            state=state,
            allowed=allowed,
        ) from None
