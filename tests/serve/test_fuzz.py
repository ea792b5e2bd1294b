"""Questions made up from the description of the API: every answer is one that the description declares."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

pytestmark = pytest.mark.slow
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


CALM = settings(
    max_examples=60, deadline=None, database=None, phases=(Phase.explicit, Phase.generate), derandomize=True,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip


def test_every_answer_is_a_declared_one(server):
    schema = schemathesis.openapi.from_url(f"{server.address}/api/openapi.json")
    tried = []
    for found in schema.get_all_operations():

        @CALM
        @given(found.ok().as_strategy())
        def ask(case) -> None:
            case.call_and_validate(base_url=server.address, checks=CHECKS)
            tried.append(case.path)

        ask()
    assert len(tried) > 800
