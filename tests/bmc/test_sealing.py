from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.bmc.errors import SealBrokenError
from holdfast.bmc.sealing import new_private_key, public_key_of, seal, seal_context, unseal

PRIVATE = new_private_key()
PUBLIC = public_key_of(PRIVATE)
CONTEXT = seal_context(UUID(int=1), "https://192.0.2.1")
SECRET = {"username": "admin", "password": "correct horse"}


def test_the_gateway_reads_what_was_sealed_to_it():
    assert unseal(seal(SECRET, PUBLIC, CONTEXT), PRIVATE, CONTEXT) == SECRET


def test_two_seals_of_one_secret_differ():
    assert seal(SECRET, PUBLIC, CONTEXT) != seal(SECRET, PUBLIC, CONTEXT)


@pytest.mark.parametrize(
    "elsewhere",
    [
        seal_context(UUID(int=2), "https://192.0.2.1"),
        seal_context(UUID(int=1), "https://198.51.100.1"),
        seal_context(UUID(int=1), "http://192.0.2.1"),
    ],
)
def test_a_seal_cannot_be_carried_to_another_bmc_or_address(elsewhere):
    with pytest.raises(SealBrokenError):
        unseal(seal(SECRET, PUBLIC, CONTEXT), PRIVATE, elsewhere)


def test_another_gateway_cannot_read_it():
    with pytest.raises(SealBrokenError):
        unseal(seal(SECRET, PUBLIC, CONTEXT), new_private_key(), CONTEXT)


@given(st.binary(max_size=200))
def test_nonsense_is_refused(sealed):
    for start in (b"", b"\x01", b"\x01" + bytes(32)):  # a degenerate public key among them
        with pytest.raises(SealBrokenError):
            unseal(start + sealed, PRIVATE, CONTEXT)


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_a_changed_byte_breaks_it_and_the_error_shows_nothing_of_the_secret(place, change):
    sealed = bytearray(seal(SECRET, PUBLIC, CONTEXT))
    sealed[place % len(sealed)] ^= change
    with pytest.raises(SealBrokenError) as caught:
        unseal(bytes(sealed), PRIVATE, CONTEXT)
    assert "horse" not in str(caught.value)
    assert caught.value.__cause__ is None
