"""`encore clean`: deletes a home and its states in Redis, if it is not in use and holds only Encore's files.

States are deleted first, since they can be rebuilt from the home after a failure. The audit log is kept.
"""

import shutil
from contextlib import suppress
from typing import Any, NamedTuple

import redis

from data.errors import ConfigurationError, StateError, UnavailableError
from data.lock import open_lock
from data.log.identity import Identity, read_identity
from features.state.editions.standing import Edition
from features.state.online.owner import Ownership
from features.state.online.states import OnlineStates
from server.process.home import processes_in
from server.redis.connections import connect_redis, heartbeats_of
from server.redis.editions import editions_of
from server.settings import Settings, names_in_home
from server.storage import log_storage

__all__ = ["Forgotten", "clean_home", "what_is_forgotten"]


class Forgotten(NamedTuple):
    """What `clean_home` deletes, in words (empty if there is no home), and what it leaves."""

    what: list[str]
    left: list[str]


def what_is_forgotten(settings: Settings, *, leave_redis: bool = False) -> Forgotten:
    """Return what `clean_home` would delete, without changing anything.

    Raises ConfigurationError if the home is in use or holds foreign files; UnavailableError if a Redis outside of the
    home, from which the states are to be deleted, does not answer.
    """
    home = settings.home
    if not home.exists() or list(home.iterdir()) == [settings.audit_log]:
        return Forgotten([], [])
    _refuse_foreign(settings)
    _refuse_in_use(settings)
    what, left = [f"{home} and all in it"], []
    identity = read_identity(log_storage(settings))
    if leave_redis:
        left.append(f"whatever Redis at {settings.redis_host}:{settings.redis_port} holds")
    elif identity is not None:
        try:
            with connect_redis(settings, timeout_s=10) as client:
                in_redis = _in_redis(settings, client, identity)
            (what if in_redis.own else left).append(in_redis.words)
        except UnavailableError:
            if not settings.store.exists():
                raise  # otherwise the store with the states is embedded in the home, and is deleted with it
    if settings.storage:
        left.append(f"{settings.storage}, with log, predictions and models")
    if identity is not None and not settings.broker.exists():
        names = settings.kafka_names
        left.append(
            f"the topics {names.events} and {names.predictions} and the group {names.group} in Kafka at "
            f"{settings.kafka_servers}"
        )
    if settings.audit_log.exists():
        left.append(f"the audit log in {settings.audit_log}")
    return Forgotten(what, left)


def clean_home(settings: Settings, *, leave_redis: bool = False) -> str:
    """Delete what `what_is_forgotten` returns; return what was done, in words. Raises as it does, with no change."""
    forgotten = what_is_forgotten(settings, leave_redis=leave_redis)
    if not forgotten.what:
        return f"{settings.home} is not there: nothing to forget"
    if len(forgotten.what) > 1:
        with connect_redis(settings, timeout_s=60) as client:
            _forget(settings, client)
    for path in settings.home.iterdir():
        if path != settings.audit_log:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    if not settings.audit_log.exists():
        settings.home.rmdir()
    return "\n".join(
        [f"deleted {' and '.join(forgotten.what)}", *(f"left as it is: {item}" for item in forgotten.left)]
    )


class _InRedis(NamedTuple):
    words: str
    own: bool


def _in_redis(settings: Settings, client: "redis.Redis", identity: Identity) -> _InRedis:
    """Return what Redis holds under the home's project, and whether it belongs to this home."""
    project, where = settings.project, f"Redis at {settings.redis_host}:{settings.redis_port}"
    try:
        owner = Ownership(client, project).owner()
        if owner is None or owner.id != identity.id:
            owner_words = f"the home {owner.home}" if owner else "nobody that is named"
            return _InRedis(f"what {where} holds of the project {project}: it is of {owner_words}", own=False)
        workers = [worker.worker for worker in heartbeats_of(client, settings).all()]
        count = sum(sum(states.counts().values()) for states in _all_states(settings, client))
    except (UnavailableError, redis.RedisError) as error:
        raise UnavailableError(
            f"{error}: the states of the project {project} at {settings.redis_host}:{settings.redis_port} cannot be "
            "forgotten; start that Redis, or give --leave-redis to delete the home alone. Nothing was deleted"
        ) from error
    if workers:
        raise ConfigurationError(
            f"{settings.home} is in use: stream workers of its project work ({', '.join(workers)}); stop them first"
        )
    return _InRedis(f"{count:,} states of the project {project} in {where}", own=True)


def _forget(settings: Settings, client: Any) -> None:
    """Delete the project's states and keys, the mark of their owner last."""
    for states in _all_states(settings, client):
        states.clear()
    mark = Ownership(client, settings.project)
    for pattern in (f"{settings.project}:*", f"{settings.project}@*"):
        for key in client.scan_iter(match=pattern, count=1000):
            if key.decode(errors="replace") != mark.key:
                client.unlink(key)
    mark.release()


def _all_states(settings: Settings, client: Any) -> list[OnlineStates]:
    """Return the states of every edition, by their plans, or by the present definitions if a plan is unreadable."""
    editions = editions_of(client, settings)
    all_editions = {Edition()}
    with suppress(StateError):
        standing = editions.read()
        all_editions |= {edition for edition in (standing.live, standing.other) if edition} if standing else set()
    schemas = {}
    for edition in all_editions:
        schemas[edition.id] = edition, settings.declared.schema
        with suppress(StateError):
            schemas[edition.id] = edition, editions.plan(edition).schema if edition.plan else settings.declared.schema
    return [editions.states(edition, schema) for edition, schema in schemas.values()]


def _refuse_foreign(settings: Settings) -> None:
    foreign = sorted(path.name for path in settings.home.iterdir() if path.name not in names_in_home())
    if foreign:
        raise ConfigurationError(
            f"{settings.home} holds what Encore did not make ({', '.join(foreign[:3])}); remove that, or delete it by "
            "hand"
        )


def _refuse_in_use(settings: Settings) -> None:
    working = processes_in(settings)
    if working:
        raise ConfigurationError(f"{settings.home} is in use by {', '.join(working)}; stop what runs there first")
    servers = (settings.store / "store.lock", settings.broker / "broker.lock", settings.apache_kafka / "broker.lock")
    for lock_path in (settings.run / "up.lock", settings.run / "predictions.lock", *servers):
        if lock_path.exists():
            try:
                open_lock(lock_path, wait=False).close()
            except BlockingIOError as error:
                raise ConfigurationError(
                    f"{settings.home} is in use ({lock_path}); stop what runs there first"
                ) from error
