"""Observation during the faults: how far each partition is folded, and how the API answers."""

import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import redis

from chaos.producer import canary_user
from chaos.servers import live_space
from data.clock import wall_clock
from data.errors import EncoreError
from features.plan.plan import Plan
from features.state.online.states import OnlineStates
from features.state.states import EntityKey
from features.state.values import EntityValues

__all__ = ["Seen", "Watch"]

_LOOK_S = 0.1
_ASK_S = 0.2
_SLOW_S = 5.0
"""A slower answer of the API counts as a timeout."""


class Seen(NamedTuple):
    """At `at_us` all canaries of a partition up to `number` were in its state."""

    at_us: int
    partition: int
    number: int


class Watch:
    """Threads that only observe. They read the store directly, bypassing the proxy."""

    def __init__(self, plan: Plan, store: "redis.Redis", api_url: str, partitions: int) -> None:
        self.seen: list[Seen] = []
        self._newest: dict[int, int] = {}
        self.answers: Counter[str] = Counter()
        self._values = EntityValues(plan.of("user"), ["user_max_transaction_amount"])
        self._keys = [EntityKey("user", (canary_user(number, partitions),)) for number in range(partitions)]
        self._store = store
        self._api = f"{api_url}/features/u1?product_id=p1"
        self._stop = threading.Event()
        tasks = ((self._look, _LOOK_S), (self._ask, _ASK_S))
        self._threads = [threading.Thread(target=self._repeat, args=task, daemon=True) for task in tasks]

    def __enter__(self) -> "Watch":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _repeat(self, task: Callable[[], None], every_s: float) -> None:
        while not self._stop.wait(every_s):
            task()

    def _look(self) -> None:
        try:
            stored = OnlineStates(self._store, live_space(self._store)).read(self._keys)
        except (EncoreError, redis.RedisError):
            return
        now = wall_clock()
        newest = self._newest
        for partition, (state, _) in enumerate(stored):
            (value,) = self._values.get(self._values.algebra.decode(state), now) if state else (None,)
            if value is not None and round(value) > newest.get(partition, 0):
                newest[partition] = round(value)
                self.seen.append(Seen(now, partition, round(value)))

    def _ask(self) -> None:
        began = time.monotonic()
        try:
            with urllib.request.urlopen(self._api, timeout=_SLOW_S) as answer:
                answer.read()
                outcome = str(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                outcome = str(error.code)
        except TimeoutError:
            outcome = "timeout"
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            outcome = "timeout" if isinstance(reason, TimeoutError) else "not there"
        if time.monotonic() - began > _SLOW_S:
            outcome = "timeout"
        self.answers[outcome] += 1
