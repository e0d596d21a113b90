"""Stacks: templates converge into resources (what OpenStack Heat does).

Owns: the template language (``hot``).
Never imports: ``web``, ``ops``, ``cli``, ``sim``, ``baremetal``'s inside.
Invariants:
    - the language is pure: no I/O, no clock, no database.
Proved by: ``tests/stacks``.
"""
