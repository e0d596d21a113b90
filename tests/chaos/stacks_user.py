"""A user of stacks over the public API, who asks again until there is an answer."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any, Final

import msgspec
from tests.chaos.client import NO_ANSWER, RETRY_S, UNAVAILABLE, Client
from tests.chaos.processes import ChaosError
from tests.chaos.stacks_counted import NAME
from tests.chaos.stacks_provider import Wanted

Template = dict[str, Any]

AGAIN: Final = (NO_ANSWER, UNAVAILABLE, 401)


def template_of(resources: Mapping[str, Mapping[str, Any]]) -> Template:
    """A template of these resources, by name: their properties, and what they come after."""
    return {
        "heat_template_version": "2021-04-16",
        "resources": {
            name: {
                "type": NAME,
                "properties": {key: one[key] for key in one.keys() - {"depends_on"}},
                **({"depends_on": one["depends_on"]} if "depends_on" in one else {}),
            }
            for name, one in resources.items()
        },
    }


def random_graph(chance: random.Random, count: int, *, width: int = 24) -> Template:
    """Each resource comes after up to three of those shortly before it, by name or by value."""
    resources: dict[str, dict[str, Any]] = {}
    names = [f"r{number:03}" for number in range(count)]
    for number, name in enumerate(names):
        near = names[max(0, number - width) : number]
        before = chance.sample(near, min(len(near), chance.randint(0, 3)))
        split = chance.randint(0, len(before))
        one: dict[str, Any] = {"value": f"{name} at first"}
        if chance.random() < 0.3:
            one["rest_s"] = round(chance.uniform(0.1, 0.8), 2)
        if before[:split]:
            one["after"] = [{"get_attr": [other, "value"]} for other in before[:split]]
        if before[split:]:
            one["depends_on"] = before[split:]
        resources[name] = one
    return template_of(resources)


def wanted_of(stack: str, template: Template) -> Wanted:
    """What a provider has when a stack is what its template says."""
    return {
        (stack, name): one["properties"]["value"] for name, one in template["resources"].items()
    }


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A stack, as the API shows it."""

    id: str
    status: str
    reason: str


class User:
    """One user. Answers that were lost are looked for, as any sane client does."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._project = ""

    async def log_in(self) -> None:
        found = await self.client.read("/identity/v3/auth/projects")
        self._project = found["projects"][0]["id"]

    def _path(self, stack: str = "", more: str = "") -> str:
        below = f"/{stack}" if stack else ""
        return f"/orchestration/v1/{self._project}/stacks{below}{more}"

    async def _ask(self, method: str, path: str, body: Any, stack: str) -> tuple[int, Any]:
        """Asked again until there is an answer; the status and document of the first one."""
        while True:
            status, document = await self.client.ask(
                method, path, body, what=f"{method} stack", node=stack
            )
            if status not in AGAIN:
                return status, document
            await asyncio.sleep(RETRY_S)

    async def asked(self, method: str, stack: str, template: Template) -> tuple[int, Any]:
        """One creation (POST) or update (PUT), and whatever it was answered."""
        place, more = "", {"stack_name": stack}
        if method == "PUT":
            shown = await self.show(stack)
            assert shown is not None
            place, more = f"{stack}/{shown.id}", {}
        return await self._ask(method, self._path(place), {"template": template, **more}, stack)

    async def create(self, stack: str, template: Template, **more: Any) -> None:
        body = {"stack_name": stack, "template": template, **more}
        status, said = await self._ask("POST", self._path(), body, stack)
        if status == 409:  # an answer was lost: it is there
            return
        _require(status, (201,), f"create {stack}", said)

    async def update(self, stack: str, template: Template, **more: Any) -> None:
        shown = await self.show(stack)
        assert shown is not None
        body = {"template": template, **more}
        status, said = await self._ask("PUT", self._path(f"{stack}/{shown.id}"), body, stack)
        _require(status, (202,), f"update {stack}", said)

    async def cancel(self, stack: str, how: str = "cancel_update") -> int:
        """Whatever the answer is: it may be too late."""
        shown = await self.show(stack)
        assert shown is not None
        path = self._path(f"{stack}/{shown.id}", "/actions")
        status, _ = await self._ask("POST", path, {how: None}, stack)
        return status

    async def delete(self, stack: str) -> None:
        shown = await self.show(stack)
        if shown is None:
            return
        status, said = await self._ask("DELETE", self._path(f"{stack}/{shown.id}"), None, stack)
        _require(status, (204, 404), f"delete {stack}", said)

    async def show(self, stack: str) -> Shown | None:
        """A stack by name; None if there is none."""
        while True:
            status, document = await self.client.ask("GET", self._path(stack))
            if status == 404:
                return None
            if status == 200:
                one = document["stack"]
                return Shown(
                    id=one["id"], status=one["stack_status"], reason=one["stack_status_reason"]
                )
            if status not in AGAIN:
                raise ChaosError(f"show {stack}: {status} {document}")
            await asyncio.sleep(RETRY_S)

    async def settled(self, stack: str, within_s: float, look_s: float = 0.3) -> Shown | None:
        """The stack once nothing is in progress; None if it is gone."""
        end = time.monotonic() + within_s
        while True:
            shown = await self.show(stack)
            if shown is None or not shown.status.endswith("IN_PROGRESS"):
                return shown
            if time.monotonic() > end:
                raise ChaosError(f"{stack}: {shown.status} for more than {within_s:g} s")
            await asyncio.sleep(look_s)

    async def resources(self, stack: str) -> dict[str, str]:
        """Name -> status of a stack's resources."""
        shown = await self.show(stack)
        assert shown is not None
        found = await self.client.read(self._path(f"{stack}/{shown.id}", "/resources"))
        return {one["resource_name"]: one["resource_status"] for one in found["resources"]}


def _require(status: int, wanted: tuple[int, ...], what: str, said: Any) -> None:
    if status not in wanted:
        raise ChaosError(f"{what}: {status} {said}")
