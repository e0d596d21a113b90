"""The same life with the unmodified openstacksdk."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.compat.clients import Client

pytestmark = pytest.mark.compat

HERE = Path(__file__).parent


def test_a_stack_lives_with_the_sdk(client: Client):
    seen = client.script(HERE / "sdk_life.py", {"name": "sdk"})
    assert seen["created"] == "CREATE_COMPLETE"
    assert (seen["outputs"], seen["updated"]) == (["a"], ["b"])
    assert seen["found"]
    assert "sdk" in seen["listed"]
    assert seen["template"] == "OS::Heat::TestResource"
    assert seen["resources"] == ["one"]
    assert "CREATE_COMPLETE" in seen["events"]
    assert seen["checked"] == "CHECK_COMPLETE"
    assert seen["valid"] == ["value"]
    assert seen["export"] == ["one"]
    assert not seen["left"]
    assert "c" in seen["software"]
