"""Hints about queues of unbound jobs through RabbitMQ, where one is configured.

Owns: the connection to the broker (``link``), what is sent (``publisher``), what is heard and
when it is acknowledged (``consumer``), and how the URL is read (``address``).
Never imports: anything of Holdfast but ``errors`` and ``store``.
Invariants: the database is the truth: a message says no more than "look into this queue", and
nothing in it is read, so that losing each of them, or the broker, costs one tick. Nobody ever
waits for the broker: what it does not take at once goes by NOTIFY. A message is acknowledged
only after a look that began after it came, and that had room, was committed. No password is
logged or shown.
Proved by: ``tests/store/broker`` (a real RabbitMQ: purged, killed, and robbed of its messages).
"""
