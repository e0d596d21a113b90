"""``--watch``: show a picture again and again, until Ctrl-C."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, Final

import click

from holdfast.errors import UnavailableError

EVERY_S: Final = 2.0


def watchable(command: click.Command) -> click.Command:
    """Give a command that only reads ``--watch`` and ``--every``."""
    once = command.callback
    if once is None or any(param.name == "watch" for param in command.params):
        return command

    def again(*args: Any, watch: bool, every: float, **kwargs: Any) -> Any:
        ctx = click.get_current_context()
        if not watch or ctx.invoked_subcommand is not None:
            return once(*args, **kwargs)
        try:
            while True:
                _look(lambda: once(*args, **kwargs))
                time.sleep(every)
        except KeyboardInterrupt:
            return None

    command.callback = again
    command.params += [
        click.Option(["--watch"], is_flag=True, help="Show it again and again, until Ctrl-C."),
        click.Option(
            ["--every"],
            type=click.FloatRange(min=0.1),
            default=EVERY_S,
            show_default=True,
            help="Seconds between two looks of --watch.",
        ),
    ]
    return command


def _look(once: Callable[[], object]) -> None:
    """Show it on a clear screen, or with an empty line after it in a pipe."""
    screen = sys.stdout.isatty()
    if screen:
        click.clear()
    try:
        once()
    except UnavailableError as error:  # what is watched may be away for a while
        click.secho(error.message, fg="red", err=True)
    if not screen:
        click.echo()
