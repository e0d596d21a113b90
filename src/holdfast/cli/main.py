"""Entry point. Commands are imported when they are called (a table, not a plug-in system)."""

from __future__ import annotations

import importlib
import sys
from typing import Final

import click

from holdfast.cli.context import Cli
from holdfast.cli.output import FORMATS, with_output
from holdfast.cli.watching import watchable
from holdfast.errors import HoldfastError

# name -> (module, attribute, one line for --help; so that help loads no module)
COMMANDS: Final[dict[str, tuple[str, str, str]]] = {
    "up": ("up", "up", "Run the whole system on this host, until Ctrl-C."),
    "run": ("run", "run", "Run one role as this process."),
    "migrate": ("migrate", "migrate", "Bring the database's tables up to date."),
    "status": ("reads", "status", "Everything, and what is wrong."),
    "members": ("reads", "members", "Processes that hold a lease."),
    "services": ("services", "services", "Processes by what they do, and whether they are up."),
    "ring": ("reads", "ring", "Each conductor's share: held and wished."),
    "owners": ("reads", "owners", "Which conductor owns which shard or node."),
    "why": ("reads", "why", "Why a node is as it is, in sentences."),
    "jobs": ("jobs", "jobs", "Work under way, and work that was done."),
    "events": ("events", "events", "What happened, and who did it."),
    "drain": ("reads", "drain", "Ask a member to hand over its work and leave."),
    "fleet": ("fleet", "fleet", "Simulated machines: BMCs and ramdisk agents."),
    "demo": ("demo", "demo", "Fifty machines deploy while a conductor is killed."),
    "config": ("config", "config", "Look at the configuration."),
    "apinode": ("apinode", "apinode", "Query nodes: run one, look at it, drain it."),
    "package": ("package", "package", "Packages of query services: build, verify, deploy."),
    "doctor": ("doctor", "doctor", "What is wrong or at risk, and what to do."),
    "plan": ("plan", "plan", "How many processes a fleet or its stacks take, and why."),
    "keys": ("keys", "keys", "The master keys, and their rotation."),
    "completion": ("completion", "completion", "A script that completes for bash, zsh or fish."),
    "version": ("version", "version", "The version."),
}
# These run something, and have no document to show as JSON.
RUNNING: Final = frozenset({"up", "run", "fleet", "demo", "completion"})
WATCHED: Final = frozenset({"status", "members", "services", "ring", "owners", "why", "jobs"})


class LazyGroup(click.Group):
    """A group whose commands come from ``COMMANDS``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        entry = COMMANDS.get(cmd_name)
        if entry is None:
            return None
        module = importlib.import_module(f"holdfast.cli.{entry[0]}")
        command = getattr(module, entry[1])
        if not isinstance(command, click.Command):
            return None
        if cmd_name in WATCHED:
            command = watchable(command)
        return command if cmd_name in RUNNING else with_output(command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_file",
    type=click.Path(dir_okay=False),
    help="Configuration file (HOLDFAST_CONFIG; else holdfast.toml in the data directory).",
)
@click.option("-o", "output", type=click.Choice(FORMATS), default="table")
@click.option("--os-cloud", envvar="OS_CLOUD", help="Cloud in clouds.yaml.  [default: holdfast]")
@click.pass_context
def cli(ctx: click.Context, config_file: str | None, output: str, os_cloud: str | None) -> None:
    """Holdfast: a control plane for bare-metal clouds whose every part may be killed."""
    ctx.obj = Cli(config_file=config_file, output=output, cloud=os_cloud)


def main() -> None:
    """Run; an error made on purpose becomes one message and status 1."""
    try:
        cli.main(prog_name="holdfast", standalone_mode=True)
    except HoldfastError as error:
        click.secho(f"holdfast: {error.message}", err=True, fg="red")
        sys.exit(1)


if __name__ == "__main__":
    main()
