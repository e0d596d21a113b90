"""``holdfast fleet``: simulated machines for those who have none at hand."""

from holdfast.sim.fleet.__main__ import main as fleet

__all__ = ["fleet"]
