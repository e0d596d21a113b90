"""The picture: who holds what, how far each machine is, and what changed hands."""

from __future__ import annotations

from rich.console import Console

from holdfast.cli.demo.picture import Conductor, Node, Picture, colour_of, draw, line


def picture() -> Picture:
    return Picture(
        phase="deploying; conductor-1 was killed",
        shards=1024,
        conductors=[
            Conductor(slot="conductor-1", state="killed", shards=0),
            Conductor(slot="conductor-2", state="up", shards=1024, objects=3),
        ],
        nodes=[
            Node(name="m01", state="active", owner="conductor-2"),
            Node(name="m02", state="deploying", share=0.5, owner="conductor-2", taken_over=True),
            Node(name="m03", state="deploy failed", owner="conductor-2"),
        ],
        events=["   2.4 s  kill -9"],
    )


def drawn(subject: Picture) -> str:
    console = Console(width=80)
    with console.capture() as captured:
        console.print(draw(subject))
    return captured.get()


def test_it_shows_the_ring_the_machines_and_the_events():
    text = drawn(picture())
    assert "1024 shards, 3 machines" in text
    assert "killed" in text
    assert "● m01" in text
    assert "▄ m02↻" in text
    assert "✗ m03" in text
    assert "kill -9" in text
    assert "1 active, 1 deploy failed, 1 deploying" in text


def test_it_can_be_drawn_before_anything_is_known():
    assert "machines: none" in drawn(Picture())


def test_a_slot_keeps_its_colour():
    assert colour_of("conductor-1") == colour_of("conductor-7") != colour_of("conductor-2")
    assert colour_of("stranger") == "white"


def test_without_a_terminal_it_is_a_line():
    assert line(picture()) == (
        "   0.0 s  deploying; conductor-1 was killed  "
        "[conductor-1 killed 0  conductor-2 up 1024]  1 active, 1 deploy failed, 1 deploying"
    )
