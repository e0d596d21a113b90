"""The HTTP side of Holdfast: products' APIs assembled into one ASGI application.

Owns: authentication and policy of every route, errors in each API's own shape, limits,
    probes, metrics, our own cluster API, and the server that runs it all.
Never imports: ``ops``, ``cli`` or ``sim``.
Invariants:
    - a route without a known policy does not start (``auth.check_policies``);
    - no answer carries a traceback, and every answer a request id;
    - an error has the shape of the API under whose prefix it happened.
Proved by: ``tests/web/test_auth.py``, ``tests/web/test_errors.py`` and
    ``tests/web/test_front.py``.
"""
