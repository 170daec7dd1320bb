"""The owner of the states in Redis: beside them is the id of the event log that they are made of.

One project of one Redis belongs to one log. A second log that wrote under the same keys would double every count.
"""

from typing import Any

import msgspec
import redis

from data.errors import ConfigurationError
from data.log.identity import Identity
from features.state.online.answers import ask, read_value

__all__ = ["Owner", "Ownership"]


class Owner(msgspec.Struct, frozen=True):
    """The log's `id`, and the `home` that it was in when it came: a folder, which may have moved since."""

    id: str
    home: str


class Ownership:
    """Who owns a project's states in a Redis. UnavailableError where Redis does not answer, or refuses."""

    def __init__(self, client: "redis.Redis", project: str) -> None:
        self._client: Any = client
        self._project = project
        self.key = f"{project}:home"

    def owner(self) -> Owner | None:
        """Return who owns the states; None where no owner is recorded."""
        encoded = read_value(self._client, self.key)
        try:
            return None if encoded is None else msgspec.json.decode(encoded, type=Owner)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigurationError(
                f"Redis: the key {self.key} does not say whose the states are ({error}); delete it, and start the "
                "home that they belong to first"
            ) from error

    def is_free(self) -> bool:
        """Return whether the project has no owner, and no states without an owner, of an older Encore."""
        marks = (self.key, f"{self._project}:newest_event", f"{self._project}:materialized")
        return not any(ask(lambda mark=mark: self._client.exists(mark)) for mark in marks)  # type: ignore[misc]

    def claim(self, identity: Identity, home: str) -> None:
        """Become the owner where there is none. Raises ConfigurationError, which names another owner."""
        if self.owner() is None:  # a Redis that takes no writes can still tell whose they are
            self.take(identity, home)
        self.require(identity)

    def take(self, identity: Identity, home: str) -> bool:
        """Become the owner where there is none; return whether that was so: of several at once, one succeeds."""
        owner = msgspec.json.encode(Owner(identity.id, home))
        return bool(ask(lambda: self._client.set(self.key, owner, nx=True)))

    def require(self, identity: Identity | None) -> None:
        """Raise ConfigurationError, which names the other home, where the states are another log's."""
        owner = self.owner()
        if owner is not None and identity is not None and owner.id != identity.id:
            raise ConfigurationError(
                f"Redis: the states of the project {self._project} are of the home {owner.home}, and not of this one; "
                "set ENCORE_PROJECT to another name, or ENCORE_HOME to that home. Nothing was changed. (Where that "
                f"home is gone for good, delete the key {self.key}.)"
            )

    def release_from(self, identity: Identity) -> None:
        """Give up ownership where it is this identity's."""
        owner = self.owner()
        if owner is not None and owner.id == identity.id:
            self.release()

    def release(self) -> None:
        """Give up ownership."""
        ask(lambda: self._client.delete(self.key))
