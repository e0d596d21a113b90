"""``python -m holdfast.sim.fleet``: run a fleet, or judge a journal."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path

import click
import msgspec
import uvloop

from holdfast.errors import HoldfastError
from holdfast.sim.fleet.referee import judge, summary
from holdfast.sim.fleet.server import FleetInfo, run_fleet
from holdfast.sim.fleet.settings import AgentSettings, FleetSettings, Span, Times


@click.group(invoke_without_command=True, help="Run a fleet of mock BMCs on loopback.")
@click.option("--count", default=10, show_default=True, help="How many BMCs.")
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port-base", default=20_000, show_default=True, help="Port of the first BMC.")
@click.option("--single-port", is_flag=True, help="One BMC with all machines as its Systems.")
@click.option("--control-port", default=0, help="Port of the control API; 0: any free one.")
@click.option("--agent-port-base", default=0, help="Port of the first agent; 0: any free ones.")
@click.option("--advertise-host", help="Host in the agents' call-back URLs, if not --host.")
@click.option(
    "--api-url",
    default="",
    help="Bare Metal API the agents call: what `holdfast up` printed, with /baremetal after it.",
)
@click.option("--username", default="admin", show_default=True)
@click.option("--password", default="password", show_default=True)
@click.option("--journal", default="", help="File every command is journalled in (JSON lines).")
@click.option("--journal-reads", is_flag=True, help="Journal reads and logins too.")
@click.option("--sushy", "sushy_url", default="", help="Drive agents for the sushy-emulator there.")
@click.option("--mac-prefix", default="52:54:00", show_default=True, help="Of all machines.")
@click.option("--seed", default=0, help="Seed of all chance.")
@click.option("--heartbeat-min", default=5.0, show_default=True, help="Seconds between heartbeats.")
@click.option("--power", nargs=2, type=float, help="Seconds a change of power takes, from to.")
@click.option("--boot", nargs=2, type=float, help="Seconds a boot takes, from to.")
@click.option("--step", nargs=2, type=float, help="Seconds an agent's step takes, from to.")
@click.pass_context
def main(
    context: click.Context,
    heartbeat_min: float,
    power: Span | None,
    boot: Span | None,
    step: Span | None,
    **options: object,
) -> None:
    """Start a fleet and say where it is in one line of JSON."""
    if context.invoked_subcommand is not None:
        return
    default = Times()
    settings = msgspec.convert(
        {
            **options,
            "times": Times(
                power_on_s=power or default.power_on_s,
                power_off_s=power or default.power_off_s,
                graceful_s=power or default.graceful_s,
                boot_s=boot or default.boot_s,
                step_s=step or default.step_s,
            ),
            "agent": AgentSettings(heartbeat_min_s=heartbeat_min),
        },
        FleetSettings,
    )
    try:
        uvloop.run(_until_signal(settings))
    except HoldfastError as error:
        raise click.ClickException(error.message) from error


async def _until_signal(settings: FleetSettings) -> None:
    loop = asyncio.get_running_loop()
    fleet = loop.create_task(run_fleet(settings, _say))
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, fleet.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await fleet


def _say(info: FleetInfo) -> None:
    click.echo(msgspec.json.encode({"event": "ready", **msgspec.structs.asdict(info)}).decode())


@main.command("referee", help="Judge a journal; fails when it shows a broken promise.")
@click.argument("journal", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="The whole verdict as JSON.")
@click.option("--require-origin", is_flag=True, help="Unsigned commands are violations too.")
@click.pass_context
def referee(context: click.Context, journal: Path, as_json: bool, require_origin: bool) -> None:
    """Print the verdict over a journal."""
    with journal.open("rb") as lines:
        verdict = judge(lines, require_origin=require_origin)
    click.echo(msgspec.json.encode(verdict).decode() if as_json else summary(verdict))
    context.exit(0 if verdict.ok else 1)


if __name__ == "__main__":
    main()
