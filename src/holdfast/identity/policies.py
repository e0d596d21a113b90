"""The policies of the Identity API itself: what each of its routes asks for.

Reading oneself needs a token and no role. Everything else is the administrators':
an admin of one project cannot grant itself another.
"""

from __future__ import annotations

from holdfast.identity.policy import Policy, Role

POLICIES = (
    Policy("identity:token:validate", role=None),  # one's own, or any for the system's readers
    Policy("identity:token:revoke", role=None),  # one's own, or any for administrators
    Policy("identity:self", role=None),  # one's own user, projects and roles
    Policy("identity:list", Role.READER, everywhere=True),
    Policy("identity:roles", role=None),
    Policy("identity:change", Role.ADMIN, everywhere=True),
)
