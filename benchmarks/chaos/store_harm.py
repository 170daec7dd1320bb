"""Faults of the store itself, bypassing the proxy: damaged states, refused writes, and loss of all data."""

import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import redis

from chaos.servers import Stores, live_space
from data.errors import EncoreError
from features.plan.plan import Plan
from features.state.algebra import DAMAGE, Algebra
from features.state.online.keys import redis_key
from features.state.online.states import OnlineStates
from features.state.states import EntityKey

__all__ = ["StoreHarm"]

_SHOPPERS, _PRODUCTS = 40, 12
"""The most frequent users and products, so that a damaged state is used soon."""

_REFUSALS = (
    (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),  # OOM
    (("CONFIG", "SET", "min-replicas-to-write", "9"), ("CONFIG", "SET", "min-replicas-to-write", "0")),  # NOREPLICAS
    (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),  # READONLY; not in a cluster
)


class StoreHarm:
    """Injects faults into the store, and checks whether they are repaired. Does nothing while the store is down."""

    def __init__(self, stores: Stores, api_url: str) -> None:
        self._stores = stores
        self._api = api_url
        self._damaged: set[tuple[str, str]] = set()

    def damage(self, number: int, how: int) -> None:
        """Damage the state of a user, of a product, or of their pair."""
        user, product = f"u{number % _SHOPPERS}", f"p{number % _PRODUCTS}"
        victims = (
            EntityKey("user", (user,)),
            EntityKey("product", (product,)),
            EntityKey("user_product", (product, user)),
        )
        with suppress(redis.RedisError, EncoreError), self._stores.client(1.0) as client:
            key = redis_key(victims[number % 3], live_space(client))
            if not client.exists(key):
                return
            self._damaged.add((user, product))
            match how % 3:
                case 0:
                    client.hset(key, mapping={"s": b"\x02garbage", "t": b"", "u": b""})
                case 1:
                    client.hset(key, "f", b"\xc1")
                case _:
                    client.delete(key)
                    client.set(key, b"of another program")

    def deny(self, how: int) -> Callable[[], None]:
        """Let Redis refuse writes; return a function that ends it."""
        begin, end = _REFUSALS[how % (2 if self._stores.is_cluster else 3)]
        self._tell_all(begin)
        return lambda: self._tell_all(end)

    def forget(self) -> None:
        """Empty the store."""
        self._tell_all(("FLUSHALL",))

    def is_mended(self, plan: Plan) -> bool:
        """Return whether every damaged state is readable again, and none is set aside.

        The API is asked about unreadable ones, in case no event has used them since. A damaged fence is noticed only by
        a writer that folds onto the state, and no reader needs it.
        """
        keys = {
            key
            for user, product in self._damaged
            for key in (
                EntityKey("user", (user,)),
                EntityKey("product", (product,)),
                EntityKey("user_product", (product, user)),
            )
        }
        try:
            store = self._stores.client(5.0)
            states = OnlineStates(store, live_space(store))
            stored, aside = states.read(list(keys)), states.aside.look(1)
        except EncoreError:
            return False
        bad = {
            key
            for key, kept in zip(keys, stored, strict=True)
            if not _is_sound(Algebra(plan.of(key.entity)), kept.state)
        }
        for user, product in self._damaged if bad else ():
            with suppress(urllib.error.URLError, OSError):
                urllib.request.urlopen(f"{self._api}/features/{user}?product_id={product}", timeout=5).close()
        return not bad and not aside

    def _tell_all(self, words: tuple[str, ...]) -> None:
        with suppress(redis.RedisError), self._stores.client(1.0) as client:
            nodes: list[Any] = (
                [client.get_redis_connection(node) for node in client.get_primaries()]
                if self._stores.is_cluster
                else [client]
            )
            for node in nodes:
                with suppress(redis.RedisError):
                    node.execute_command(*words)


def _is_sound(algebra: Algebra, state: bytes) -> bool:
    try:
        return not state or algebra.decode(state) is not None
    except DAMAGE:
        return False
