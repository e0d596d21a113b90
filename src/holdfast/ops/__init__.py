"""Running Holdfast: configuration, logs, metrics, the supervisor and the wiring of each role.

Owns: the data directory's layout, ``holdfast.toml``, the processes of a host, which
adapter stands behind each port in each role (``ops.roles``), the capacity planner
(``ops.planner``), the doctor (``ops.doctor``) and the rotation of master keys.
Never imports: cli, sim.
Invariants: all faults of a configuration are reported at once; an obituary is sent
only for a child that was reaped and whose descendants are dead; no child outlives
its supervisor; one supervisor per data directory; nobody seals with a master key
that another living process could not open with.
Proved by: tests/ops.
"""
