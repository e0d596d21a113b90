"""Hosts as network namespaces on one bridge, and partitions that drop their packets.

A partition is a rule of nftables in the host's own namespace, with a counter: so a test
can show that packets were dropped. Both ends go on living; nobody gets a reset.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import msgspec

Direction = Literal["both", "in", "out"]  # as seen from the host that is cut off
Peer = Literal["all", "database", "gateway"]

TABLE: Final = "inet chaos"
RULES: Final = f"""
add table {TABLE}
add chain {TABLE} input {{ type filter hook input priority 0; }}
add chain {TABLE} output {{ type filter hook output priority 0; }}
"""


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """What a partition drops: packets in one direction or both, from and to some or all."""

    direction: Direction
    peer: Peer = "all"

    def __str__(self) -> str:
        return f"{self.direction}, {self.peer}"


class Dropped(msgspec.Struct, frozen=True):
    """How many packets a partition has dropped on their way into and out of the host."""

    into: int
    out_of: int


def why_not() -> str | None:
    """Why there can be no namespaces here; None: there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [name for name in ("ip", "nft") if shutil.which(name) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: iproute2, nftables)"
    try:
        with Network(1) as network:
            network.hosts[0].cut(Cut(direction="both"), {})
    except subprocess.CalledProcessError as fault:
        return f"namespaces or nftables do not work here: {fault.stderr.strip()}"
    return None


class Host:
    """One namespace with an address on the bridge."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command so that it runs there; it keeps its process id."""
        return ("ip", "netns", "exec", self.name)

    def cut(self, cut: Cut, ports: dict[Peer, int]) -> None:
        """Begin to drop packets. ``ports``: where the peers listen."""
        port = ports.get(cut.peer)
        rules: list[str] = []
        if cut.direction in ("both", "out"):
            to = f"tcp dport {port} " if port else ""
            rules.append(f'add rule {TABLE} output oifname != "lo" {to}counter drop')
        if cut.direction in ("both", "in"):
            of = f"tcp sport {port} " if port else ""
            rules.append(f'add rule {TABLE} input iifname != "lo" {of}counter drop')
        self._nft("\n".join(rules))

    def dropped(self) -> Dropped:
        """What the partition has dropped so far."""
        listed = run(*self.prefix, "nft", "-j", "list", "table", *TABLE.split())
        count = {"input": 0, "output": 0}
        for entry in json.loads(listed)["nftables"]:
            for part in entry.get("rule", {}).get("expr", ()):
                if "counter" in part:
                    count[entry["rule"]["chain"]] += part["counter"]["packets"]
        return Dropped(into=count["input"], out_of=count["output"])

    def heal(self) -> None:
        self._nft(f"flush table {TABLE}")

    def _nft(self, rules: str) -> None:
        run(*self.prefix, "nft", "-f", "-", text=rules)


class Network:
    """A bridge in our own namespace, which has the first address, and ``count`` hosts."""

    def __init__(self, count: int) -> None:
        self._tag = f"{os.getpid() % 100_000:x}{random.randrange(256):02x}"
        self._bridge = f"hfb{self._tag}"
        net = f"10.{random.randrange(64, 128)}.{random.randrange(256)}"
        self.subnet = f"{net}.0/24"
        self.address = f"{net}.1"
        self.hosts = [Host(f"hf{self._tag}h{n}", f"{net}.{n + 1}") for n in range(1, count + 1)]

    def __enter__(self) -> Network:
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _build(self) -> None:
        run("ip", "link", "add", self._bridge, "type", "bridge")
        run("ip", "address", "add", f"{self.address}/24", "dev", self._bridge)
        run("ip", "link", "set", self._bridge, "up")
        for number, host in enumerate(self.hosts):
            ours = f"hfv{self._tag}{number:x}"
            run("ip", "netns", "add", host.name)
            run("ip", "link", "add", ours, "type", "veth", "peer", "eth0", "netns", host.name)
            run("ip", "link", "set", ours, "master", self._bridge, "up")
            inside = ("ip", "-n", host.name)
            run(*inside, "address", "add", f"{host.address}/24", "dev", "eth0")
            run(*inside, "link", "set", "lo", "up")
            run(*inside, "link", "set", "eth0", "up")
            run(*host.prefix, "nft", "-f", "-", text=RULES)

    def close(self) -> None:
        """Remove what was made; processes inside must have ended."""
        for host in self.hosts:
            if Path("/run/netns", host.name).exists():
                run("ip", "netns", "delete", host.name)
        if Path("/sys/class/net", self._bridge).exists():
            run("ip", "link", "delete", self._bridge)


def run(*argv: str, text: str | None = None) -> str:
    """Run a short command; raises ``CalledProcessError`` with what it said."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        argv, input=text, capture_output=True, text=True, check=False, timeout=20
    )
    if done.returncode:
        raise subprocess.CalledProcessError(
            done.returncode, _shown(argv), done.stdout, done.stderr or done.stdout
        )
    return done.stdout


def _shown(argv: Sequence[str]) -> str:
    return " ".join(argv)
