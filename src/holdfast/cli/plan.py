"""``holdfast plan``: how many processes of which role a fleet or its stacks take, and why."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from holdfast.cli.context import Cli
from holdfast.cli.output import table

if TYPE_CHECKING:
    from holdfast.ops.config import Settings
    from holdfast.ops.planner.answer import Plan
    from holdfast.ops.planner.connections import Processes
    from holdfast.ops.planner.costs import CostsFile
    from holdfast.ops.planner.estate import Estate, Tuning
    from holdfast.ops.planner.stacks import Controllers

# Options that are fields of ``planner.estate.Images``.
IMAGES = (
    "deploy_interface",
    "boot_option",
    "source",
    "force_raw",
    "images",
    "image_gb",
    "raw_gb",
    "ramdisks",
    "disk_free_gb",
)


class Finite(click.FloatRange):
    """A number one can calculate with: ``inf`` and ``nan`` are floats, too."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number", param, ctx)
        return number


POSITIVE = Finite(min=0, min_open=True)
NOT_NEGATIVE = Finite(min=0)
COUNT = click.IntRange(min=1)


def _with_costs(command: Callable[..., None]) -> Callable[..., None]:
    """The options that replace unit costs."""
    command = click.option(
        "--cost", "changes", multiple=True, metavar="NAME=VALUE", help="One unit cost."
    )(command)
    return click.option(
        "--costs",
        "costs_file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        help="Your own unit costs (TOML), over the measured ones.",
    )(command)


@click.group(invoke_without_command=True, subcommand_metavar="[stacks …]")
@click.option("--nodes", type=COUNT, help="Machines.")
@click.option("--bmc-latency-ms", type=NOT_NEGATIVE, help="Median answer of a BMC.  [50]")
@click.option("--dead-percent", type=click.FloatRange(0, 100), help="BMCs that are dead.  [1]")
@click.option(
    "--sync-interval",
    "--sync-power-state-interval",
    "sync_interval_s",
    type=NOT_NEGATIVE,
    help="Seconds between two looks at a power state; 0: none.  [as configured, or 60]",
)
@click.option(
    "--concurrent-deploys",
    "--max-concurrent-deploy",
    "--max-concurrent-builds",
    type=COUNT,
    help="Machines provisioned at the same time.  [10]",
)
@click.option("--deploy-s", type=POSITIVE, help="Seconds a deployment takes.  [900]")
@click.option("--driver", help="Hardware type.  [redfish]")
@click.option("--network-mbit-s", type=POSITIVE, help="Of one host.  [1000]")
@click.option("--cores", type=COUNT, help="Of one host.  [4]")
@click.option("--speed", type=POSITIVE, help="Of a core; 1: the machine measured on.  [1]")
@click.option("--load-max", type=click.FloatRange(0, 1, min_open=True), help="[0.6]")
@click.option("--api-requests-s", type=NOT_NEGATIVE, help="In a busy second.  [20]")
@click.option("--zones", type=COUNT, help="Availability zones.  [1]")
@click.option("--deploy-interface", type=click.Choice(["direct", "ramdisk"]), help="[direct]")
@click.option("--boot-option", type=click.Choice(["local", "netboot"]), help="[local]")
@click.option(
    "--image-source",
    "source",
    type=click.Choice(["url", "http", "swift", "local"]),
    help="url: plain URLs; else image_download_source.  [url]",
)
@click.option("--force-raw/--no-force-raw", default=None, help="force_raw_images.  [yes]")
@click.option("--images", type=COUNT, help="Distinct instance images.  [1]")
@click.option("--image-gb", type=POSITIVE, help="One image as downloaded.  [2]")
@click.option("--raw-gb", type=POSITIVE, help="One image as raw.  [10]")
@click.option("--ramdisks", type=COUNT, help="Deployment kernel and ramdisk pairs.  [1]")
@click.option("--disk-free-gb", type=NOT_NEGATIVE, help="Of a conductor's host.")
@click.option("--max-connections", "connections_max", type=COUNT, help="Of the database.  [100]")
@_with_costs
@click.pass_context
def plan(
    ctx: click.Context, costs_file: Path | None, changes: tuple[str, ...], **options: Any
) -> None:
    """Size a deployment for a fleet of bare-metal machines; `holdfast plan stacks` for stacks.

    `holdfast plan --nodes N … stacks …` sizes one deployment of both. Every figure says how it
    was made. Unit costs were measured; replace any that you know better by --cost or --costs.
    """
    if ctx.invoked_subcommand is not None:
        return
    if options["nodes"] is None:
        raise click.UsageError("say how many machines (--nodes N), or plan for stacks (stacks)")
    from holdfast.ops.planner import baremetal, costs

    obj: Cli = ctx.obj
    file = costs.load(costs_file, changes)
    estate = _estate(obj, options)
    own = baremetal.plan(estate, file.costs).processes
    others = _configured_beside(obj.load().settings, own)
    _show(obj, {"baremetal": baremetal.plan(estate, file.costs, others)}, file)


def _estate(obj: Cli, options: dict[str, Any]) -> Estate:
    """What is asked, over what this deployment's configuration says already."""
    from holdfast.ops.planner.estate import Estate, Images

    given = {name: value for name, value in options.items() if value is not None}
    if (dead := given.pop("dead_percent", None)) is not None:
        given["dead_share"] = dead / 100
    images = Images(**{name: given.pop(name) for name in IMAGES if name in given})
    interval_s, tuning = _configured(obj)
    given.setdefault("sync_interval_s", interval_s)
    return Estate(**given, images=images, tuning=tuning)


@plan.command()
@click.option("--cores", type=COUNT, help="Of one controller.  [8]")
@click.option("--controllers", "hosts", type=COUNT, help="Hosts that run engines.  [2]")
@click.option(
    "--engines", "--heat-engine-workers", type=COUNT, help="Of a controller.  [as needed]"
)
@click.option("--apis", "--heat-api-workers", type=COUNT, help="Of a controller.  [by the table]")
@click.option("--resources-per-hour", type=NOT_NEGATIVE, help="Operations on resources.  [0]")
@click.option("--held-ms", type=NOT_NEGATIVE, help="An operation's time in an engine.  [50]")
@click.option("--speed", type=POSITIVE, help="Of a core; 1: the machine measured on.  [1]")
@click.option("--load-max", type=click.FloatRange(0, 1, min_open=True), help="[0.6]")
@click.option("--pool", "pool_max", type=COUNT, help="database.pool_max.  [as configured]")
@click.option(
    "--overflow",
    "pool_overflow",
    type=click.IntRange(min=0),
    help="Above the pool.  [as configured]",
)
@click.option("--max-connections", "connections_max", type=COUNT, help="Of the database.  [100]")
@_with_costs
@click.pass_context
def stacks(
    ctx: click.Context, costs_file: Path | None, changes: tuple[str, ...], **options: Any
) -> None:
    """Size the engines, pools and database connections of stacks.

    Without --resources-per-hour by the cores of a controller alone.
    """
    from holdfast.ops.planner import baremetal, costs
    from holdfast.ops.planner import stacks as planner

    obj: Cli = ctx.obj
    before = dict(ctx.parent.params) if ctx.parent else {}
    earlier: tuple[str, ...] = before.pop("changes", ())
    file = costs.load(costs_file or before.pop("costs_file", None), (*earlier, *changes))
    before.pop("costs_file", None)
    given = {name: value for name, value in options.items() if value is not None}
    if (most := before.get("connections_max")) is not None:
        given.setdefault("connections_max", most)
    asked = _controllers(obj, given)
    own = planner.plan(asked, file.costs).processes
    if before.get("nodes") is None:
        _only_for_machines(ctx, before)
        others = _configured_beside(obj.load().settings, own)
        _show(obj, {"stacks": planner.plan(asked, file.costs, others)}, file)
        return
    estate = _estate(obj, {**before, "connections_max": asked.connections_max})
    machines = baremetal.plan(estate, file.costs).processes
    both = {
        "baremetal": baremetal.plan(estate, file.costs, own),
        "stacks": planner.plan(asked, file.costs, machines),
    }
    _show(obj, both, file)


def _only_for_machines(ctx: click.Context, before: dict[str, Any]) -> None:
    """Options before ``stacks`` are those of machines, and mean nothing without any."""
    idle = [name for name, value in before.items() if value is not None]
    if idle and ctx.parent is not None:
        named = {param.name: param.opts[0] for param in ctx.parent.command.params}
        raise click.UsageError(
            f"{named.get(idle[0], idle[0])} before `stacks` is about machines: add --nodes N to "
            "plan both, or write it after `stacks`"
        )


def _configured_beside(settings: Settings, own: Processes) -> Processes:
    """What every host runs by its configuration beside ``own``: conductors or engines."""
    from holdfast.ops.planner.connections import Processes

    return Processes(
        hosts=own.hosts,
        conductors=0 if own.conductors else own.hosts * settings.conductor.processes,
        engines=0 if own.engines else own.hosts * settings.engine.processes,
        api_nodes=own.hosts * settings.apinode.processes,
        pool_max=settings.database.pool_max,
        pool_overflow=settings.engine.pool_overflow,
    )


def _controllers(obj: Cli, given: dict[str, Any]) -> Controllers:
    """What is asked, over what this deployment's configuration says already."""
    from holdfast.ops.planner.stacks import Controllers

    settings = obj.load().settings
    configured = {
        "pool_max": settings.database.pool_max,
        "pool_overflow": settings.engine.pool_overflow,
        "jobs_max": settings.engine.jobs_max,
    }
    return Controllers(**{**configured, **given})


def _configured(obj: Cli) -> tuple[float, Tuning]:
    """What this deployment's configuration says already."""
    from holdfast.ops.planner.estate import Tuning

    settings = obj.load().settings
    sync = settings.power_sync
    return sync.interval_s, Tuning(
        pool_max=settings.database.pool_max,
        concurrent_deploys_max=settings.provisioning.concurrent_deploys_max,
        looks_in_flight_max=sync.in_flight_max,
        dead_timeout_s=sync.timeout_max_s,
        dead_intervals=sync.backoff_intervals_max,
        gateway_looks_max=settings.bmc.observations_max,
    )


def _show(obj: Cli, answers: dict[str, Plan], file: CostsFile) -> None:
    """One plan, or those of both parts of a deployment (their names go before the figures')."""
    import msgspec

    from holdfast.ops.planner.answer import number

    documents = {part: msgspec.to_builtins(answer) for part, answer in answers.items()}
    document = documents if len(documents) > 1 else next(iter(documents.values()))
    prefixes = {part: f"{part}." if len(answers) > 1 else "" for part in answers}
    rows = [
        (prefixes[part] + figure.name, number(figure.value), figure.unit, figure.how)
        for part, answer in answers.items()
        for figure in answer.figures
    ]
    columns = ("figure", "value", "unit", "because")
    obj.show(document | {"measured": file.measured}, columns, rows)
    if obj.output != "table":
        return
    limits = [
        (
            prefixes[part] + limit.role,
            limit.what,
            number(limit.needs),
            "<- limits" if answer.limiting[limit.role] == limit.what else " ",
            limit.how,
        )
        for part, answer in answers.items()
        for limit in answer.limits
    ]
    click.echo("\n" + table(("role", "limit", "asks for", "", "because"), limits))
    measured = file.measured
    click.echo(f"\nunit costs, measured {measured['day']} on {measured['machine']}:")
    for answer in answers.values():
        for note in answer.notes:
            click.echo(f"  {note}")
    for warning in dict.fromkeys(w for answer in answers.values() for w in answer.warnings):
        click.secho(f"warning: {warning}", fg="yellow")
