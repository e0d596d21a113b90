"""PostgreSQL, 14 and later: the store everything real runs on.

Owns: connections (``database``; to whichever server leads, ``hosts``), hints (``notify``),
the statements of the core (``members``, ``claims``, ``objects``; of jobs ``jobs``,
``steps``, ``queue``, ``graph``),
the event log (``events``) and the schema (``migrate``).
Never imports: a product; ``sqlalchemy`` serves as a query builder only, never as an ORM.
Invariants: whatever is decided is decided in one statement or one short transaction;
locks are taken in the order member, claim, object, resource, job, and sorted within
each; no claim is ever locked between two round trips of an owner's write; a change and
the events that tell of it are one transaction.
Proved by: ``tests/store/test_conformance.py``, ``tests/store/pg``.
"""
