"""``holdfast keys`` looks after the keys there are, and makes none by the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from holdfast.cli.main import cli
from holdfast.errors import ConfigError


@pytest.mark.parametrize("verb", ["list", "rotate"])
def test_in_the_wrong_directory_no_master_key_is_made(
    verb: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("HOLDFAST_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("HOLDFAST_DATABASE__URL", "postgresql://nobody@127.0.0.1:1/nothing")
    result = CliRunner().invoke(cli, ["keys", verb])
    assert isinstance(result.exception, ConfigError)
    assert "no master key" in result.exception.message
    assert list(tmp_path.iterdir()) == []
