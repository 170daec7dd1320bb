"""What pytest is told of this suite: which run a test belongs to, and where its fixtures are."""

import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest
from made_once import keep_for_the_run
from runs import ALONE, KINDS, longest_first, no_servers, says_no_unit_tests, sort_into_runs
from thorough import BY_DEFAULT, so_many

_IMPORTED = pytest.StashKey[frozenset[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Name the markers, which are given by `runs`, and let a busy machine be slow, but not fail.

    Pytest's workers share the processors: with a thread for each of these in every worker, all wait for each other.
    A shell lets what it runs in the background ignore Ctrl-C, which their children inherit and tests send.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    hypothesis.settings.register_profile("any machine", deadline=None, max_examples=so_many(BY_DEFAULT))
    if not config.getoption("--hypothesis-profile"):
        hypothesis.settings.load_profile("any machine")
    keep_for_the_run(config)
    if hasattr(config, "workerinput") or not config.getoption("tx", None):
        # Not where pytest only starts workers: they wait until it has imported all this.
        config.pluginmanager.import_plugin("shared_fixtures")
    for name, meaning in KINDS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave files unread that say of all their tests that they are no unit tests, where only these are asked for.

    To import what all files need takes as long as the unit tests.
    """
    if config.option.markexpr == "unit" and collection_path.suffix == ".py":
        return says_no_unit_tests(collection_path.read_text()) or None
    return None


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses by them
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark every test by what it needs; leave out those with a run of their own unless `-m` names it."""
    others = [kind for kind in ALONE if kind not in config.option.markexpr]
    left_out = [item for item in items if any(map(item.get_closest_marker, others))]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
    sort_into_runs(items)
    longest_first(items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Note what collecting has imported, in each of pytest's workers."""
    session.config.stash[_IMPORTED] = frozenset(sys.modules)


@pytest.fixture
def imported_by_collecting(pytestconfig: pytest.Config) -> frozenset[str]:
    """The modules that the files of tests import when they are read, whichever of their tests run."""
    return pytestconfig.stash[_IMPORTED]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Hold unit tests to what they are."""
    with no_servers(item):
        return (yield)
