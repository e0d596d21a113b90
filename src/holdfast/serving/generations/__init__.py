"""Generations: which packages a service has on this node, and which of them answer.

Owns: the state on disk, mounting, switching, draining, mapping with probabilities.

Never imports: ``front``, ``endpoints``. What it knows of workers is a ``Pool``.

Invariants:
- A switch is one assignment, made only when all that is switched to is loaded and tested (D13).
- What is on disk says what a restart serves; it is written before a switch is answered, and
  before anything of it is so in memory.
- A generation that hangs while it is loaded holds up other loads of its service, and nothing else.
- A generation that is no longer mapped answers what it has taken, then its workers end (D12).

Proved by: ``tests/serving/generations/test_registry.py``, ``tests/serving/test_mapping.py``,
``tests/serving/test_node.py``, ``tests/e2e/serving/test_zero_loss.py``.
"""
