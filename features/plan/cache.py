"""The compiled plan kept in a file: compiling imports Featuretools (seconds), reading it back takes milliseconds."""

import hashlib
from pathlib import Path

import msgspec

from data.atomic import write_whole
from features.plan.plan import Plan

__all__ = ["SOURCES", "fingerprint", "kept_plan", "load_plan"]

SOURCES = (
    "definitions.py",
    "entities.py",
    "kinds.py",
    "plan/compiler.py",
    "plan/entity_set.py",
    "plan/plan.py",
    "primitives.py",
)
"""The files of the package `features` that the plan is compiled from."""


class _Kept(msgspec.Struct, frozen=True):
    """A plan and the fingerprint of the source files that it was compiled from."""

    sources: str
    plan: Plan


def load_plan(path: Path) -> Plan:
    """Return the plan of the present definitions, compiled anew where the file at `path` is of others."""
    sources = fingerprint()
    kept = _read(path)
    if kept is not None and kept.sources == sources:
        return kept.plan
    from features.plan.compiler import compile_plan  # noqa: PLC0415 - it imports Featuretools, and mostly it need not

    plan = compile_plan()
    write_whole(path, msgspec.json.encode(_Kept(sources, plan)))
    return plan


def kept_plan(path: Path) -> Plan | None:
    """Return the plan in the file, whatever definitions it is of; None where there is none to read."""
    kept = _read(path)
    return None if kept is None else kept.plan


def _read(path: Path) -> _Kept | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept)
    except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def fingerprint(package: Path = Path(__file__).parents[1]) -> str:
    """The SHA-256 of the sources in the folder of `package`, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((package / name).read_bytes())
    return digest.hexdigest()
