"""Run the benchmarks: ``python -m benchmarks [NAME ...]``; results go to ``results/NAME.md``."""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import time
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
NAMES = (
    "beside_heat",
    "beside_ironic",
    "beside_serving",
    "client",
    "jobs",
    "power_sync",
    "ring",
    "serving",
    "simulator",
    "stacks",
    "takeover",
    "unit_costs",
)


def table(title: str, rows: list[tuple[str, str, str]]) -> str:
    """A Markdown table of (what, aim, measured)."""
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}"
    day = time.strftime("%Y-%m-%d")
    lines = [f"# {title}", "", f"{day}, {machine}. Aims are not gates.", ""]
    lines += ["| what | aim | measured |", "|---|---|---|"]
    lines += [f"| {what} | {aim} | {measured} |" for what, aim, measured in rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*NAMES, []], help="default: all")
    names = parser.parse_args().names or NAMES
    RESULTS.mkdir(exist_ok=True)
    for name in names:
        module = importlib.import_module(f"benchmarks.{name}")
        text = table(module.TITLE, module.measure())
        print(text)
        (RESULTS / f"{name}.md").write_text(text)


if __name__ == "__main__":
    main()
