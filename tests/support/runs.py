"""Which run a test belongs to follows from what it needs, so that nobody has to mark it.

    unit           nothing beside Python            make test-unit
    integration    a broker, a store, a server      make test, with the above
    slow           a kind of SLOW                   make test-all, with the above

A test is of the first kind that its fixtures name. Tests that start servers without a fixture of conftest.py say so by
`pytestmark = pytest.mark.integration`, or with a kind of SLOW; a unit test that starts one fails.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from server.process.server_process import ServerProcess

__all__ = ["FIXTURES", "SLOW", "no_servers", "sort_into_runs"]

SLOW = {
    "spark": "starts Spark",
    "browser": "drives Chromium",
    "cluster": "starts several brokers or stores that are one",
    "system": "starts the whole of Encore",
    "chaos": "harms a running system for a minute",
    "fuzz": "asks the API everything that its description allows",
}
"""The kinds of slow tests, and what is slow about them."""

FIXTURES = {
    "spark": "spark",
    "browser": "browser",
    "store_cluster": "cluster",
    "cluster": "cluster",
    "broker": "integration",
    "kafka_jars": "integration",
    "store": "integration",
    "redis_client": "integration",
}
"""What a test is that asks for such a fixture, directly or by another one; the first that holds."""

PARAMETERS = {"cluster": "cluster", "redis": "integration"}
"""What a test is one of whose parameters chooses where states are kept."""


def sort_into_runs(items: list[pytest.Item]) -> None:
    """Mark each test `unit`, `integration`, or `slow` with its kind."""
    for item in items:
        kind = _kind(item)
        if kind in SLOW:
            item.add_marker("slow")
        item.add_marker(kind)


def _kind(item: pytest.Item) -> str:
    marked = [kind for kind in (*SLOW, "integration") if item.get_closest_marker(kind)]
    parameters = getattr(getattr(item, "callspec", None), "params", {}).values()
    asked = {value for value in parameters if isinstance(value, str)}
    chosen = [kind for value, kind in PARAMETERS.items() if value in asked]
    fixtures = [kind for name, kind in FIXTURES.items() if name in getattr(item, "fixturenames", ())]
    found = [*marked, *chosen, *fixtures, "unit"]
    return next((kind for kind in found if kind in SLOW), found[0])


@contextmanager
def no_servers(item: pytest.Item) -> Iterator[None]:
    """While this is open, starting a broker or store fails if the test is a unit test."""
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("unit"):

            def refuse(server: ServerProcess) -> None:
                raise AssertionError(
                    f"a unit test starts a server ({server.name}): ask for a fixture of tests/conftest.py that runs "
                    "one, or mark the test `integration`"
                )

            patch.setattr(ServerProcess, "launch", refuse)
        yield
