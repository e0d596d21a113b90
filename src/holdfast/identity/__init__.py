"""Projects, users, roles and tokens, and the policies by which routes let callers in.

Owns: the tables project, account, role, role_grant, token and application_credential;
    the part of the Identity API v3 that keystoneauth and the OpenStack clients need (``api``).
Never imports: a product, ``web``, ``ops``, ``cli`` or ``sim``.
Invariants:
    - a token or password is stored only as a hash, and never logged;
    - a token counts only while it has not expired, was not revoked, and its user,
      its project and at least one role in its scope still stand; a revocation made
      elsewhere is noticed within ``IdentitySettings.token_cache_s``;
    - a token made with an application credential has none but its roles, and of those
      only what its user still has;
    - every change is in the event log, with who made it, in the same transaction;
    - no change through the API leaves nobody who can administer the whole system;
    - what no policy allows is denied.
Proved by: ``tests/identity/test_service.py``, ``tests/identity/test_policy.py``,
    ``tests/identity/test_api.py``, ``tests/identity/test_api_credentials.py`` and
    ``tests/identity/test_audit.py``.
"""
