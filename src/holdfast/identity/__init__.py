"""Projects, users, roles and tokens, and the policies by which routes let callers in.

Owns: the tables project, account, role, role_grant and token; the part of the
    Identity API v3 that keystoneauth and the OpenStack clients need (``api``).
Never imports: a product, ``web``, ``ops``, ``cli`` or ``sim``.
Invariants:
    - a token or password is stored only as a hash, and never logged;
    - a token counts only while it has not expired, was not revoked, and its user,
      its project and at least one role in its scope still stand; a revocation made
      elsewhere is noticed within ``IdentitySettings.token_cache_s``;
    - what no policy allows is denied.
Proved by: ``tests/identity/test_service.py``, ``tests/identity/test_policy.py`` and
    ``tests/identity/test_api.py``.
"""
