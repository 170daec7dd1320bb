"""The API against its own description: whatever Schemathesis makes of it, answers are described and none is a bug."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from redis import Redis
from serving import NOON, fold_events, make_app, make_home, plan, promote, served, tiny_model

from data.clock import ManualClock
from features.state.online.states import OnlineStates
from server.process.store import Store

if TYPE_CHECKING:  # Schemathesis takes two seconds to import
    from schemathesis import Case
    from schemathesis.schemas import APIOperation
    from schemathesis.specs.openapi.schemas import OpenApiSchema

pytestmark = pytest.mark.fuzz

ACCEPTED = ["2xx", "404", "422"]
"""What may answer a question that is as described: what it asks about may be unknown, and JSON Schema cannot say that a
time is no earlier than what is known, that a feature exists, or what is printable."""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("fuzz"))


@pytest.fixture(scope="module")
def described(store: Store, home: Path) -> Iterator["OpenApiSchema"]:
    """The description of a real server on a thread."""
    import schemathesis
    from schemathesis import config as say
    from schemathesis.specs.openapi.schemas import OpenApiSchema

    promote(home, tiny_model(plan().names))
    with Redis(host=store.host, port=store.port) as client:
        client.flushall()
        fold_events(OnlineStates(client))
    app = make_app(home, store.host, store.port, ManualClock(NOON))
    with served(app, access_log=False) as port:
        accepted = say.PositiveDataAcceptanceConfig(expected_statuses=ACCEPTED)
        project = say.ProjectConfig(checks=say.ChecksConfig(positive_data_acceptance=accepted))
        config = say.SchemathesisConfig(projects=say.ProjectsConfig(default=project))
        found = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json", config=config)
        # Promoting, retraining and forgetting start processes: test_model_routes.py and test_privacy.py test them.
        safe = found.exclude(path_regex="^/(models|privacy)", method="POST")
        assert isinstance(safe, OpenApiSchema)
        yield safe


REPEATABLE = settings(
    max_examples=30,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def cases(operation: "APIOperation[Any, Any, Any, Any]") -> "st.SearchStrategy[Case[Any]]":
    """Questions as the description allows them and, where there is anything to get wrong, others."""
    from schemathesis import GenerationMode

    said = operation.as_strategy()
    if not (operation.body or operation.query or operation.path_parameters):
        return said
    return said | operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)


# A loop and not `schema.parametrize()`: that one reaches into pytest where pytest 9.2 has moved.
def test_every_answer_is_as_described(described: "OpenApiSchema", home: Path, subtests: pytest.Subtests) -> None:
    """Asked by the home's administrator, whom some routes are for."""
    from schemathesis.core.result import Ok

    with requests.Session() as session:
        session.headers["X-API-Key"] = (home / "run" / "admin.key").read_text().strip()
        for operation in (result.ok() for result in described.get_all_operations() if isinstance(result, Ok)):
            with subtests.test(operation.label):

                @given(case=cases(operation))
                @REPEATABLE
                def ask(case: "Case[Any]") -> None:
                    case.call_and_validate(session=session)

                ask()
