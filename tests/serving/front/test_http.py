"""HTTP/1.1: one answer to each request, in order; nothing read or written without bound."""

from __future__ import annotations

import pytest
from tests.serving.front.wires import Site, Wire, post, statuses, turns

from holdfast.errors import NotAuthenticatedError

GET = b"GET /now HTTP/1.1\r\n\r\n"
UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")


def ask(site: Site, url: str, size: int, behind: bytes = b"") -> Wire:
    connection, wire = site.connect()
    connection.data_received(post(url, b"x" * size) + behind)
    return wire


# ---- reading and writing ----------------------------------------------------------------------


async def test_what_is_pipelined_is_parsed_only_as_it_is_answered():
    site = Site()
    connection, wire = site.connect()
    connection.data_received(post("/later") + GET * 20_000)
    assert not wire.reading
    assert len(site.asked) == 1
    assert len(connection._waiting) < 500
    assert site.room.held_bytes > 300_000  # what is kept unparsed counts
    site.answer()
    for _ in range(20_000):
        if statuses(wire).count(200) > 20_000:
            break
        await turns(50)
    assert len(statuses(wire)) == 20_001
    assert wire.reading
    assert site.room.held_bytes == 0


async def test_what_is_kept_unparsed_has_a_bound_for_all_together():
    site = Site(bodies_bytes_max=1_000_000)
    wires = [ask(site, "/later", 0, GET * 13_000) for _ in range(4)]
    assert site.room.held_bytes < 1_000_000
    while site.waiting:
        site.answer()
    await turns(1000)
    assert [503 in statuses(wire) for wire in wires] == [False, False, True, True]


async def test_who_does_not_read_answers_gets_no_more_and_is_not_read():
    site = Site()
    connection, wire = site.connect()
    connection.data_received(GET)
    wire.unsent = 70_000
    connection.pause_writing()
    connection.data_received(GET * 3)
    await turns()
    assert statuses(wire) == [200]
    assert not wire.reading
    assert site.room.unsent_bytes == 70_000
    wire.unsent = 0
    connection.resume_writing()
    await turns()
    assert statuses(wire) == [200] * 4
    assert wire.reading
    assert site.room.unsent_bytes == 0


async def test_an_answer_that_is_not_read_ends_the_connection_after_a_while():
    site = Site(request_timeout_s=30.0)
    connection, wire = site.connect()
    connection.data_received(GET)
    wire.unsent = 100_000  # ten seconds' worth
    connection.pause_writing()
    connection.close_stale(site.now + 39.0)
    assert not wire.closed
    connection.close_stale(site.now + 41.0)
    assert wire.aborted


async def test_a_last_answer_that_is_not_read_ends_too():
    site = Site(request_timeout_s=30.0)
    connection, wire = site.connect()
    wire.unsent = 100
    connection.data_received(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert wire.closed
    connection.close_stale(site.now + 31.0)
    assert wire.aborted


# ---- time -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "closed_after_s"),
    [
        (b"", 10.0),
        (b"GET / HT", 10.0),
        (b"GET / HTTP/1.1\r\nX: y\r\n", 10.0),
        (post("/now", b"12345")[:-1], 30.0),
        (post("/now", bytes(100_001))[:-1], 40.0),  # a body at 10 kB/s
        (GET, 600.0),
    ],
)
async def test_each_state_has_its_time(sent: bytes, closed_after_s: float):
    site = Site(head_timeout_s=10.0, request_timeout_s=30.0, keepalive_s=600.0)
    connection, wire = site.connect()
    if sent:
        connection.data_received(sent)
    connection.close_stale(site.now + closed_after_s - 0.1)
    assert not wire.closed
    connection.close_stale(site.now + closed_after_s + 0.1)
    assert wire.closed


async def test_a_head_that_comes_byte_by_byte_has_no_more_time():
    site = Site(head_timeout_s=10.0)
    connection, wire = site.connect()
    for byte in GET[:12]:
        connection.data_received(bytes([byte]))
        site.now += 1.0
        connection.close_stale(site.now)
    assert wire.aborted


# ---- heads ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "head",
    [
        b"GET /now HTTP/1.1\r\nX: ",
        b"GET /now HTTP/1.1\r\n",
        b"POST /later HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: ",
    ],
)
async def test_a_header_without_an_end_is_not_kept(head: bytes):
    site = Site()
    connection, wire = site.connect()
    connection.data_received(head)
    for _ in range(60):
        connection.data_received(b"x" * 1000)
    await turns()
    assert statuses(wire) == [400]


async def test_a_body_in_chunks_of_a_byte_is_no_long_head():
    site = Site()
    connection, wire = site.connect()
    head = post("/now").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    connection.data_received(head + b"1\r\nx\r\n" * 50_000 + b"0\r\n\r\n")
    assert statuses(wire) == [200]
    assert site.bodies == [b"x" * 50_000]


# ---- bodies -----------------------------------------------------------------------------------


async def test_a_body_counts_until_its_answer():
    site = Site()
    connection, _ = site.connect()
    connection.data_received(post("/later", b"x" * 5000))
    assert site.room.held_bytes == 5000
    connection.data_received(post("/later", b"y" * 300))
    assert site.room.held_bytes == 5300
    site.answer()
    assert site.room.held_bytes == 300
    await turns()
    assert site.bodies == [b"x" * 5000, b"y" * 300]
    connection.connection_lost(None)
    assert site.room.held_bytes == 0


async def test_large_bodies_are_refused_when_too_much_waits_and_small_ones_later():
    site = Site(bodies_bytes_max=1_000_000)
    wires = [ask(site, "/later", 200_000) for _ in range(5)]
    await turns()
    assert [statuses(wire) for wire in wires] == [[], [], [], [503], [503]]
    assert statuses(ask(site, "/now", 100)) == [200]
    assert site.room.held_bytes == 600_000


async def test_a_long_body_of_someone_who_may_not_ask_is_thrown_away():
    site = Site()
    site.refusal = NotAuthenticatedError("no key")
    connection, wire = site.connect()
    request = post("/later", b"x" * 1_000_000)
    connection.data_received(request[:500_000])
    assert site.room.held_bytes == 0
    connection.data_received(request[500_000:] + GET)
    await turns()
    assert statuses(wire) == [401, 200]
    assert site.bodies == [b"", b""]


async def test_who_expects_to_be_told_to_go_on_is_told_once_its_turn_has_come():
    site = Site()
    connection, wire = site.connect()
    connection.data_received(post("/later"))
    request = post("/now", b"body", "Expect: 100-continue")
    connection.data_received(request[:-4])
    assert wire.written == b""
    site.answer()
    assert statuses(wire) == [200, 100]
    connection.data_received(request[-4:])
    assert statuses(wire) == [200, 100, 200]
    assert site.bodies == [b"", b"body"]


async def test_who_expects_to_be_refused_is_refused_at_once():
    site = Site()
    site.refusal = NotAuthenticatedError("no key")
    connection, wire = site.connect()
    connection.data_received(post("/now", b"x" * 100_000, "Expect: 100-continue")[:-100_000])
    await turns()
    assert statuses(wire) == [401]


async def test_the_refusal_of_a_body_is_there_to_be_read_while_it_is_still_sent():
    """Closing at once would reset the connection under the answer."""
    site = Site(body_bytes_max=1000)
    connection, wire = site.connect()
    connection.data_received(post("/now", b"x" * 1500)[:-1000])
    await turns()
    assert statuses(wire) == [413]
    assert wire.ended
    assert not wire.closed
    connection.data_received(b"x" * 1000)
    assert not wire.closed
    connection.data_received(b"x")
    assert wire.closed  # but not for ever


# ---- upgrades ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 3, 10_000])
@pytest.mark.parametrize("behind", [b"", GET])
@pytest.mark.parametrize("piece", [100_000, 7])
async def test_a_wish_to_upgrade_is_ignored(size: int, behind: bytes, piece: int):
    """RFC 9110, 7.8; Java's client wishes for h2c in each first request."""
    site = Site()
    connection, wire = site.connect()
    data = GET + post("/now", b"x" * size, *UPGRADE, "Authorization: Bearer k") + behind
    for at in range(0, len(data), piece):
        connection.data_received(data[at : at + piece])
    for _ in range(3):
        await turns()
    assert statuses(wire) == [200, 200] + [200] * bool(behind)
    assert [len(body) for body in site.bodies] == [0, size] + [0] * bool(behind)
    assert site.asked[1].authorization == b"Bearer k"
    assert not wire.closed


async def test_a_wish_to_upgrade_is_ignored_of_a_body_in_chunks():
    site = Site()
    connection, wire = site.connect()
    head = post("/now", b"", *UPGRADE).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    connection.data_received(head + b"3\r\nabc\r\n0\r\n\r\n" + GET)
    await turns()
    assert statuses(wire) == [200, 200]
    assert site.bodies == [b"abc", b""]


async def test_connect_is_refused_with_a_sentence():
    site = Site()
    connection, wire = site.connect()
    connection.data_received(b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n")
    await turns()
    assert statuses(wire) == [405]
    assert b"Allow: " in wire.written
    assert b"no proxy" in wire.written


async def test_what_is_not_sound_is_refused_after_what_came_before_it():
    site = Site()
    connection, wire = site.connect()
    connection.data_received(post("/later") + GET + b"nonsense\r\n\r\n")
    await turns()
    assert wire.written == b""
    site.answer()
    await turns()
    assert statuses(wire) == [200, 200, 400]
    assert wire.ended


# ---- how many ---------------------------------------------------------------------------------


async def test_a_silent_connection_makes_room_before_an_idle_one_does():
    site = Site(connections_max=3)
    idle, idle_wire = site.connect()
    idle.data_received(GET)
    site.now += 1.0
    _, silent_wire = site.connect()
    busy, busy_wire = site.connect()
    busy.data_received(post("/later"))
    site.now += 2.0
    for _ in range(2):
        one, wire = site.connect()
        one.data_received(GET)
        assert statuses(wire) == [200]
    assert silent_wire.closed
    assert idle_wire.closed
    assert not busy_wire.closed
    assert len(site.room.connections) == 3


async def test_a_slow_head_makes_room():
    site = Site(connections_max=1)
    slow, slow_wire = site.connect()
    slow.data_received(b"GET /")
    site.now += 1.5
    one, wire = site.connect()
    one.data_received(GET)
    assert slow_wire.closed
    assert statuses(wire) == [200]


async def test_when_all_are_busy_the_probe_is_still_answered():
    site = Site(connections_max=2)
    for _ in range(2):
        busy, _ = site.connect()
        busy.data_received(post("/later"))
    probe, probe_wire = site.connect()
    probe.data_received(b"GET /isAlive/ HTTP/1.1\r\n\r\n")
    other, other_wire = site.connect()
    other.data_received(GET)
    await turns()
    assert (statuses(probe_wire), statuses(other_wire)) == ([200], [503])
    assert b"Connection: close" in probe_wire.written


async def test_the_reserve_has_a_bound():
    site = Site(connections_max=1)
    wires = [site.connect()[1] for _ in range(70)]
    assert [wire.closed for wire in wires] == [False] * 65 + [True] * 5
    assert statuses(wires[-1]) == [503]


async def test_answers_that_nobody_reads_have_a_bound_together():
    site = Site(bodies_bytes_max=250_000)
    wires = []
    for _ in range(3):
        connection, wire = site.connect()
        connection.data_received(GET)
        wire.unsent = 100_000
        connection.pause_writing()
        wires.append(wire)
    await turns()
    assert [wire.aborted for wire in wires] == [True, False, False]
    assert site.room.unsent_bytes == 200_000
