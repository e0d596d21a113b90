"""What the demonstration shows: a picture of one moment, drawn by rich or written as a line."""

from __future__ import annotations

from collections import Counter
from typing import Final

import msgspec
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

COLOURS: Final = ("cyan", "magenta", "yellow", "green", "blue", "red")
BAR_WIDTH: Final = 28
NODE_BAR: Final = " ▁▂▃▄▅▆▇█"
GONE: Final = "grey42"


class Conductor(msgspec.Struct, kw_only=True):
    """One slot of the ring."""

    slot: str
    state: str = "starting"
    epoch: int = 0
    shards: int = 0
    objects: int = 0


class Node(msgspec.Struct, kw_only=True):
    """One machine: its state, how far its job is, who owns it."""

    name: str
    state: str = "-"
    step: str = ""
    share: float = 0.0  # of the deployment that is done, 0 to 1
    owner: str = ""
    taken_over: bool = False  # its owner has changed since the deployment began


class Picture(msgspec.Struct, kw_only=True):
    """One moment of the demonstration."""

    phase: str = "starting"
    elapsed_s: float = 0.0
    conductors: list[Conductor] = []
    nodes: list[Node] = []
    shards: int = 0
    spread: float = 1.0
    events: list[str] = []

    def states(self) -> Counter[str]:
        return Counter(node.state for node in self.nodes)


def colour_of(slot: str) -> str:
    """The same slot always has the same colour."""
    digits = "".join(c for c in slot if c.isdigit())
    return COLOURS[(int(digits) - 1) % len(COLOURS)] if digits else "white"


def draw(picture: Picture) -> Group:
    """The whole picture, for ``rich.live``."""
    states = ", ".join(f"{n} {state}" for state, n in sorted(picture.states().items()))
    title = Text.assemble(
        ("Holdfast ", "bold"), (f"{picture.elapsed_s:5.1f} s  ", "dim"), (picture.phase, "bold")
    )
    return Group(
        title,
        Panel(_ring(picture), title="ring: held shards", title_align="left"),
        Panel(
            _nodes(picture),
            title=f"machines: {states or 'none'}",
            subtitle="coloured by owner; ↻ taken over",
            title_align="left",
            subtitle_align="left",
        ),
        Panel(Text("\n".join(picture.events[-6:])), title="events", title_align="left"),
    )


def _ring(picture: Picture) -> Table:
    table = Table.grid(padding=(0, 2))
    for conductor in picture.conductors:
        colour = GONE if conductor.state in ("killed", "gone") else colour_of(conductor.slot)
        filled = round(BAR_WIDTH * conductor.shards / picture.shards) if picture.shards else 0
        table.add_row(
            Text(conductor.slot, colour),
            Text("█" * filled + "░" * (BAR_WIDTH - filled), colour),
            f"{conductor.shards} shards, {conductor.objects} machines",
            Text(conductor.state, "bold red" if conductor.state == "killed" else "dim"),
        )
    return table


def _nodes(picture: Picture) -> Table:
    table = Table.grid(padding=(0, 1))
    columns = 10
    for start in range(0, len(picture.nodes), columns):
        table.add_row(*(_cell(node) for node in picture.nodes[start : start + columns]))
    return table


def _cell(node: Node) -> Text:
    if node.state == "active":
        mark = Text("● ", "bold green")
    elif "failed" in node.state or node.state == "error":
        mark = Text("✗ ", "bold red")
    else:
        mark = Text(NODE_BAR[round(node.share * (len(NODE_BAR) - 1))] + " ")
    style = colour_of(node.owner) if node.owner else GONE
    return mark + Text(node.name, style) + Text("↻" if node.taken_over else " ", style)


def line(picture: Picture) -> str:
    """The picture in one line, where there is no terminal."""
    states = ", ".join(f"{n} {state}" for state, n in sorted(picture.states().items()))
    ring = "  ".join(f"{c.slot} {c.state} {c.shards}" for c in picture.conductors)
    return f"{picture.elapsed_s:6.1f} s  {picture.phase}  [{ring}]  {states}"
