"""The queue: first in, first out; endpoints in turn; bounded; batches by cost."""

from __future__ import annotations

from holdfast.serving.pool.queue import BATCH_QUERIES_MAX, FairQueue, Query


def nothing(query: Query, status: int, body: bytes) -> None:
    """A reply that nobody reads."""


def query(endpoint: str, number: int = 0, *, deadline: float = 10.0, size: int = 1) -> Query:
    return Query(endpoint, str(number), b"x" * size, float(number), deadline, nothing)


def queue_of(*, waiting_max: int = 1000, vectorised: bool = True) -> FairQueue:
    queue = FairQueue(waiting_max)
    for endpoint in ("a", "b"):
        queue.add_line(endpoint, vectorised=vectorised)
    return queue


def numbers(taken: tuple[str, list[Query]] | None) -> list[int]:
    assert taken is not None
    return [int(one.action) for one in taken[1]]


def test_queries_of_an_endpoint_leave_in_the_order_they_came():
    queue = queue_of()
    for number in range(5):
        assert queue.put(query("a", number))
    assert numbers(queue.take(1)) == [0, 1, 2, 3, 4]
    assert queue.size == 0


def test_endpoints_take_turns_however_much_waits_for_one():
    queue = queue_of(vectorised=False)
    for number in range(100):
        queue.put(query("a", number))
    queue.put(query("b", 7))
    taken = [queue.take(1) for _ in range(2)]
    assert {one[0] for one in taken if one} == {"a", "b"}


def test_beyond_the_bound_nothing_is_taken_and_the_other_endpoint_has_its_own():
    queue = queue_of(waiting_max=2)
    assert [queue.put(query("a")) for _ in range(3)] == [True, True, False]
    assert queue.put(query("b"))
    assert queue.size == 3


def test_idle_workers_share_what_waits():
    queue = queue_of()
    for number in range(9):
        queue.put(query("a", number))
    assert [len(numbers(queue.take(idle))) for idle in (3, 2, 1)] == [3, 3, 3]


def test_slow_functions_go_one_by_one_and_quick_ones_together():
    queue = queue_of(vectorised=False)
    line = queue.lines["a"]
    for number in range(300):
        queue.put(query("a", number))
    assert len(numbers(queue.take(1))) == 1  # nothing is known yet
    for _ in range(50):
        line.learn(0.00004, 1)
    assert 20 <= len(numbers(queue.take(1))) <= BATCH_QUERIES_MAX
    for _ in range(50):
        line.learn(0.5, 1)
    assert len(numbers(queue.take(1))) == 1


def test_one_that_is_asked_again_goes_first_and_alone():
    queue = queue_of()
    for number in range(3):
        queue.put(query("a", number))
    again = query("a", 9)
    again.alone = True
    queue.put_back(again)
    assert [numbers(queue.take(1)) for _ in range(2)] == [[9], [0, 1, 2]]


def test_large_bodies_do_not_share_a_batch():
    queue = queue_of()
    for number in range(3):
        queue.put(query("a", number, size=3 << 20))
    assert [numbers(queue.take(1)) for _ in range(3)] == [[0], [1], [2]]


def test_those_that_nobody_waits_for_are_left_out():
    queue = queue_of()
    waiting = [query("a", number) for number in range(3)]
    for one in waiting:
        queue.put(one)
    waiting[1].cancelled = True
    assert numbers(queue.take(1)) == [0, 2]
    assert queue.size == 0


def test_the_expired_are_taken_out_wherever_they_stand():
    queue = queue_of()
    for number, deadline in enumerate((10.0, 1.0, 10.0, 2.0)):
        queue.put(query("a", number, deadline=deadline))
    assert [int(one.action) for one in queue.expired(5.0)] == [1, 3]
    assert queue.size == 2
    assert numbers(queue.take(1)) == [0, 2]


def test_the_oldest_of_all_tells_how_long_is_waited():
    queue = queue_of()
    assert queue.oldest_wait_s(100.0) == 0.0
    queue.put(query("b", 90))
    queue.put(query("a", 95))
    assert queue.oldest_wait_s(100.0) == 10.0


def test_a_cancelled_query_keeps_no_place_and_no_body():
    queue = queue_of(waiting_max=3)
    waiting = [query("a", number, size=1000) for number in range(3)]
    for one in waiting:
        assert queue.put(one)
    for one in waiting[:2]:
        one.cancel()
        queue.note_cancelled("a")
    assert [len(one.body) for one in waiting] == [0, 0, 1000]
    assert [queue.put(query("a", number)) for number in (3, 4, 5)] == [True, True, False]
    assert queue.size == 3
    assert numbers(queue.take(1)) == [2, 3, 4]
