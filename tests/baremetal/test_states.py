from __future__ import annotations

import pytest

from holdfast.baremetal.errors import InvalidTransitionError, NotSupportedError
from holdfast.baremetal.states import (
    ALL_STATES,
    LATER,
    TRANSITIONS,
    JobKind,
    Power,
    Provision,
    Verb,
    allowed_verbs,
    parse_verb,
    transition,
)
from holdfast.errors import InvalidInputError

# What each state allows, written out: the table of ``states`` the other way round.
ALLOWED = {
    "enroll": {"manage"},
    "verifying": {"abort"},
    "manageable": {"inspect", "clean", "provide", "adopt"},
    "inspecting": {"abort"},
    "inspect failed": {"manage", "inspect"},
    "adopting": {"abort"},
    "adopt failed": {"manage", "adopt"},
    "available": {"manage", "active"},
    "cleaning": {"abort"},
    "clean wait": {"abort"},
    "clean failed": {"manage"},
    "deploying": {"abort"},
    "wait call-back": {"abort", "deleted"},
    "deploy failed": {"active", "rebuild", "deleted"},
    "active": {"rebuild", "deleted"},
    "deleting": set(),
    "error": {"rebuild", "deleted"},
}


def test_every_state_is_written_out_here():
    assert set(ALLOWED) == set(Provision) <= ALL_STATES


@pytest.mark.parametrize("state", Provision)
@pytest.mark.parametrize("verb", Verb)
def test_a_verb_is_taken_where_it_is_allowed_and_refused_with_the_allowed_ones_elsewhere(
    verb: Verb, state: Provision
):
    if verb in ALLOWED[state]:
        transition(verb, state)
        return
    with pytest.raises(InvalidTransitionError) as refused:
        transition(verb, state, "n1")
    assert refused.value.status == 409
    assert set(refused.value.details["allowed"]) == ALLOWED[state]  # type: ignore[call-overload]
    assert all(name in refused.value.message for name in (state, "n1", *ALLOWED[state]))


@pytest.mark.parametrize("state", sorted(ALL_STATES - set(Provision)))
def test_states_no_node_can_be_in_allow_nothing(state: str):
    assert allowed_verbs(state) == []
    with pytest.raises(InvalidTransitionError):
        transition(Verb.MANAGE, state)


@pytest.mark.parametrize(("key", "move"), TRANSITIONS.items())
def test_a_job_never_goes_without_a_target_and_a_state_that_polling_clients_wait_in(key, move):
    """compat.md, ``--wait``: clients give up on a null target, "error" and "* failed"."""
    if move.job is None:
        assert move.target is None
        assert move.cancels or move.during is Provision.MANAGEABLE
    else:
        assert move.target is not None
        assert not move.during.endswith("failed")
        assert move.during != Provision.ERROR


@pytest.mark.parametrize(
    ("verb", "state", "during", "target", "job"),
    [
        ("manage", "enroll", "verifying", "manageable", JobKind.VERIFY),
        ("inspect", "manageable", "inspecting", "manageable", JobKind.INSPECT),
        ("clean", "manageable", "cleaning", "manageable", JobKind.CLEAN),
        ("adopt", "manageable", "adopting", "active", JobKind.ADOPT),
        ("provide", "manageable", "cleaning", "available", JobKind.PROVIDE),
        ("active", "available", "deploying", "active", JobKind.DEPLOY),
        ("rebuild", "active", "deploying", "active", JobKind.DEPLOY),
        ("deleted", "active", "deleting", "available", JobKind.UNDEPLOY),
    ],
)
def test_the_life_of_a_node(verb: str, state: str, during: str, target: str, job: JobKind):
    move = transition(Verb(verb), state)
    assert (move.during, move.target, move.job) == (during, target, job)


@pytest.mark.parametrize("verb", sorted(LATER))
def test_verbs_of_later_releases_are_refused_by_name(verb: str):
    with pytest.raises(NotSupportedError, match=f"'{verb}' is not supported yet") as refused:
        parse_verb(verb)
    assert refused.value.status == 400


def test_an_unknown_verb_is_refused_with_the_known_ones():
    with pytest.raises(InvalidInputError, match="use one of: manage, inspect"):
        parse_verb("fly")


def test_newer_names_of_verbs_mean_the_same():
    assert parse_verb("deploy") is Verb.ACTIVE
    assert parse_verb("undeploy") is Verb.DELETED


def test_power_targets_end_in_a_power_state():
    assert {target.value: target.result for target in Power} == {
        "power on": "power on",
        "power off": "power off",
        "rebooting": "power on",
        "soft power off": "power off",
        "soft rebooting": "power on",
    }
