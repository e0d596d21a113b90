"""The client of API nodes: it knows all instances and survives the loss of any (D5, D9, D11).

Owns: choosing an instance for each query, retries, hedges and deadlines; discovery; the calls of
the query API, blocking and asyncio; a session for dataikuapi.

Never imports: anything of Holdfast but ``errors``; beyond the standard library only httptools (and
requests, for the session of those who have it). It can be taken out and used alone.

::

    calls --> blocking | asynchronous --ask--> course --choose--> instances   budget   latency
                  |        (I/O only)            (decides; no I/O, no clock, seeded)
                  +--> wire, lines                     ^
    watching --(finds instances, probes them)----------+

An instance, as a client sees it::

    used --connection refused, or the probe says no--> down --the probe says yes--> used
     ^  +--5 failures in a row, 429, 503, Connection: close--> shunned for a while --+
     +--------------------------------------------------------------------------------+
    More than half shunned: all are used (panic). All down: all are asked nevertheless.
    "No such service", or not ready: left out for this service only, until its next probe.

Invariants:
- A query ends within its deadline, with an answer or an error that names every instance's failure.
- An answered query is never asked again but for 429, 503, and a 404 that says that the service or
  generation is not on this instance; no other 4xx or 5xx is repeated.
- What is the query's fault or its service's code's (4xx, a 500 that tells a type, an answer too
  large) and a kept connection that ends unused do not count against an instance.
- What one query may cost is bounded: a loss is made good once for nothing, since the dead instance
  does no work; further repetitions and all hedges come out of a budget that queries pay into.
- Functions are hedged only where the caller declares them pure.

Proved by: ``tests/client/test_simulation.py``, ``tests/client/test_course.py``,
``tests/client/test_lines.py``, ``tests/client/test_api.py``, ``tests/client/test_zero_loss.py``,
``tests/compat/serving/test_session.py``.
"""

from holdfast.client.api import ApiNodes, AsyncApiNodes
from holdfast.client.discovery import DnsName, NodeList, StaticList
from holdfast.client.errors import AnswerError, AnswerTooLargeError, DeadlineError, NoInstanceError
from holdfast.client.session import session
from holdfast.client.settings import Settings

__all__ = [
    "AnswerError",
    "AnswerTooLargeError",
    "ApiNodes",
    "AsyncApiNodes",
    "DeadlineError",
    "DnsName",
    "NoInstanceError",
    "NodeList",
    "Settings",
    "StaticList",
    "session",
]
