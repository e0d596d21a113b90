"""Bare metal: nodes, their ports, and the Bare Metal API v1 (what OpenStack Ironic does).

Owns: the tables ``node`` and ``port``, the provision state machine (``states``), the use
    cases (``service``), the wire (``api``), the durable handlers (``jobs``) that conductors
    run, and what makes a process a conductor.
Never imports: ``web``, ``ops``, ``cli``, ``sim``; ``jobs`` also never ``api`` nor PostgreSQL.
Invariants:
    - the API writes intents (a node's targets and a job, in one transaction) and what no
      hardware depends on; what comes of a job is written by the node's owner, fenced;
    - reads go straight to the database and select what is shown (I3);
    - a node of another project is not there (404), whatever is asked of it;
    - a secret that was written is never shown, and an agent's token is shown once per boot.
Proved by: ``tests/baremetal``.
"""
