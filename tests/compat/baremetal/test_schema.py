"""schemathesis (from the registry) against our own OpenAPI document: no request makes a 500.

What is done by these requests is done to a real system: members are told to drain and jobs to
be cancelled, by ids that nobody has.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import APIOperation, Case
from schemathesis.core.result import Ok
from tests.compat.clients import Client
from tests.compat.system import System

pytestmark = pytest.mark.compat

EXAMPLES = 30
STREAM = "/cluster/v1/events/stream"  # it never ends: who asks for it waits


@pytest.fixture(scope="module")
def session(client: Client) -> Iterator[requests.Session]:
    """The administrator's requests."""
    with requests.Session() as session:
        session.headers["X-Auth-Token"] = client.json("token", "issue")["id"]
        yield session


@pytest.fixture(scope="module")
def operations(system: System, session: requests.Session) -> list[APIOperation]:
    """Every operation of the schema."""
    document = session.get(f"{system.url}/cluster/schema", timeout=30).json()
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=system.url)
    results = list(schema.get_all_operations())
    found = [result.ok() for result in results if isinstance(result, Ok)]
    assert len(found) == len(results), "an operation whose schema makes no sense"
    return [operation for operation in found if operation.path != STREAM]


def test_no_operation_of_our_schema_can_be_made_to_answer_500(
    operations: list[APIOperation], session: requests.Session
):
    assert len(operations) > 10
    for operation in operations:

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        )
        @given(case=operation.as_strategy())
        def ask(case: Case) -> None:
            answer = case.call(session=session, timeout=30)
            assert answer.status_code < 500, f"{answer.status_code}: {case.as_curl_command()}"

        ask()


def test_every_answer_to_a_proper_question_is_as_the_schema_says(
    operations: list[APIOperation], session: requests.Session, system: System
):
    """The operations that ask for nothing in particular."""
    plain = [o for o in operations if o.method == "get" and "{" not in o.path]
    assert plain
    for operation in plain:
        answer = session.get(system.url + operation.path, timeout=30)
        assert answer.status_code == 200, operation.path
        assert answer.headers["Content-Type"].startswith("application/json")
