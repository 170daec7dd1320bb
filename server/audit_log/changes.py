"""Recording changes: what a home is before and after, who makes it another one, and whether that went well."""

import logging
import os
import pwd
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from hashlib import sha256
from typing import Any, NamedTuple

import msgspec
import redis

from data.clock import Clock, wall_clock
from data.errors import ConfigurationError, EncoreError, ModelError, StateError, UnavailableError
from data.units import from_micros
from features.plan.cache import kept_plan
from model.registry.published import CHALLENGER, CHAMPION
from server.audit_log.entries import AuditLog, Entry, Hidden, State, new_id
from server.event_log import open_log
from server.published import open_registry
from server.redis.connections import connect_redis
from server.redis.editions import editions_of
from server.settings import Settings, names_in_home
from server.shown_settings import public_settings, secret_settings

__all__ = ["Asker", "hashed", "note", "note_settings", "open_audit_log", "recorded", "this_user"]

_log = logging.getLogger(__name__)

_noted: ContextVar[dict[str, str] | None] = ContextVar("noted", default=None)

_API = "settings of the API"


class Asker(NamedTuple):
    """Who asks for a change, and the route of the API by which; written `who through route` where it is handed on."""

    who: str
    through: str = ""

    def __str__(self) -> str:
        return f"{self.who} through {self.through}" if self.through else self.who

    @classmethod
    def parse(cls, text: str) -> "Asker":
        """Return who is written."""
        who, _, through = text.rpartition(" through ")
        return cls(who, through) if who else cls(through)


def this_user() -> str:
    """Return the name of the operating system's user whose process this is, or its number."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"


def hashed(value: object) -> str:
    """Return what stands for a person's id: equal for equal ids, and no id."""
    return f"sha256:{sha256(str(value).encode()).hexdigest()[:16]}"


def open_audit_log(settings: Settings) -> AuditLog:
    """Return the audit log of the settings' home."""
    return AuditLog(settings.audit_log)


def note(**facts: Any) -> None:
    """Let the entry of the change that is being made say more of it. Nothing is noted where none is."""
    noted = _noted.get()
    if noted is not None:
        noted.update({name: str(value) for name, value in facts.items()})


@contextmanager
def recorded(
    settings: Settings,
    what: str,
    given: Mapping[str, Any],
    *,
    by: Asker | None = None,
    if_changed: bool = False,
    personal: bool = False,
    clock: Clock = wall_clock,
) -> Iterator[None]:
    """Record what is done within the block: that it begins, and how it ended and what it changed.

    `by` is who asked for it, by default as the settings say or this process's user. A home that is not there yet, or is
    none of ours, gets its line at the end, where it is one by then. `if_changed`: only where something changed, or was
    noted.
    `personal`: of an error, which may name a person, its kind alone.

    Raises OSError, with nothing done, where the beginning cannot be recorded.
    """
    by = by or (Asker.parse(settings.asked_by) if settings.asked_by else Asker(this_user()))
    log, hidden, began = open_audit_log(settings), Hidden(secret_settings(settings)), time.monotonic()
    entry = Entry(
        id=new_id(),
        at=from_micros(clock()).isoformat(timespec="microseconds"),
        who=hidden(by.who),
        what=hidden(what),
        through=hidden(by.through),
        given=hidden.fields(given),
    )
    before, is_home = _look(settings), _is_home(settings)
    if is_home and not if_changed:
        log.record(entry)
    noted: dict[str, str] = {}
    token = _noted.set(noted)
    state: State = "done"
    error = ""
    try:
        yield
    except BaseException as raised:
        state, error = _outcome(raised), type(raised).__name__ if personal else hidden.error(raised)
        raise
    finally:
        _noted.reset(token)
        changed = hidden.moved(before, _look(settings))
        if (is_home or _is_home(settings)) and (changed or noted or not if_changed):
            try:
                log.record(
                    msgspec.structs.replace(
                        entry,
                        state=state,
                        seconds=round(time.monotonic() - began, 3),
                        changed=changed,
                        noted=hidden.fields(noted),
                        error=error if state != "done" else "",
                    )
                )
            except OSError as full:  # it is done by now, and its beginning is recorded
                _log.warning("the audit log in %s lacks the end of a change: %s", log.folder, full)


def note_settings(settings: Settings, *, clock: Clock = wall_clock) -> None:
    """Record how the settings of a server that starts, and the keys among them, differ from those before."""
    path = settings.audit_log / "settings.json"
    now = public_settings(settings)
    now |= {f"key {key.name}": f"{key.role}, {key.until or 'for ever'}, {key.sha256[:8]}" for key in settings.keys}
    try:
        before = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        before = {}
    hidden = Hidden(secret_settings(settings))
    changed = hidden.moved(before, now)
    if not changed:
        return
    at = from_micros(clock()).isoformat(timespec="microseconds")
    try:
        log = open_audit_log(settings)
        log.record(Entry(id=new_id(), at=at, who=this_user(), what=_API, state="done", changed=changed))
        path.write_bytes(msgspec.json.encode(now))
    except OSError as error:  # a home that is only read
        _log.warning("the audit log in %s cannot be written: %s", settings.audit_log, error)


def _outcome(raised: BaseException) -> State:
    if isinstance(raised, KeyboardInterrupt):
        return "interrupted"
    if getattr(raised, "exit_code", None) == 0:  # how Typer ends a command
        return "done"
    return "refused" if isinstance(raised, ConfigurationError | ModelError) else "failed"


def _is_home(settings: Settings) -> bool:
    return any((settings.home / name).exists() for name in names_in_home())


def _look(settings: Settings) -> dict[str, str]:
    """What of a home changes by commands, in short. What cannot be read is left out."""
    found: dict[str, str] = {}
    registry = open_registry(settings)
    with suppress(EncoreError, OSError):
        for target in registry.targets():
            found[f"model {target} newest"] = registry.versions(target)[-1]
            for alias in (CHAMPION, CHALLENGER):
                with suppress(EncoreError):
                    version, share = registry.resolve_share(target, alias)
                    found[f"model {target} {alias}"] = f"{version} {share:.0%}" if share else version
    with suppress(EncoreError, OSError):
        plan = kept_plan(settings.plan)
        found |= {"plan": plan.hash} if plan is not None else {}
    with suppress(EncoreError, OSError):
        log = open_log(settings)
        for source in log.sources():
            coverage = log.coverage(source).values()
            rows = sum(len(one) for partition in coverage for one in partition.consumed)
            lost = sum(len(one) for partition in coverage for one in partition.lost)
            # What is streamed grows all the time.
            found[f"log {source}"] = "streamed" if source.startswith("kafka-") else f"{rows} offsets"
            found |= {f"log {source} lost": f"{lost} offsets"} if lost else {}
    with suppress(OSError):
        found["interventions measured"] = sha256((settings.quality / "uplift.json").read_bytes()).hexdigest()[:16]
    if settings.storage or settings.log.exists():
        with suppress(UnavailableError, StateError, ConfigurationError, redis.RedisError, OSError):
            with connect_redis(settings) as client:
                standing = editions_of(client, settings).read()
            if standing is not None:
                found["states"] = f"plan {standing.live.plan}, edition {standing.live.id or 'first'}, {standing.stage}"
    return found
