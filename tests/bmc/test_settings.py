from __future__ import annotations

import msgspec
import pytest

from holdfast.bmc.settings import BmcSettings, BreakerSettings


def test_the_defaults_have_no_faults():
    assert BmcSettings().faults() == []


def test_all_faults_are_reported_at_once():
    settings = BmcSettings(
        agent_networks=("10.0.0.0/99",),
        denied_networks=("nonsense",),
        breaker=BreakerSettings(backoff_first_s=9, backoff_max_s=1),
        connect_timeout_s=700,
    )
    faults = settings.faults()
    assert len(faults) == 4
    assert all("bmc." in fault for fault in faults)


@pytest.mark.parametrize("wrong", [{"drain_s": 0}, {"commands_max": -1}, {"surprise": 1}])
def test_values_out_of_bounds_and_unknown_names_are_refused(wrong):
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, BmcSettings)
