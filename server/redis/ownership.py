"""The project of a home: chosen once, on its first use of a Redis, and checked whenever states are written."""

import re
import uuid
from collections.abc import Callable, Iterator
from itertools import count

import redis

from data.log.identity import Identity, make_identity, read_identity
from data.project import PROJECT
from features.state.online.owner import Ownership
from server.event_log import open_log
from server.redis.connections import connect_redis
from server.settings import Settings
from server.storage import log_storage

__all__ = ["claim_project", "require_own"]


def claim_project(settings: Settings, say: Callable[[str], None] = lambda _: None) -> Settings:
    """Claim the states of the home's project in Redis for this home; return the settings with that project.

    A home without a project takes the one that the settings name; if they name none, `encore`, or, if that is another
    home's in this Redis, one named after its folder, which is reported by `say`.

    Raises ConfigurationError, naming the owner, if the states are another home's; UnavailableError without Redis.
    """
    with connect_redis(settings) as client:
        identity = read_identity(log_storage(settings))
        if identity is None:
            fresh_identity = _new_identity(settings, client)
            identity = make_identity(log_storage(settings), fresh_identity)
            if identity != fresh_identity:  # another command of this home was quicker
                Ownership(client, fresh_identity.project).release_from(fresh_identity)
            if identity.project not in {PROJECT, settings.project}:
                say(
                    f"Redis holds another home's states under the project {PROJECT}; {settings.home} is the project "
                    f"{identity.project}, with keys, topics and a group of its own"
                )
        if "project" not in settings.model_fields_set:
            settings = settings.model_copy(update={"project": identity.project})
        Ownership(client, settings.project).claim(identity, str(settings.home))
    return settings


def require_own(settings: Settings, client: "redis.Redis") -> None:
    """Raise ConfigurationError, naming the owner, if the states that these settings read are another home's.

    A home without a log of its own, such as a server's on another machine, may read any project.
    """
    Ownership(client, settings.project).require(read_identity(log_storage(settings)))


def _new_identity(settings: Settings, client: "redis.Redis") -> Identity:
    """Return an identity for a home that has none; if no project is named, with the first name that it can claim.

    If several new homes try a name at once, one gets it and the others try the next.
    """
    fresh = Identity(uuid.uuid4().hex, settings.project)
    if "project" in settings.model_fields_set:
        Ownership(client, settings.project).require(fresh)
        return fresh
    # States without an owner may be those of an older Encore's home, if this home has events.
    has_events = bool(open_log(settings).listing())
    ownerships = ((name, Ownership(client, name)) for name in _names(settings))
    return next(
        Identity(fresh.id, name)
        for name, ownership in ownerships
        if (ownership.is_free() or (has_events and ownership.owner() is None))
        and ownership.take(fresh, str(settings.home))
    )


def _names(settings: Settings) -> Iterator[str]:
    """Yield the default project, then names derived from the home's folder."""
    yield PROJECT
    name = re.sub(r"[^a-z0-9]+", "_", settings.home.name.lower()).strip("_")[:40] or "home"
    yield name
    yield from (f"{name}_{number}" for number in count(2))
