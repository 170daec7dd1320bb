"""Kill the leading node of a cluster, one at a time, and only while the others can take over."""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from chaos.schedule import Fault
from chaos.servers import Servers
from data.clock import wall_clock

__all__ = ["Kill", "Killer"]

T = TypeVar("T")

_LOOK_S = 0.1

_PATIENCE_S = 20.0
"""How long to wait for a takeover before the dead node is restarted anyway."""


class Kill(NamedTuple):
    """A node that was killed at `at_us` and restarted at `back_us`.

    The others took over after `taken_over_s` (None: they did not, or there are no others).
    """

    fault: Fault
    at_us: int
    taken_over_s: float | None
    back_us: int


class Killer:
    """A thread that kills and restarts nodes of one kind of server; a kill waits until all nodes are healthy.

    It runs until `close`, because the kernel ends the processes that a thread started together with the thread.
    """

    def __init__(self, servers: Servers) -> None:
        self.kills: list[Kill] = []
        self._servers = servers
        self._waiting: deque[Fault] = deque()
        self._healed = threading.Event()
        self._closed = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self._work: Future[None] = self._pool.submit(self._run)

    def kill(self, fault: Fault) -> None:
        """Kill the leader of shard or partition `fault.target`.

        Restart it after `fault.lasts_s`, or takeover if later.
        """
        self._waiting.append(fault)

    def heal(self) -> None:
        """Stop killing, and restart dead nodes now."""
        self._healed.set()
        self._waiting.clear()

    def check(self) -> None:
        """Raise the exception of the thread, if there is one."""
        if self._work.done():
            self._work.result()

    def close(self) -> None:
        """End the thread, and with it its processes: stop the servers first."""
        self.heal()
        self._closed.set()
        self._pool.shutdown()

    def _run(self) -> None:
        while not self._closed.is_set():
            if not self._waiting:
                self._closed.wait(_LOOK_S)
                continue
            fault = self._waiting.popleft()
            node = self._until(lambda fault=fault: self._servers.victim(fault.target))  # type: ignore[misc]
            if node is None:
                continue  # healed before all nodes were healthy
            self._servers.kill(node, fault.amount / 1_000)
            at_us, began_s = wall_clock(), time.monotonic()
            taken_over = None
            if self._servers.is_cluster and self._until(lambda node=node: self._servers.is_replaced(node), _PATIENCE_S):  # type: ignore[misc]
                taken_over = time.monotonic() - began_s
            self._healed.wait(max(0.0, fault.lasts_s - (time.monotonic() - began_s)))
            back_us = wall_clock()
            node.start()
            self.kills.append(Kill(fault, at_us, taken_over, back_us))

    def _until(self, condition: Callable[[], T | None], patience_s: float = float("inf")) -> T | None:
        """Return the first true value of `condition()`; None if `heal` is called before, or after `patience_s`."""
        deadline = time.monotonic() + patience_s
        while not self._healed.is_set() and time.monotonic() < deadline:
            value = condition()
            if value:
                return value
            self._healed.wait(_LOOK_S)
        return None
