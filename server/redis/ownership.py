"""Which project a home is: chosen once, when it first comes to a Redis, and checked whenever states are written."""

import re
import uuid
from collections.abc import Callable, Iterator
from itertools import count

import redis

from data.log.identity import Identity, make_identity, read_identity
from data.project import PROJECT
from features.state.owner import Ownership
from server.event_log import open_log
from server.redis.connections import connect_redis
from server.settings import Settings
from server.storage import log_storage

__all__ = ["claim_project", "require_own"]


def claim_project(settings: Settings, say: Callable[[str], None] = lambda _: None) -> Settings:
    """Return the settings with the home's project, whose states in Redis belong to this home from now on.

    A home that has no project yet becomes the one that the settings name. Where they name none it is `encore`, or,
    where that is another home's in this Redis, one named after its folder, of which `say` is told.

    Raises ConfigurationError, by name, where the states are another home's, UnavailableError without Redis.
    """
    with connect_redis(settings) as client:
        identity = read_identity(log_storage(settings))
        if identity is None:
            made = _new_identity(settings, client)
            identity = make_identity(log_storage(settings), made)
            if identity != made:  # another command of this home was quicker
                Ownership(client, made.project).release_from(made)
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
    """Raise ConfigurationError, by name, where the states that these settings read are another home's.

    A home without a log of its own, as a server's on another machine may be, reads whatever the settings name.
    """
    Ownership(client, settings.project).require(read_identity(log_storage(settings)))


def _new_identity(settings: Settings, client: "redis.Redis") -> Identity:
    """An identity for a home that has none: where no project is named, of the first that it can claim.

    Of several new homes one has a name, and the others go on to the next.
    """
    made = Identity(uuid.uuid4().hex, settings.project)
    if "project" in settings.model_fields_set:
        Ownership(client, settings.project).require(made)
        return made
    # States that do not say whose they are may be those of an older Encore's home: one that has events.
    has_events = bool(open_log(settings).listing())
    ownerships = ((name, Ownership(client, name)) for name in _names(settings))
    return next(
        Identity(made.id, name)
        for name, its in ownerships
        if (its.is_free() or (has_events and its.owner() is None)) and its.take(made, str(settings.home))
    )


def _names(settings: Settings) -> Iterator[str]:
    """The default project, and then names like the home's folder."""
    yield PROJECT
    name = re.sub(r"[^a-z0-9]+", "_", settings.home.name.lower()).strip("_")[:40] or "home"
    yield name
    yield from (f"{name}_{number}" for number in count(2))
