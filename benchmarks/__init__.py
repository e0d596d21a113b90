"""Figures, and how they were got: each module measures one thing and returns rows.

Owns: measurements of Holdfast (and, where they install, of its peers beside it).
Never imports: anything from ``tests``.
Invariants: a figure is never a gate; comparisons worth quoting are made in one run.
Proved by: ``make bench`` runs each module and keeps what it printed in ``results/``.
"""

import os

# API nodes that are root run what is measured as root: nobody might not read this Python.
os.environ.setdefault("HOLDFAST_APINODE_WORKERS_USER", "root")
