"""Roles, callers and policies."""

from __future__ import annotations

import pytest

from holdfast.errors import ConfigError, ForbiddenError
from holdfast.identity.policy import Caller, Policy, PolicyRegistry, Role, implied


def caller(*roles: str, project: str | None = "p1", everywhere: bool = False) -> Caller:
    return Caller(
        user_id="u1",
        user_name="ann",
        project_id=project,
        project_name=project,
        roles=implied(roles),
        everywhere=everywhere,
    )


def test_admin_implies_member_implies_reader():
    assert implied(["admin"]) == {Role.ADMIN, Role.MEMBER, Role.READER}
    assert implied(["member"]) == {Role.MEMBER, Role.READER}
    assert implied(["reader"]) == {Role.READER}


def test_an_unknown_role_grants_nothing():
    assert implied(["root", "Admin", ""]) == frozenset()


def test_a_policy_lets_in_whoever_has_the_role_by_implication():
    Policy("x", Role.READER).check(caller("member"))
    with pytest.raises(ForbiddenError, match="needs the role member"):
        Policy("x", Role.MEMBER).check(caller("reader"))


def test_a_project_admin_does_not_reach_the_whole_system():
    rule = Policy("x", Role.ADMIN, everywhere=True)
    rule.check(caller("admin", everywhere=True))
    with pytest.raises(ForbiddenError, match="admin project or the system"):
        rule.check(caller("admin"))


def test_the_default_of_a_policy_is_admin():
    with pytest.raises(ForbiddenError):
        Policy("x").check(caller("member"))


def test_objects_of_other_projects_are_unseen_unless_everywhere():
    assert caller("admin", project="p1").may_see("p1")
    assert caller("admin", project="p1").may_see(None, "p1")
    assert not caller("admin", project="p1").may_see("p2")
    assert not caller("admin", project="p1").may_see(None)
    assert not caller("reader", project=None).may_see(None)
    assert caller("reader", everywhere=True).may_see("p2")


def test_a_registry_knows_only_what_was_declared_and_refuses_doubles():
    registry = PolicyRegistry([Policy("a")], [Policy("b")])
    assert registry.get("a") == Policy("a")
    assert registry.get("c") is None
    assert registry.get(None) is None
    assert registry.get("public") is not None
    with pytest.raises(ConfigError, match="twice"):
        PolicyRegistry([Policy("a")], [Policy("a")])
