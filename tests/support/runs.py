"""Which run a test belongs to follows from what it needs, so that nobody has to mark it.

    unit           nothing beside Python, and is quick             make test-unit
    integration    the broker or store that a worker has started   make test, with the above
                   for all its tests, other processes, or time
    slow           a kind of SLOW                                  make test-all, with the above
    containers     docker-compose.yml in a container engine        make test-containers
    pages          the documents' commands, typed page by page      make test-pages

A test is of the slowest kind that its fixtures and parameters name. One that starts a server or another Python without
a fixture, or takes seconds, says so with `pytest.mark.integration` or a kind of SLOW. A unit test that starts a broker,
a store or a Python fails.
"""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import is_hypothesis_test

from server.process.server_process import ServerProcess

__all__ = [
    "ALONE",
    "KINDS",
    "SLOW",
    "longest_first",
    "no_servers",
    "says_no_unit_tests",
    "sort_into_runs",
]

SLOW = {
    "spark": "starts Spark",
    "browser": "drives Chromium",
    "system": "starts the whole of Encore",
    "kubernetes": "starts an API server of Kubernetes, where there is one",
    "chaos": "harms a running system for a minute",
    "fuzz": "gives bytes of any kind, or all that the API's description allows",
    "cluster": "starts several brokers or stores that are one",
    "broker": "starts a broker of its own",
    "long": "takes seconds",
}
"""Those whose files last longest come first."""

ALONE = {
    "containers": "runs docker-compose.yml in a container engine, by `make test-containers` alone",
    "pages": "types the commands of the documents, by `make test-pages` alone",
}
"""Kinds that last ten minutes by themselves, each with a run of its own."""

KINDS = {
    "unit": "needs nothing beside Python, and is quick",
    "integration": "needs a broker, a store or many seconds",
    "slow": "is of a kind that only `make test-all` runs",
    **ALONE,
    **SLOW,
}
"""Every mark that says where a test runs, and what it says."""

_BY_FIXTURE = {
    "spark": "spark",
    "browser": "browser",
    "cluster": "cluster",
    "store_cluster": "cluster",
    "broker": "integration",
    "store": "integration",
    "primary": "integration",
    "bucket": "integration",  # an object store in this process: its libraries take seconds
    "nothing": "integration",  # commands where nothing runs: each imports its libraries
    "redis_client": "integration",
}

_BY_PARAMETER = {"cluster": "cluster", "redis": "integration", "kafka": "integration", "classic kafka": "integration"}
"""By where a test's parameter keeps states or a topic; otherwise it is over their twins."""


def says_no_unit_tests(text: str) -> bool:
    """Whether a file of tests gives all of them a mark that no unit test has."""
    marks = re.findall(r"^pytestmark = (?:\[\n? *)?pytest\.mark\.(\w+)", text, re.MULTILINE)
    return not {"integration", *ALONE, *SLOW}.isdisjoint(marks)


def sort_into_runs(items: list[pytest.Item]) -> None:
    """Mark each test `unit`, `integration`, or `slow` with its kind."""
    for item in items:
        if any(map(item.get_closest_marker, ALONE)):
            continue
        kind = _kind(item)
        item.add_marker(kind)
        if kind in SLOW:
            item.add_marker("slow")


def longest_first(items: list[pytest.Item]) -> None:
    """Order files by how long they last, so that no worker is left with a long one at the end.

    By their slowest kind; within it by their tests, of which one of Hypothesis' lasts as long as many others.
    """
    kinds = (*SLOW, "integration", "unit", *ALONE)
    rank = dict[Path, int]()
    weight = Counter[Path]()
    for item in items:
        own = next(place for place, kind in enumerate(kinds) if item.get_closest_marker(kind))
        rank[item.path] = min(own, rank.get(item.path, own))
        weight[item.path] += 20 if is_hypothesis_test(getattr(item, "obj", None)) else 1
    items.sort(key=lambda item: (rank[item.path], -weight[item.path]))


def _kind(item: pytest.Item) -> str:
    slowest_first = (*SLOW, "integration")
    needed = {kind for kind in slowest_first if item.get_closest_marker(kind)}
    fixtures = getattr(item, "fixturenames", ())
    parameters = getattr(getattr(item, "callspec", None), "params", {}).values()
    if "kafka_jars" in fixtures and "broker" not in fixtures and not needed:
        needed.add("broker")
    needed |= {_BY_FIXTURE[name] for name in fixtures if name in _BY_FIXTURE}
    needed |= {_BY_PARAMETER[value] for value in parameters if isinstance(value, str) and value in _BY_PARAMETER}
    return next((kind for kind in slowest_first if kind in needed), "unit")


class _NoPython(subprocess.Popen[Any]):
    """A child process that is not Python: starting one takes a second, for what it imports."""

    def __init__(self, args: Any, *more: Any, **options: Any) -> None:
        program = args if isinstance(args, str) else str(next(iter(args)))
        if program == sys.executable:
            raise AssertionError(
                f"a unit test starts a Python ({args}): call what it runs, or mark the test `integration`"
            )
        super().__init__(args, *more, **options)


@contextmanager
def no_servers(item: pytest.Item) -> Iterator[None]:
    """While this is open, starting a broker, a store or a Python fails if the test is a unit test."""
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("unit"):

            def refuse(server: ServerProcess) -> None:
                raise AssertionError(
                    f"a unit test starts a server ({server.name}): ask for a fixture of "
                    "tests/support/shared_fixtures.py that runs one, or mark the test `integration` or `broker`"
                )

            patch.setattr(ServerProcess, "launch", refuse)
            patch.setattr(subprocess, "Popen", _NoPython)
        yield
