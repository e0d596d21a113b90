"""Secrets at rest: nobody reads, moves or forges one without the master key."""

from __future__ import annotations

import base64
import os
import secrets
import threading
from pathlib import Path

import pytest

from holdfast.errors import ConfigError
from holdfast.store.secrets import (
    MASTER_KEY_VARIABLE,
    SecretError,
    Vault,
    load_master_key,
    rewrap,
)

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


# The master key


def test_the_environment_gives_the_master_key_in_either_form(tmp_path: Path):
    for text in (MASTER.hex(), base64.b64encode(MASTER).decode(), f" {MASTER.hex()}\n"):
        environ = {MASTER_KEY_VARIABLE: text}
        assert load_master_key(tmp_path / "key", environ) == MASTER
    assert not (tmp_path / "key").exists()


def test_a_master_key_is_made_once_for_its_owner_alone(tmp_path: Path):
    path = tmp_path / "deep" / "master.key"
    key = load_master_key(path, {})
    assert len(key) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_master_key(path, {}) == key
    assert [p.name for p in path.parent.iterdir()] == ["master.key"]


def test_all_that_race_to_make_a_master_key_get_the_same(tmp_path: Path):
    keys: list[bytes] = []
    barrier = threading.Barrier(8)

    def load() -> None:
        barrier.wait()
        keys.append(load_master_key(tmp_path / "key", {}))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1


def test_a_master_key_that_others_can_read_is_refused(tmp_path: Path):
    path = tmp_path / "key"
    path.write_text(secrets.token_hex(32))
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        load_master_key(path, {})


def test_what_is_no_master_key_is_refused(tmp_path: Path):
    path = tmp_path / "key"
    for text in ("", "abc", "z" * 64, "0" * 63, base64.b64encode(b"short").decode()):
        path.write_text(text)
        path.chmod(0o600)
        with pytest.raises(ConfigError, match="32 bytes"):
            load_master_key(path, {})
    with pytest.raises(ConfigError, match=MASTER_KEY_VARIABLE):
        load_master_key(path, {MASTER_KEY_VARIABLE: "nonsense"})
