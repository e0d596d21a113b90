"""Fixtures of the client's tests."""

from tests.client.servers import servers

__all__ = ["servers"]
