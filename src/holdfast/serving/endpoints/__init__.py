"""Endpoints: what a worker makes of a package, and how each kind answers.

Owns: one module per kind, and ``loading``, which makes them all and runs their test queries.

Never imports: ``front``, ``pool``, ``generations``; none of this runs in the front.

Invariants: an endpoint gets decoded queries and gives plain data; what does not fit is a
``QueryError`` that names what would; models that run code when opened are opened only if the
caller says so.

Proved by: ``tests/serving/test_endpoints.py``.
"""
