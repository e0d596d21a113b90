"""Fixtures of the serving tests."""

from tests.serving.nodes import node

__all__ = ["node"]
