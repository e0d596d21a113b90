"""The broker's URL: what is understood, what is refused, and that no password is shown."""

from __future__ import annotations

import pytest

from holdfast.store.broker.address import addresses


@pytest.mark.parametrize(
    ("url", "urls"),
    [
        ("amqp://b", ["amqp://b:5672/?heartbeat=5"]),
        ("amqps://u:p@b/v", ["amqps://u:p@b:5671/v?heartbeat=5"]),
        ("amqp://u:p@b:1234/%2F?heartbeat=30", ["amqp://u:p@b:1234/%2F?heartbeat=30"]),
        (
            "amqp://u:p@b1,b2:99/v",
            ["amqp://u:p@b1:5672/v?heartbeat=5", "amqp://u:p@b2:99/v?heartbeat=5"],
        ),
        (
            "rabbit://u:p@b1:5672,w:q@[::1]:5673//",
            ["amqp://u:p@b1:5672//?heartbeat=5", "amqp://w:q@[::1]:5673//?heartbeat=5"],
        ),
    ],
)
def test_one_host_or_several_in_our_spelling_or_that_of_oslo(url: str, urls: list[str]):
    assert [address.url for address in addresses(url)] == urls


@pytest.mark.parametrize(
    "url",
    [
        "",
        "b",
        "http://u:calvin@b",
        "kombu+redis://u:calvin@b",
        "amqp://",
        "amqp://u:calvin@",
        "amqp://u:calvin@b:x",
        "amqp://u:calvin@b:99999",
        "amqp://u:calvin@b1,,b2",
        "amqp://u:cal#vin@b",
        "amqp://u:cal?vin@b",
        "amqp://u:cal/vin@b",
        "amqp://[::1",
    ],
)
def test_anything_else_is_refused_without_being_quoted(url: str):
    with pytest.raises(
        ValueError, match=r"must begin with|names no host|is none|written as"
    ) as caught:
        addresses(url)
    assert "vin" not in str(caught.value)


def test_no_password_is_shown():
    [address] = addresses("amqp://u:calvin@b/v")
    assert address.shown == "b:5672/v"
    assert "calvin" not in repr(address)
