"""Peers that ours is measured beside: installed from the registry, run as they are.

Owns: how a peer is installed (an environment of its own below ``.venv-peers``), configured
with its own documented options, started and stopped. Unprivileged, on loopback.
Never imports: the peer, or anything that Holdfast's figures come from.
Invariants: a peer gets the same PostgreSQL with the same settings as ours, and is not slowed.
Proved by: the runs kept in ``benchmarks/results``.
"""
