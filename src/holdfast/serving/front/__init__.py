"""The front: HTTP in and out, who may ask, where a query goes. No code of any package runs here.

Owns: the HTTP protocol, the query and admin APIs, the probe, audit, metrics, OpenAPI.

Never imports: ``endpoints``, ``workers`` (but for the shape of limits), a package's content.

Invariants:
- A request gets one answer, in order, or its connection is closed.
- Nothing is read or written without bound: a client that does not read its answers is not read
  either, and bodies count until their queries are answered, those of all clients together.
- A query's body is passed on as it came; it is read here only to find its generation, and only of
  those who may query. A long one of anybody else is thrown away as it comes.
- The admin API always needs an admin key; the probe needs none, and is answered when all
  connections are taken, too. Without a key nobody learns what a service has, but that it is there.
- A client's own deadline ends its wait; only the endpoint's ends a worker.

Proved by: ``tests/serving/front/``, ``tests/serving/test_node.py``,
``tests/serving/test_hostile_queries.py``,
``tests/compat/serving/test_dataikuapi.py``.
"""
