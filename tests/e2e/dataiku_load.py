"""Queries without a pause, by dataikuapi, until standard input ends.

Run in the clients' environment. Arguments: a query key, then the nodes' URLs; each node has a
thread that asks nobody else. Says at the end, in JSON: how many answers, every failure, and by
node which results came, in order.
"""

from __future__ import annotations

import json
import sys
import threading
from typing import Any

from dataikuapi import APINodeClient  # pyright: ignore[reportMissingImports]  # there, not here

key, *urls = sys.argv[1:]
over = threading.Event()
failures: list[str] = []
answers = dict.fromkeys(urls, 0)
results: dict[str, list[Any]] = {url: [] for url in urls}


def ask(url: str) -> None:
    client = APINodeClient(url, "sums", key)
    while not over.is_set():
        try:
            result = client.run_function("add", a=1)["response"]
        except Exception as error:
            failures.append(f"{url}: {error!r}")
            over.wait(0.05)
            continue
        answers[url] += 1
        if results[url][-1:] != [result]:
            results[url].append(result)


threads = [threading.Thread(target=ask, args=(url,)) for url in urls]
for thread in threads:
    thread.start()
sys.stdin.read()
over.set()
for thread in threads:
    thread.join()
json.dump({"answers": answers, "failures": failures, "results": results}, sys.stdout)
