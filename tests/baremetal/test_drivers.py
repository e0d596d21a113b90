from __future__ import annotations

import pytest

from holdfast.baremetal.drivers import (
    DRIVERS,
    FAKE,
    INTERFACES,
    REDFISH,
    connection_fault,
    does_something,
    driver_named,
    info_fault,
    is_secret,
)
from holdfast.baremetal.errors import NotSupportedError
from holdfast.errors import InvalidInputError


def test_an_unknown_driver_is_refused_with_the_known_ones():
    with pytest.raises(
        InvalidInputError, match="There is no driver 'toaster'; use one of: redfish"
    ):
        driver_named("toaster")


def test_a_driver_of_the_reference_that_is_not_here_yet_is_refused_by_name():
    with pytest.raises(NotSupportedError, match="'ipmi' is not supported yet; use one of: redfish"):
        driver_named("ipmi")


def test_missing_driver_info_names_the_keys():
    assert info_fault(REDFISH, {}) == "missing in driver_info: redfish_address"
    assert info_fault(REDFISH, {"redfish_address": ""}) is not None


@pytest.mark.parametrize("address", ["ftp://bmc", "http://", "https://me:pw@bmc", 7, "http://[::"])
def test_an_address_that_is_none_is_refused(address: object):
    assert "redfish_address" in (info_fault(REDFISH, {"redfish_address": address}) or "")


@pytest.mark.parametrize("address", ["http://bmc:8000", "https://10.0.0.1", "bmc.example.org"])
def test_an_address_is_a_url_whose_scheme_may_be_missing(address: str):
    assert info_fault(REDFISH, {"redfish_address": address}) is None


@pytest.mark.parametrize(
    "address",
    [
        *(
            "http://bmc/../x",
            "http://bmc/%2e%2e/x",
            "http://bmc?x=1",
            "http://bmc#x",
            "http://bmc?",
        ),
        *("http://b\nmc", "http://bmc\x00", "http://bmc%00", "http://bmc:65536", "http://bmc:0"),
        *("http://good\\@evil", "http://@evil", "bmc evil"),
    ],
)
def test_an_address_that_leads_elsewhere_than_it_seems_is_refused(address: str):
    assert "redfish_address" in (connection_fault({"redfish_address": address}) or "")


@pytest.mark.parametrize("system", ["/redfish/v1/../x", "/redfish/v1/%2E%2e/x", "/a?b", "/a\n"])
def test_a_system_id_that_leads_elsewhere_is_refused(system: str):
    assert "redfish_system_id" in (connection_fault({"redfish_system_id": system}) or "")
    assert connection_fault({"redfish_system_id": "/redfish/v1/Systems/1..2"}) is None


def test_other_wrong_values_are_named():
    good = {"redfish_address": "http://bmc"}
    assert "redfish_auth_type" in (info_fault(REDFISH, good | {"redfish_auth_type": "magic"}) or "")
    assert "redfish_system_id" in (info_fault(REDFISH, good | {"redfish_system_id": 7}) or "")


@pytest.mark.parametrize(
    "key", ["redfish_password", "ipmi_password", "snmp_community", "API_Token"]
)
def test_keys_that_hold_secrets_are_recognised(key: str):
    assert is_secret(key)


def test_keys_that_hold_none_are_not_hidden():
    assert not any(is_secret(key) for key in REDFISH.properties if key != "redfish_password")


def test_a_driver_has_an_implementation_of_every_interface():
    for driver in DRIVERS.values():
        assert set(driver.interfaces) == set(INTERFACES)
    assert does_something(REDFISH.default("power"))
    assert not does_something(REDFISH.default("raid"))


def test_a_driver_that_is_not_enabled_is_refused_with_those_that_are():
    with pytest.raises(InvalidInputError, match=r"is not enabled .* use one of: redfish"):
        driver_named("fake-hardware", ("redfish",))


@pytest.mark.parametrize("delay_s", [-1, 61, "1", True, None])
def test_fake_hardware_takes_a_delay_within_reason(delay_s: object):
    assert "fake_power_delay_s" in (info_fault(FAKE, {"fake_power_delay_s": delay_s}) or "")
    assert info_fault(FAKE, {"fake_power_delay_s": 0.5}) is None
