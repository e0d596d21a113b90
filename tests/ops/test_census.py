"""The census as Prometheus sees it, and the alert rules that ask for it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import MagicMock
from uuid import uuid4

import pytest
import yaml
from prometheus_client import CollectorRegistry, Metric

from holdfast.bmc.gateway import GatewayCore
from holdfast.bmc.metrics import GatewayMetrics
from holdfast.ops import census as census_module
from holdfast.ops.broker import BrokerMetrics
from holdfast.ops.census import CensusMetrics
from holdfast.ops.metrics import page, registry
from holdfast.ops.roles import conductor, engine
from holdfast.ops.stack_metrics import StackCensus, StackCounts
from holdfast.sim.memstore import MemStore
from holdfast.store.broker.broker import Broker
from holdfast.store.model import Census, JobCount, JobState, MemberSpec, MemberState, Write
from holdfast.store.pg.database import Database
from holdfast.web.metrics import RequestMetrics

CASES = Path(__file__).with_name("holdfast.rules.test.yml")
RULES = Path(__file__).parents[2] / "deploy/prometheus/holdfast.rules.yml"


class Counted:
    """A store that answers one census."""

    async def census(self) -> Census:
        deploys = JobCount(
            queue=None,
            kind="node.deploy",
            state=JobState.QUEUED,
            jobs=7,
            oldest_s=12.5,
            overdue=1,
        )
        return Census(
            jobs=(deploys,),
            members={("conductor", MemberState.UP): 2},
            unowned={"": 3, "rack-2": 0},
        )


async def test_depth_and_age_of_the_queues_are_shown_x11():
    metrics = CensusMetrics(Counted())
    await metrics.count()
    made = registry("api")
    made.register(metrics)
    text = page(made).decode()
    labels = '{kind="node.deploy",queue="bound",state="queued"}'
    assert f"holdfast_jobs{labels} 7.0" in text
    assert f"holdfast_job_oldest_age_seconds{labels} 12.5" in text
    assert f"holdfast_jobs_overdue{labels} 1.0" in text
    assert 'holdfast_shards_unowned{group="default"} 3.0' in text


async def test_members_are_counted_by_role_and_state():
    store = MemStore(lambda: 0.0, {})
    await store.register(MemberSpec(id=uuid4(), role="api", slot="api-1", host="h"), 5)
    metrics = CensusMetrics(store)
    await metrics.count()
    (family,) = [m for m in metrics.collect() if m.name == "holdfast_members"]
    (sample,) = family.samples
    assert (sample.labels, sample.value) == ({"role": "api", "state": "up"}, 1.0)


async def test_numbers_that_are_too_old_are_not_shown(monkeypatch: pytest.MonkeyPatch):
    metrics = CensusMetrics(Counted())
    assert [family.name for family in metrics.collect()] == ["holdfast_census_age_seconds"]
    await metrics.count()
    assert len(list(metrics.collect())) > 1
    monkeypatch.setattr(census_module, "STALE_S", -1.0)
    assert [family.name for family in metrics.collect()] == ["holdfast_census_age_seconds"]


class Stacks:
    """A database with one stack."""

    async def fetch(self, *_: object) -> list[dict[str, Any]]:
        return [{"action": "CREATE", "status": "COMPLETE", "stacks": 1, "overdue": 0}]


def ended() -> Write:
    """The last line of a stack's history."""
    return Write(
        verb="insert",
        kind="stack_event",
        id=uuid4(),
        values={"action": "CREATE", "status": "FAILED", "resource": None},
    )


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


async def shown() -> dict[str, Metric]:
    """Every family of ours that some process of a deployment shows."""
    census = CensusMetrics(Counted())
    await census.count()
    gateway = GatewayMetrics()
    core = SimpleNamespace(breaker_counts=lambda: {"open": 0}, open_commands=lambda: 0)
    gateway.show(cast("GatewayCore", core))
    requests = CollectorRegistry()
    RequestMetrics(requests)
    found = {f.name: f for source in (census, gateway.registry, requests) for f in source.collect()}
    anything: Any = MagicMock()
    gauges = conductor._gauges(anything, anything) | engine._gauges(anything)
    for name, (text, _) in gauges.items():
        found[name] = Metric(name, text, "gauge")
    counted = CollectorRegistry()
    StackCounts(counted).note([ended()], 1.0)
    stacks = StackCensus(cast("Database", Stacks()))
    await stacks.count()
    broker = BrokerMetrics(Broker("amqp://b/", anything))
    found |= {f.name: f for source in (stacks, counted, broker) for f in source.collect()}
    return found


async def test_every_metric_that_a_rule_names_exists():
    there = await shown()
    named = {
        name
        for rule in rules()
        for name in re.findall(
            r"\b(?:holdfast|orchestration)_\w+",
            rule["expr"] + rule["annotations"]["description"],
        )
    }
    assert len(named) >= 8
    assert {name for name in named if name.removesuffix("_total") not in there} == set()


async def test_every_label_that_a_rule_asks_for_is_there():
    there = await shown()
    for rule in rules():
        for name, labels in re.findall(r"(holdfast_\w+)\{([^}]*)\}", rule["expr"]):
            samples = there[name.removesuffix("_total")].samples
            for label in re.findall(r"(\w+)\s*=~?\"", labels):
                assert all(label in sample.labels for sample in samples), (rule["alert"], label)


def test_x22_an_engine_that_is_down_is_alerted_on():
    [rule] = [rule for rule in rules() if rule["alert"] == "OrchestrationEngineDown"]
    assert rule["expr"] == "orchestration_engine_up == 0"


FUNCTIONS = {"absent", "by", "increase", "max", "min", "on", "rate", "sum", "vector"}


def test_every_expression_is_well_formed():
    """As far as that goes without Prometheus; ``promtool`` knows better, where it is."""
    for rule in rules():
        bare = re.sub(r'"[^"]*"', "", rule["expr"])
        for opening, closing in ("()", "{}", "[]"):
            assert bare.count(opening) == bare.count(closing), rule["alert"]
        called = set(re.findall(r"([a-z_]+)\s*\(", bare)) - {"and", "or", "unless"}
        assert called <= FUNCTIONS, rule["alert"]
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s")), rule["alert"]


def test_the_rules_fire_when_they_should_as_prometheus_says():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    for argv in (("check", "rules", str(RULES)), ("test", "rules", str(CASES))):
        done = subprocess.run([promtool, *argv], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_says_what_is_wrong_and_what_to_do():
    names = [rule["alert"] for rule in rules()]
    assert len(names) == len(set(names))
    for rule in rules():
        assert rule["labels"]["severity"] in ("info", "warning", "critical")
        assert len(rule["annotations"]["summary"]) > 10
        assert len(rule["annotations"]["description"]) > 30
