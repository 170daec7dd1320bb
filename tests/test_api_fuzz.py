"""The API against its own description: whatever Schemathesis makes of it, answers are described and none is a bug."""

import threading
from collections.abc import Iterator

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, Phase, settings
from polling import poll_until
from redis import Redis
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from serving import NOON, fold_events, make_app, make_home, plan, promote, tiny_model

from data.clock import ManualClock
from features.online import OnlineStates
from server.embedded import Store
from server.server_process import free_port

OURS = r"^/(predict|rank|features|products|health|metrics|model/)"
"""What reads and scores; the routes that start training have tests of their own."""


@pytest.fixture(scope="module")
def described(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[schemathesis.BaseSchema]:
    """The description of a real server on a thread."""
    home = make_home(tmp_path_factory.mktemp("fuzz"))
    promote(home, tiny_model(plan().names))
    with Redis(host=store.host, port=store.port) as client:
        client.flushall()
        fold_events(OnlineStates(client))
    port = free_port()
    app = make_app(home, store.host, store.port, ManualClock(NOON))
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", access_log=False))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        poll_until(lambda: server.started)
        yield schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/openapi.json").include(path_regex=OURS)
    finally:
        server.should_exit = True
        thread.join()


schema = schemathesis.pytest.from_fixture("described")


@schema.parametrize()
@settings(
    max_examples=15, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)
def test_every_answer_is_as_described(case: schemathesis.Case) -> None:
    # What JSON Schema cannot say (that an id is printable, that a time is no earlier than an event) is refused with 422,
    # and a query string's texts are read as numbers and truth values more kindly than it says.
    case.call_and_validate(excluded_checks=[positive_data_acceptance, negative_data_rejection])
