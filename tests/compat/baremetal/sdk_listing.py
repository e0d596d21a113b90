"""Lists nodes with openstacksdk without a pause until a file appears; counts what failed.

sdk_listing.py CLOUD '{"until": "/path"}'
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import openstack  # pyright: ignore[reportMissingImports]  # there, not here


def main(cloud: str, told: dict[str, Any]) -> dict[str, Any]:
    """List, and count."""
    baremetal = openstack.connect(cloud=cloud).baremetal
    over = Path(told["until"])
    answers, failures = 0, []
    while not over.exists() and len(failures) < 100:
        try:
            list(baremetal.nodes())
            answers += 1
            time.sleep(0.05)
        except Exception as error:
            failures.append(repr(error))
    return {"answers": answers, "failures": failures}


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], json.loads(sys.argv[2]))))  # noqa: T201
