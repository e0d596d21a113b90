"""What clients send, read strictly."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.errors import InvalidInputError
from holdfast.stacks.service.requests import checked_name, read_request


def test_everything_that_clients_send_is_understood() -> None:
    request = read_request(
        {
            "stack_name": "app-1",
            "template": "heat_template_version: pike",
            "environment": {"parameters": {"a": 1}},
            "environment_files": ["e.yaml"],
            "files": {"e.yaml": "{}"},
            "parameters": {"b": 2},
            "clear_parameters": ["c"],
            "disable_rollback": "False",
            "timeout_mins": "2",
            "tags": "x,y",
        }
    )
    assert request.name == "app-1"
    assert request.rollback is True
    assert request.timeout_s == 120.0
    assert request.tags == ("x", "y")
    assert request.environment_files == ("e.yaml",)
    assert request.clear_parameters == ("c",)
    assert not request.changes_nothing
    assert read_request({}).changes_nothing


def test_no_timeout_is_that_of_the_settings() -> None:
    for value in (None, 0, "0"):
        assert read_request({"timeout_mins": value}).timeout_s is None


@pytest.mark.parametrize("name", ["", "1a", "a b", "a/b", "ä", "a" * 256, 7, None])
def test_a_name_begins_with_a_letter_and_is_plain(name: Any) -> None:
    with pytest.raises(InvalidInputError, match="Invalid stack name"):
        checked_name(name)


@pytest.mark.parametrize(
    "document",
    [
        {"files": {"a": {"b": 1}}},
        {"files": ["a"]},
        {"parameters": "a=b"},
        {"template": 7},
        {"template_url": "http://169.254.169.254/"},
        {"files_container": "c"},
        {"converge": True},
        {"tags": ["a" * 81]},
        {"tags": 7},
        {"timeout_mins": -1},
        {"timeout_mins": True},
        {"disable_rollback": "perhaps"},
        {"environment_files": "e.yaml"},
        {"adopt_stack_data": "{"},
        {"adopt_stack_data": {"resources": {}}},
    ],
)
def test_what_cannot_be_meant_is_refused(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        read_request(document)
