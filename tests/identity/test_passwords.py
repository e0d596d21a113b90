"""Password hashes, their short memory, and the limit on guessing."""

from __future__ import annotations

import pytest

from holdfast.errors import InvalidInputError
from holdfast.identity import passwords
from holdfast.identity.passwords import LoginLimit, Passwords, TooManyAttemptsError
from holdfast.identity.settings import IdentitySettings


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_only_the_right_password_verifies(clock: Clock):
    checker = Passwords(IdentitySettings(), clock)
    encoded = await checker.hash("correct horse")
    assert encoded.startswith("$argon2id$")
    assert await checker.verify(encoded, "correct horse")
    assert not await checker.verify(encoded, "correct house")
    assert not await checker.verify("not a hash", "correct horse")
    assert not await checker.verify(None, "correct horse")


async def test_a_verified_password_is_not_hashed_again_for_a_while(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    checker = Passwords(IdentitySettings(password_cache_s=60), clock)
    encoded = await checker.hash("correct horse")
    hashed: list[str] = []

    def verify(_encoded: str, password: str) -> bool:
        hashed.append(password)
        return password == "correct horse"

    monkeypatch.setattr(passwords, "_verify", verify)
    for _ in range(3):
        assert await checker.verify(encoded, "correct horse")
    assert hashed == ["correct horse"]
    assert not await checker.verify(encoded, "wrong")
    assert not await checker.verify(encoded, "wrong")
    assert hashed == ["correct horse", "wrong", "wrong"], "a wrong one is never remembered"
    clock.now_s += 61
    assert await checker.verify(encoded, "correct horse")
    assert len(hashed) == 4


async def test_a_changed_password_forgets_the_old_one(clock: Clock):
    checker = Passwords(IdentitySettings(), clock)
    old = await checker.hash("old password")
    assert await checker.verify(old, "old password")
    assert not await checker.verify(await checker.hash("new password"), "old password")


def test_a_password_outside_the_bounds_is_refused(clock: Clock):
    checker = Passwords(IdentitySettings(password_len_min=8, password_len_max=20), clock)
    checker.check_policy("12345678")
    for bad in ("1234567", "", "x" * 21):
        with pytest.raises(InvalidInputError, match="8 to 20"):
            checker.check_policy(bad)


async def test_an_overlong_password_is_not_even_hashed(clock: Clock):
    checker = Passwords(IdentitySettings(password_len_max=20), clock)
    assert not await checker.verify(None, "x" * 1_000_000)


def test_guessing_is_stopped_per_user_and_address_and_only_for_the_window(clock: Clock):
    limit = LoginLimit(IdentitySettings(login_failures_max=3, login_window_s=60), clock)
    for _ in range(3):
        limit.check("ann", "10.0.0.1")
        limit.failed("ann", "10.0.0.1")
    with pytest.raises(TooManyAttemptsError) as caught:
        limit.check("ann", "10.0.0.1")
    assert caught.value.details["headers"] == {"Retry-After": "60"}
    limit.check("ann", "10.0.0.2")
    limit.check("bob", "10.0.0.1")
    clock.now_s += 60
    limit.check("ann", "10.0.0.1")


def test_the_memory_of_failures_is_bounded(clock: Clock):
    limit = LoginLimit(IdentitySettings(), clock)
    for number in range(10_000):
        limit.failed(f"user{number}", "10.0.0.1")
    assert len(limit._failures) <= 4_096
