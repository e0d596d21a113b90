"""PostgreSQL, 14 and later: the store everything real runs on.

Owns: connections (``database``), hints (``notify``), the statements of the core
(``members``, ``claims``, ``jobs``, ``steps``, ``objects``) and the schema (``migrate``).
Never imports: a product; ``sqlalchemy`` serves as a query builder only, never as an ORM.
Invariants: whatever is decided is decided in one statement or one short transaction;
locks are taken in the order member, claim, object, job, and sorted within each; no
claim is ever locked between two round trips of an owner's write.
Proved by: ``tests/store/test_conformance.py``, ``tests/store/pg``.
"""
