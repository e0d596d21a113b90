"""dataikuapi, unmodified, over our session. Arguments: its site-packages, key, calls, URLs.

Says ``ready`` after the first answers, and at the end how many calls failed.
"""

from __future__ import annotations

import sys

site, key, count, *urls = sys.argv[1:]
sys.path.append(site)

from dataikuapi import APINodeClient  # noqa: E402  # pyright: ignore[reportMissingImports]

from holdfast.client import Settings, session  # noqa: E402

told = Settings(probe_s=0.3)
client = APINodeClient(urls[0] + "/", "sums", key)
client._session = session(urls, service="sums", settings=told)
failures: list[str] = []
for number in range(int(count)):
    try:
        assert client.run_function("add", a=number)["response"] == number + 1
    except Exception as error:
        failures.append(repr(error))
    if number == 20:
        sys.stdout.write("ready\n")
        sys.stdout.flush()
try:
    client.run_function("add", wrong=1)
except Exception as error:
    sys.stdout.write(f"{type(error).__name__} {error}\n")
sys.stdout.write(f"{len(failures)} failed {failures[:3]}\n")
