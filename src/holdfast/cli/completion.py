"""``holdfast completion``: a shell's own script that completes commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from holdfast.errors import HoldfastError

VARIABLE = "_HOLDFAST_COMPLETE"
HOW = {
    "bash": 'eval "$(holdfast completion bash)"   # in ~/.bashrc',
    "zsh": 'eval "$(holdfast completion zsh)"    # in ~/.zshrc',
    "fish": "holdfast completion fish > ~/.config/fish/completions/holdfast.fish",
}


@click.command(epilog="\b\n" + "\n".join(HOW.values()))
@click.argument("shell", type=click.Choice(list(HOW)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print SHELL's completion script."""
    kind = get_completion_class(shell)
    if kind is None:
        raise HoldfastError(f"there is no completion for {shell}")
    root = ctx.find_root().command
    click.echo(kind(root, {}, "holdfast", VARIABLE).source())
