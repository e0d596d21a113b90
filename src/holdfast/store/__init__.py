"""The store: everything that must survive a process, and how it is written.

Owns: the rows of the core as values (``model``, ``events``), what the core asks of a store
(``port``), the rules of what comes before what (``graph``), PostgreSQL (``pg``) with its
migrations, the embedded PostgreSQL (``embedded``), secrets at rest (``secrets``).
Never imports: anything of Holdfast but ``errors``. Products bring their tables as
a ``TableSpec`` and their queries as SQL; the store does not know what they mean.
Invariants: liveness and ownership are judged in the database by its clock; a
claim's epoch only rises; a write on behalf of an object is fenced in the same
statement; an answer that did not come is never taken for a failure; no position in
the event log ever passes a transaction that is still running.
Proved by: ``tests/store/test_conformance.py``, for PostgreSQL and for the
simulator's store alike; ``tests/store/pg/test_events.py``, ``tests/store/test_random_graphs.py``.
"""
