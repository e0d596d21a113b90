"""The front: HTTP in and out, who may ask, where a query goes. No code of any package runs here.

Owns: the HTTP protocol, the query and admin APIs, the probe, audit, metrics, OpenAPI.

Never imports: ``endpoints``, ``workers`` (but for the shape of limits), a package's content.

Invariants:
- A request gets one answer, in order, or its connection is closed; nothing is read without bound.
- A query's body is passed on as it came; it is read here only to find its generation.
- The admin API always needs an admin key; the probe needs none.

Proved by: ``tests/serving/test_node.py``, ``tests/serving/test_hostile_queries.py``,
``tests/compat/serving/test_dataikuapi.py``.
"""
