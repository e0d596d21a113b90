"""Token hashes and the memory of validated tokens."""

from __future__ import annotations

import pytest

from holdfast.identity.models import Token
from holdfast.identity.policy import Caller
from holdfast.identity.settings import IdentitySettings
from holdfast.identity.tokens import TokenCache, TokenHasher, derive_key, new_secret


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def token(expires_in_s: float = 3600) -> Token:
    return Token(
        caller=Caller(user_id="u", user_name="ann"),
        audit_id="a",
        methods=("password",),
        issued_at=0,
        expires_at=expires_in_s,
        expires_in_s=expires_in_s,
    )


def test_a_hash_depends_on_the_deployments_key():
    secret = new_secret()
    one, two = TokenHasher(derive_key(b"a" * 32)), TokenHasher(derive_key(b"b" * 32))
    assert one.hash(secret) == one.hash(secret)
    assert one.hash(secret) != two.hash(secret)
    assert one.hash(secret) != one.hash(new_secret())


def test_what_cannot_be_a_token_has_no_hash():
    hasher = TokenHasher(derive_key(b"a" * 32))
    assert hasher.hash("") is None
    assert hasher.hash("x" * 100_000) is None


def test_a_short_master_key_is_refused():
    with pytest.raises(ValueError, match="16 bytes"):
        derive_key(b"short")


def test_a_token_is_remembered_no_longer_than_the_bound_and_its_own_end():
    clock = Clock()
    cache = TokenCache(IdentitySettings(token_cache_s=2), clock)
    cache.put(b"long", token(), cache.generation())
    cache.put(b"ends", token(expires_in_s=0.5), cache.generation())
    assert cache.get(b"long") is not None
    assert cache.get(b"ends") is not None
    clock.now_s += 0.5
    assert cache.get(b"ends") is None
    clock.now_s += 1.5
    assert cache.get(b"long") is None


def test_a_revocation_here_counts_at_once_even_for_an_answer_under_way():
    cache = TokenCache(IdentitySettings(), Clock())
    before = cache.generation()
    cache.put(b"one", token(), before)
    cache.clear()
    assert cache.get(b"one") is None
    cache.put(b"one", token(), before)  # the database answered before the revocation
    assert cache.get(b"one") is None


def test_the_memory_is_bounded():
    cache = TokenCache(IdentitySettings(token_cache_entries_max=3), Clock())
    for number in range(5):
        cache.put(bytes([number]), token(), cache.generation())
    assert cache.get(b"\x00") is None
    assert cache.get(b"\x04") is not None


def test_a_secret_never_begins_with_a_dash(monkeypatch: pytest.MonkeyPatch):
    """``openstack token revoke --iRUMT…`` would take it for an option."""
    drawn = iter(["--iRUMT", "-a", "b-c"])
    monkeypatch.setattr("holdfast.identity.tokens.secrets.token_urlsafe", lambda _size: next(drawn))
    assert new_secret() == "b-c"
