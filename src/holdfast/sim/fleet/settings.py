"""What a fleet is like: how many, where, how fast, and as whom one logs in."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from holdfast.errors import ConfigError
from holdfast.sim.fleet.faults import Faults

Span: TypeAlias = tuple[float, float]  # seconds, from .. to; drawn uniformly


class Times(msgspec.Struct, frozen=True, kw_only=True):
    """How long a machine takes for things."""

    power_on_s: Span = (0.5, 2.0)
    power_off_s: Span = (0.2, 1.0)  # by force
    graceful_s: Span = (1.0, 3.0)  # by the operating system
    boot_s: Span = (1.0, 4.0)  # from power to a running ramdisk or instance
    step_s: Span = (1.0, 4.0)  # an agent's deploy or clean step


class AgentSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The ramdisk agent's rhythm. Defaults are ironic-python-agent's own."""

    version: str = "13.0.0"
    heartbeat_min_s: float = 5.0  # never more often, not even right after a command
    heartbeat_jitter: Span = (0.3, 0.6)  # share of the heartbeat time-out the lookup returned
    retry_jitter: Span = (1.0, 2.0)  # times heartbeat_min_s, after a refused heartbeat
    lookup_retry_s: Span = (1.0, 60.0)  # first and longest pause between lookups
    lookup_timeout_s: float = 600.0  # then the agent gives up, and stays silent
    request_timeout_s: float = 30.0


class FleetSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One fleet. A port of 0 lets the system choose (then read the control API's list)."""

    count: int = 10
    host: str = "127.0.0.1"
    port_base: int = 20000  # BMC n listens on port_base + n
    single_port: bool = False  # all machines as Systems of one BMC at port_base
    control_port: int = 0
    agent_port_base: int = 0  # agent n listens on agent_port_base + n while it runs
    advertise_host: str | None = None  # in call-back URLs; default: host
    api_url: str = ""  # Ironic API for the agents; "": agents stay silent
    username: str = "admin"
    password: str = "password"  # noqa: S105 - a mock's, said in the documentation
    session_limit: int = 64  # per BMC; further logins are refused, as real ones do
    session_idle_s: float = 300.0
    journal: str = ""  # path of the JSONL journal; "": the last lines in memory only
    journal_reads: bool = False
    sushy_url: str = ""  # drive agents for a sushy-emulator there, instead of own BMCs
    mac_prefix: str = "52:54:00"
    seed: int = 0
    times: Times = Times()
    agent: AgentSettings = AgentSettings()
    faults: Faults = Faults()  # what every BMC starts with

    def check(self) -> None:
        """Raise ConfigError naming every value that cannot be."""
        wrong = [
            text
            for bad, text in (
                (not 0 <= self.count <= 50_000, "count must be 0 .. 50000"),
                (not 0 <= self.port_base <= 65_535, "port_base must be 0 .. 65535"),
                (
                    bool(self.port_base)
                    and not self.single_port
                    and self.port_base + self.count > 65_536,
                    "port_base + count must not pass 65536; take fewer BMCs or --single-port",
                ),
                (self.session_limit < 1, "session_limit must be at least 1"),
                *(
                    (low < 0 or high < low, f"times.{name} must be two rising seconds")
                    for name, (low, high) in msgspec.structs.asdict(self.times).items()
                ),
            )
            if bad
        ]
        if wrong:
            raise ConfigError("fleet: " + "; ".join(wrong))
