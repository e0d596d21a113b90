"""The master keys of a host: made once, read by its owner alone, changed under way."""

from __future__ import annotations

import base64
import secrets
import threading
from pathlib import Path

import pytest

from holdfast.errors import ConfigError
from holdfast.store.keyring import MASTER_KEY_VARIABLE, Keyring, LiveVault, MasterKeys, parsed
from holdfast.store.secrets import SecretError, Vault

OLD = bytes(range(32))
NEW = bytes(range(32, 64))
OTHER = bytes(range(64, 96))


def keyring(path: Path, *lines: str) -> Keyring:
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return Keyring(path, {})


def test_the_environment_gives_the_master_key_in_either_form(tmp_path: Path):
    for text in (OLD.hex(), base64.b64encode(OLD).decode(), f" {OLD.hex()}\n"):
        environ = {MASTER_KEY_VARIABLE: text}
        assert Keyring(tmp_path / "key", environ).keys() == MasterKeys(current=OLD)
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize("between", [",", " ", "\n", ", "])
def test_the_environment_may_hold_several_of_which_the_first_seals(between: str, tmp_path: Path):
    environ = {MASTER_KEY_VARIABLE: between.join((NEW.hex(), OLD.hex()))}
    ring = Keyring(tmp_path / "key", environ)
    assert ring.keys() == MasterKeys(current=NEW, retired=(OLD,))
    with pytest.raises(ConfigError, match="change them there"):
        ring.write(MasterKeys(current=OLD))


def test_a_master_key_is_made_once_for_its_owner_alone(tmp_path: Path):
    path = tmp_path / "deep" / "master.key"
    keys = Keyring(path, {}).keys()
    assert len(keys.current) == 32
    assert path.stat().st_mode & 0o777 == 0o600
    assert Keyring(path, {}).keys() == keys
    assert [p.name for p in path.parent.iterdir()] == ["master.key"]


def test_all_that_race_to_make_a_master_key_get_the_same(tmp_path: Path):
    found: list[bytes] = []
    barrier = threading.Barrier(8)

    def load() -> None:
        barrier.wait()
        found.append(Keyring(tmp_path / "key", {}).keys().current)

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_master_key_that_others_can_read_is_refused(tmp_path: Path):
    path = tmp_path / "key"
    path.write_text(secrets.token_hex(32))
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        Keyring(path, {}).keys()


def test_what_is_no_master_key_is_refused(tmp_path: Path):
    path = tmp_path / "key"
    for text in ("", "abc", "z" * 64, "0" * 63, base64.b64encode(b"short").decode()):
        with pytest.raises(ConfigError, match="32 bytes"):
            keyring(path, text).keys()
    with pytest.raises(ConfigError, match=MASTER_KEY_VARIABLE):
        Keyring(path, {MASTER_KEY_VARIABLE: "nonsense"})


def test_a_line_is_a_key_and_at_most_a_word():
    text = f"# mine\n\n{OLD.hex()}\n{NEW.hex()} staged  # soon\n{OTHER.hex()}\n"
    assert parsed(text, "x") == MasterKeys(current=OLD, staged=NEW, retired=(OTHER,))
    for wrong in (f"{OLD.hex()} first", f"{OLD.hex()} staged", f"{text}{OTHER.hex()} staged"):
        with pytest.raises(ConfigError):
            parsed(wrong, "x")


def test_a_staged_key_opens_and_does_not_seal():
    vault = MasterKeys(current=OLD, staged=NEW).vault()
    assert vault.decrypt(Vault(NEW).encrypt(b"secret", b"c"), b"c") == b"secret"
    assert Vault(OLD).decrypt(vault.encrypt(b"secret", b"c"), b"c") == b"secret"


def test_a_running_process_follows_the_file(tmp_path: Path):
    ring = keyring(tmp_path / "key", OLD.hex())
    vault = LiveVault(ring)
    sealed = vault.encrypt(b"secret", b"c")
    Keyring(tmp_path / "key", {}).write(MasterKeys(current=NEW, retired=(OLD,)))
    assert vault.decrypt(sealed, b"c") == b"secret"
    assert Vault(NEW).decrypt(vault.encrypt(b"more", b"c"), b"c") == b"more"
    Keyring(tmp_path / "key", {}).write(MasterKeys(current=NEW))
    with pytest.raises(SecretError):
        vault.decrypt(sealed, b"c")


def test_a_keyring_that_turns_bad_does_not_stop_a_running_process(tmp_path: Path):
    path = tmp_path / "key"
    ring = keyring(path, OLD.hex())
    assert ring.keys().current == OLD
    path.write_text("half of a ke")
    assert ring.keys().current == OLD
    path.unlink()
    assert ring.keys().current == OLD
    assert not path.exists()


def test_what_was_written_is_read_again_and_stays_private(tmp_path: Path):
    path = tmp_path / "key"
    ring = keyring(path, OLD.hex())
    keys = MasterKeys(current=NEW, staged=OTHER, retired=(OLD,))
    ring.write(keys)
    assert ring.keys() == Keyring(path, {}).keys() == keys
    assert path.stat().st_mode & 0o777 == 0o600
    kept = ring.archive([OLD])
    assert kept.stat().st_mode & 0o777 == 0o600
    assert parsed(kept.read_text(), "x").current == OLD
