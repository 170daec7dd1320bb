"""The compiled plan kept in a file: compiling imports Featuretools (seconds), reading it back takes milliseconds."""

import hashlib
import traceback
from pathlib import Path

import msgspec

from data.atomic import write_whole
from data.errors import DefinitionError, SchemaError
from features.plan.plan import Plan

__all__ = ["SOURCES", "compile_definitions", "fingerprint", "kept_plan", "load_plan"]

_ROOT = Path(__file__).parents[2]

SOURCES = (
    "data/default_shop.py",
    "data/schema.py",
    "features/definitions.py",
    "features/entities.py",
    "features/kinds.py",
    "features/plan/compiler.py",
    "features/plan/entity_set.py",
    "features/plan/own.py",
    "features/plan/plan.py",
    "features/plan/where.py",
    "features/primitives.py",
    "features/summaries.py",
)
"""The files that the plan is compiled from."""

_EDITED = ("data/default_shop.py", "features/definitions.py", "features/entities.py", "features/primitives.py")
"""Those of them that a person edits."""


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
    plan = compile_definitions()
    write_whole(path, msgspec.json.encode(_Kept(sources, plan)))
    return plan


def compile_definitions() -> Plan:
    """Compile the present definitions into a plan.

    Raises `DefinitionError`, with file and line, for what is wrong in them.
    """
    try:
        from features.plan.compiler import compile_plan  # noqa: PLC0415 - it imports Featuretools (seconds)

        return compile_plan()
    except DefinitionError as error:
        place = _place(error)
        raise DefinitionError(f"{place}: {error}" if place else str(error)) from error
    except Exception as error:
        place = _place(error)
        if not place:
            raise
        raise DefinitionError(f"{place}: {type(error).__name__}: {error}; mend it there and run this again") from error


def _place(error: Exception) -> str:
    """Where in a file that a person edits an error came about; empty where it is not of one."""
    edited = {str(_ROOT / name) for name in _EDITED}
    if isinstance(error, SyntaxError) and error.filename in edited:
        return f"{error.filename}, line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in edited]
    return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


def kept_plan(path: Path) -> Plan | None:
    """Return the plan in the file, whatever definitions it is of; None where there is none to read."""
    kept = _read(path)
    return None if kept is None else kept.plan


def _read(path: Path) -> _Kept | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept)
    except (FileNotFoundError, msgspec.MsgspecError, SchemaError, UnicodeDecodeError, RecursionError):
        return None


def fingerprint(root: Path = _ROOT) -> str:
    """The SHA-256 of the sources under the folder `root`, in hexadecimal digits."""
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((root / name).read_bytes())
    return digest.hexdigest()
