"""Logins of one BMC: basic authentication and Redfish sessions."""

from __future__ import annotations

import base64
import secrets

import msgspec


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """The one account every BMC of a fleet has, and its session rules."""

    username: str
    password: str
    session_limit: int
    session_idle_s: float

    def basic(self) -> str:
        """The Authorization header that lets in."""
        pair = f"{self.username}:{self.password}".encode()
        return "Basic " + base64.b64encode(pair).decode()


class Sessions:
    """The open sessions of one BMC; lost when it is reset."""

    __slots__ = ("_account", "_basic", "_tokens")

    def __init__(self, account: Account) -> None:
        self._account = account
        self._basic = account.basic()
        self._tokens: dict[str, tuple[str, float]] = {}  # token -> session id, last use

    def admits(self, headers: dict[str, str], now: float) -> bool:
        token = headers.get("x-auth-token")
        if token is None:
            return headers.get("authorization") == self._basic
        held = self._tokens.get(token)
        if held is None:
            return False
        if now - held[1] > self._account.session_idle_s:
            del self._tokens[token]
            return False
        self._tokens[token] = (held[0], now)
        return True

    def log_in(self, username: object, password: object, now: float) -> tuple[str, str] | None:
        """A session's (id, token); None for wrong credentials. Raises OverflowError when full."""
        if (username, password) != (self._account.username, self._account.password):
            return None
        idle_s = self._account.session_idle_s
        self._tokens = {t: held for t, held in self._tokens.items() if now - held[1] <= idle_s}
        if len(self._tokens) >= self._account.session_limit:
            raise OverflowError
        session_id, token = secrets.token_hex(4), secrets.token_hex(16)
        self._tokens[token] = (session_id, now)
        return session_id, token

    def log_out(self, session_id: str) -> bool:
        for token, (held, _) in self._tokens.items():
            if held == session_id:
                del self._tokens[token]
                return True
        return False

    def ids(self) -> list[str]:
        return [session_id for session_id, _ in self._tokens.values()]

    def forget(self) -> None:
        """The BMC restarted: every session is gone."""
        self._tokens.clear()
