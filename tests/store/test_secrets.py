"""Secrets at rest: nobody reads, moves or forges one without the master key."""

from __future__ import annotations

import os

import pytest

from holdfast.errors import ConfigError
from holdfast.store.secrets import SecretError, Vault, rewrap

MASTER = bytes(range(32))
OTHER = bytes(range(32, 64))
PLAIN = b'{"username": "root", "password": "calvin"}'


@pytest.mark.parametrize("plain", [b"", PLAIN, os.urandom(100_000)])
def test_a_secret_comes_back_for_its_context(plain: bytes):
    vault = Vault(MASTER)
    assert vault.decrypt(vault.encrypt(plain, b"node 1"), b"node 1") == plain


def test_a_sealed_secret_shows_nothing_and_is_never_the_same():
    vault = Vault(MASTER)
    blobs = [vault.encrypt(PLAIN, b"") for _ in range(3)]
    assert len(set(blobs)) == 3
    assert not any(b"calvin" in blob or MASTER in blob for blob in blobs)


def test_a_secret_cannot_be_moved_to_another_context():
    vault = Vault(MASTER)
    with pytest.raises(SecretError):
        vault.decrypt(vault.encrypt(PLAIN, b"node 1"), b"node 2")


def test_any_changed_byte_is_noticed():
    vault = Vault(MASTER)
    blob = vault.encrypt(PLAIN, b"node 1")
    for place in range(len(blob)):
        forged = bytearray(blob)
        forged[place] ^= 1
        with pytest.raises(SecretError):
            vault.decrypt(bytes(forged), b"node 1")
    for cut in (b"", blob[:50], blob[:-1]):
        with pytest.raises(SecretError):
            vault.decrypt(cut, b"node 1")


def test_parts_of_two_secrets_cannot_be_joined():
    vault = Vault(MASTER)
    first, second = vault.encrypt(b"one", b"c"), vault.encrypt(b"two", b"c")
    with pytest.raises(SecretError):
        vault.decrypt(first[:72] + second[72:], b"c")


def test_another_master_key_does_not_open_it_and_says_which_would():
    blob = Vault(MASTER).encrypt(PLAIN, b"")
    with pytest.raises(SecretError, match=blob[4:12].hex()):
        Vault(OTHER).decrypt(blob, b"")


def test_a_rotation_rewraps_without_touching_the_secret():
    old = Vault(MASTER).encrypt(PLAIN, b"node 1")
    new = rewrap(old, MASTER, OTHER)
    assert new[72:] == old[72:]
    assert Vault(OTHER).decrypt(new, b"node 1") == PLAIN
    with pytest.raises(SecretError):
        Vault(MASTER).decrypt(new, b"node 1")
    again = rewrap(new, MASTER, OTHER)
    assert Vault(OTHER).decrypt(again, b"node 1") == PLAIN
    with pytest.raises(SecretError):
        rewrap(old, OTHER, bytes(32))


def test_during_a_rotation_both_keys_open():
    both = Vault(OTHER, retired=[MASTER])
    old, new = Vault(MASTER).encrypt(PLAIN, b""), both.encrypt(PLAIN, b"")
    assert both.decrypt(old, b"") == both.decrypt(new, b"") == PLAIN
    assert (both.current(old), both.current(new)) == (False, True)
    assert both.current(both.rewrap(old))
    assert Vault(OTHER).decrypt(both.rewrap(old), b"") == PLAIN


def test_a_master_key_of_the_wrong_size_is_refused():
    with pytest.raises(ConfigError):
        Vault(b"short")
