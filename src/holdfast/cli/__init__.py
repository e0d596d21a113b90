"""The command ``holdfast``: starts the system, and shows what it does.

Owns: commands, their output, the client of the cluster API, the demonstration.
Never imports: nothing is forbidden here; this is the top of the house.
Invariants: a command loads only what it needs; commands that read go over the
cluster API as any client would, never to the database; every error a user can
cause ends in one sentence and a non-zero status, not in a traceback.
Proved by: tests/cli.
"""
