"""Whoever shares a batch with a query that loops or kills is asked again, and answered."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from tests.serving.nodes import NodeProcess, Reply, function, make

CODE = """
import os, time

def work(n):
    time.sleep(0.005)
    return act(n)

def act(n):
    if n == 13:
        while True:
            pass
    if n == 17:
        os.kill(os.getpid(), 9)
    if n == 19:
        raise ValueError("nineteen")
    return n

class Model:
    def __init__(self, folder):
        pass

    def predict(self, df):
        time.sleep(0.02)
        return [act(n) for n in df["n"]]
"""


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("mates")
    made = NodeProcess(folder / "node").start()
    pool = {"floor": 1, "cruise": 3, "ceil": 3, "queue": 100, "timeout_ms": 1500}
    model = {"id": "model", "kind": "custom-prediction", "file": "f.py", "class_name": "Model"}
    endpoints = [function("work"), model]
    made.put(make(folder, "mates", {"f.py": CODE}, endpoints, pool=pool))
    yield made
    made.stop()


def ask_all(node: NodeProcess, where: str, numbers: list[int]) -> dict[int, Reply]:
    replies: dict[int, Reply] = {}

    def ask(number: int) -> None:
        query = {"n": number} if where == "work/run" else {"features": {"n": number}}
        replies[number] = node.ask("mates", where, query)

    threads = [threading.Thread(target=ask, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return replies


@pytest.mark.parametrize("where", ["work/run", "model/predict"])
@pytest.mark.parametrize(("bad", "status"), [(13, 504), (17, 500), (19, 500)])
def test_the_mates_of_a_bad_query_are_answered(
    node: NodeProcess, where: str, bad: int, status: int
):
    numbers = [*range(10), bad, *range(20, 30)]
    replies = ask_all(node, where, numbers)
    statuses = {number: reply.status for number, reply in replies.items()}
    assert Counter(statuses.values()) == {200: 20, status: 1}, replies
    assert statuses[bad] == status
    for number, reply in replies.items():
        if number != bad:
            body = reply.body
            found = body["response"] if where == "work/run" else body["result"]["prediction"]
            assert found == number
