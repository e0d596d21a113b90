"""Unit costs: measured ones with their source, and the user's own in their place."""

from __future__ import annotations

from pathlib import Path

import pytest

from holdfast.errors import ConfigError, InvalidInputError
from holdfast.ops.planner import costs


def test_one_figure_is_replaced_and_said_to_be_the_users():
    file = costs.load(changes=["conductor_look_ms=1.5", "redfish.gateway_look_ms=2"])
    assert file.costs.conductor_look_ms == costs.Cost(1.5, costs.OWN)
    assert file.costs.drivers["redfish"].gateway_look_ms.value == 2
    assert file.costs.conductor_step_ms == costs.load().costs.conductor_step_ms


def test_a_file_goes_over_the_measured_figures_and_may_bring_a_driver(tmp_path: Path):
    own = tmp_path / "mine.toml"
    own.write_text(
        "api_get_ms = 3\n"
        "conductor_step_ms = {value = 9, how = 'our lab'}\n"
        "[drivers.ipmi]\ngateway_look_ms = 30\nlook_requests = 5\nlook_bytes = 1000\n"
        "[drivers.redfish]\nlook_bytes = 5\n"
    )
    found = costs.load(own).costs
    assert found.api_get_ms == costs.Cost(3, costs.OWN)
    assert found.conductor_step_ms == costs.Cost(9, "our lab")
    assert found.driver("ipmi").look_requests.value == 5
    assert found.driver("redfish").look_bytes.value == 5
    assert (
        found.driver("redfish").look_requests == costs.load().costs.driver("redfish").look_requests
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [("api_get_ms = -1", "not right"), ("nonsense = 1", "nonsense"), ("a = [", "cannot be read")],
)
def test_a_file_that_cannot_be_used_is_refused(text: str, words: str, tmp_path: Path):
    own = tmp_path / "mine.toml"
    own.write_text(text)
    with pytest.raises(ConfigError, match=words):
        costs.load(own)


@pytest.mark.parametrize("change", ["api_get_ms", "api_get_ms=x", "no_such=1", "ipmi.x=1"])
def test_a_change_of_what_does_not_exist_names_what_does(change: str):
    with pytest.raises(InvalidInputError, match="--cost"):
        costs.load(changes=[change])
