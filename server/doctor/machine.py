"""Checks that need only this machine: settings, versions and disk."""

import difflib
import platform
import shutil
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from confluent_kafka import libversion

from data.clock import Clock, wall_clock
from data.project import PROJECT_FILE
from data.units import DAY_US
from server.api_keys import ApiKey
from server.doctor.finding import Finding, fail, looked, ok, warn
from server.settings import Settings, environment_of, variables

__all__ = ["look_at_machine"]

_OTHERS = ("OTEL_", "MLFLOW_")
_NEAR = 0.85
"""Similarity of two names, 0 to 1, from which one is taken for a misspelling of the other."""

_SOON_US = 7 * DAY_US
"""Time before the end of a key at which to warn, so that its bearers can get another."""

_LOW, _FULL = 0.1, 0.02
"""Free shares of the disk below which to warn, and to fail."""


def look_at_machine(settings: Settings, clock: Clock = wall_clock) -> Iterator[Finding]:
    """Yield findings about settings, keys, versions, and room on the home's disk."""
    yield from _settings(settings)
    yield from _keys(settings.keys, clock())
    yield ok(
        "versions",
        f"Encore {version('encore-features')}, Python {platform.python_version()}, Feast {version('feast')}, "
        f"librdkafka {libversion()[0]}",
    )
    yield from looked("disk", lambda: _disk(settings.home))


def _settings(settings: Settings) -> Iterator[Finding]:
    folder = settings.declared.folder
    source = f"the environment and {folder / PROJECT_FILE}" if folder else "the environment"
    yield ok("settings", f"from {source}; project {settings.project}, home {settings.home}")
    for name, nearest in _near_misses(settings).items():
        yield warn("settings", f"{name} is not a setting, and does nothing", f"if {nearest} is meant, name it so")


def _keys(keys: Sequence[ApiKey], now_us: int) -> Iterator[Finding]:
    for key in keys:
        if key.has_ended(now_us):
            yield warn("API keys", f"{key.name} ended with {key.until}", "take it out, or `encore key` makes another")
        elif key.has_ended(now_us + _SOON_US):
            yield warn("API keys", f"{key.name} ends with {key.until}", "`encore key` makes another")


def _near_misses(settings: Settings) -> dict[str, str]:
    """Return environment variables that are no settings but resemble one, with that setting's name.

    Variables with other programs' prefixes are left out; unknown ENCORE_ variables were refused before.
    """
    names = variables()
    candidates = [name for name in names if not name.startswith(_OTHERS)]
    matches = {
        name: difflib.get_close_matches(name, candidates, n=1, cutoff=_NEAR)
        for name in sorted(environment_of(settings))
        if name not in names and not name.startswith(_OTHERS)
    }
    return {name: nearest[0] for name, nearest in matches.items() if nearest}


def _disk(home: Path) -> Iterator[Finding]:
    folder = next(path for path in (home, *home.parents) if path.exists())
    disk = shutil.disk_usage(folder)
    share, message = (
        disk.free / disk.total,
        f"{disk.free / 2**30:,.1f} of {disk.total / 2**30:,.1f} GB are free at {folder}",
    )
    advice = "give it more, or set ENCORE_PREDICTIONS_KEPT lower"
    if share < _FULL:
        yield fail("disk", message, advice)
    elif share < _LOW:
        yield warn("disk", message, advice)
    else:
        yield ok("disk", message)
