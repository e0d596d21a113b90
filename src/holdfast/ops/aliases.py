"""Names that settings have in the systems we replace: accepted, and answered with ours.

A table, alias -> our path. An alias counts only while this release has the setting it
stands for; without one it is an unknown setting like any other, never silently dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, TypeVar

T = TypeVar("T")
Path = tuple[str, ...]

ALIASES: Final[dict[str, str]] = {
    # oslo.messaging (heat.conf, rabbit:// only), and the name of the setting in acceptance X4
    "DEFAULT.transport_url": "broker.url",
    "broker_url": "broker.url",
    # OpenStack Ironic (ironic.conf); acceptance I11, I13
    "DEFAULT.host": "host.name",
    "api.api_workers": "api.processes",
    "api.host_ip": "api.host",
    "api.max_limit": "baremetal.page_max",
    "api.public_endpoint": "api.public_url",
    "api.ramdisk_heartbeat_timeout": "baremetal.heartbeat_s",
    "conductor.automated_clean": "provisioning.automated_clean",
    "conductor.conductor_group": "conductor.group",
    "conductor.deploy_callback_timeout": "provisioning.callback_timeout_s",
    "conductor.max_concurrent_clean": "provisioning.concurrent_cleans_max",
    "conductor.max_concurrent_deploy": "provisioning.concurrent_deploys_max",
    "conductor.force_power_state_during_sync": "power_sync.force_power_state",
    "conductor.power_state_change_timeout": "provisioning.power_timeout_s",
    "conductor.power_state_sync_max_retries": "power_sync.failures_max",
    "conductor.sync_power_state_interval": "power_sync.interval_s",
    "conductor.workers_pool_size": "core.running_jobs_max",
    "database.connection": "database.url",
    "database.max_pool_size": "database.pool_max",
    # OpenStack Heat (heat.conf)
    "DEFAULT.convergence_engine": "stacks.convergence",
    "DEFAULT.max_events_per_stack": "stacks.events_per_stack_max",
    "DEFAULT.max_nested_stack_depth": "stacks.nested_depth_max",
    "DEFAULT.max_resources_per_stack": "stacks.resources_per_stack_max",
    "DEFAULT.max_stacks_per_tenant": "stacks.stacks_per_project_max",
    "DEFAULT.max_template_size": "stacks.template_bytes_max",
    "DEFAULT.num_engine_workers": "engine.processes",
    "DEFAULT.rpc_response_timeout": "stacks.response_timeout_s",
    "DEFAULT.stack_action_timeout": "stacks.timeout_s",
    "database.max_overflow": "engine.pool_overflow",
    "heat_api.workers": "api.processes",
    # Heat as it is deployed by _50_orchestration.yml; acceptance X5, X8, X14, X16-X20
    "heat_api_workers": "api.processes",
    "heat_convergence_engine": "stacks.convergence",
    "heat_db_max_overflow": "engine.pool_overflow",
    "heat_db_max_pool_size": "database.pool_max",
    "heat_engine_workers": "engine.processes",
    "heat_max_resources_per_stack": "stacks.resources_per_stack_max",
    "heat_max_stacks_per_tenant": "stacks.stacks_per_project_max",
    "heat_rpc_response_timeout": "stacks.response_timeout_s",
}


def ours(alias: Path, known: Collection[Path]) -> Path | None:
    """The setting an alias stands for, if this release has it."""
    target = _BY_NAME.get(".".join(alias).lower())
    return target if target in known else None


def foreign(alias: Path) -> bool:
    """Whether the name is one of the reference's, with or without a setting of ours."""
    return ".".join(alias).lower() in _BY_NAME


def translate(
    entries: Mapping[Path, T], known: Collection[Path], sources: Mapping[Path, str]
) -> tuple[dict[Path, T], list[str]]:
    """The entries under our own names, and a sentence for each that came under another.

    ``sources``: where each entry was made, for the sentence. Where both names are set,
    ours counts.
    """
    found: dict[Path, T] = {}
    said: list[str] = []
    renamed: dict[Path, T] = {}
    for path, entry in entries.items():
        target = None if path in known else ours(path, known)
        if target is None:
            found[path] = entry
            continue
        alias, name = ".".join(path), ".".join(target)
        if target in entries:
            said.append(f"{alias} ({sources[path]}) is ignored, for {name} is set as well")
        else:
            said.append(f"{alias} ({sources[path]}) is called {name} here; rename it")
            renamed[target] = entry
    return {**found, **renamed}, said


_BY_NAME: Final = {alias.lower(): tuple(name.split(".")) for alias, name in ALIASES.items()}
FOREIGN_SECTIONS: Final = frozenset(alias.split(".")[0] for alias in ALIASES)
"""Sections that may stand in a file although they are not ours."""
