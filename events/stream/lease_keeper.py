"""Renewing a worker's leases on a thread of its own, so that a long fold or a slow disk costs it no partition."""

import logging
import threading
import time
from collections.abc import Collection

import redis

from events.stream.leases import Held, Leases, Member

__all__ = ["LeaseKeeper"]

logger = logging.getLogger(__name__)

_POLL_S = 15.0
"""A worker whose loop does not come round for so long is stuck, and others should have its partitions."""

_FAREWELL_S = 1.0
"""How long leaving may take; where it takes longer its leases run out by themselves."""


class LeaseKeeper:
    """Keeps the leases of one worker. All but the thread's own work is for the worker's thread.

    Where the store does not answer, a worker goes on with what it has: nobody else can take it either.
    """

    def __init__(self, leases: Leases, member: Member, *, poll_s: float = _POLL_S) -> None:
        self.partitions = 0
        """How many the topic has."""
        self._leases = leases
        self._member = member
        self._poll_s = poll_s
        self._lock = threading.Lock()
        self._held = Held()
        self._releasing: frozenset[int] = frozenset()
        self._joins = True
        self._came_s = self._renewed_s = time.monotonic()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="leases", daemon=True)

    def start(self) -> None:
        """Begin to renew."""
        self.live()
        self._thread.start()

    @property
    def name(self) -> str:
        """The worker's name; another one than it was given, once that was taken."""
        return self._member.name

    @property
    def is_sure(self) -> bool:
        """Whether nobody else can have taken what is held: it was renewed within a session."""
        return time.monotonic() - self._renewed_s < self._member.session_s

    def live(self) -> None:
        """The worker is not stuck."""
        self._came_s = time.monotonic()

    def held(self) -> Held:
        """What is held, as last heard."""
        self.live()
        return self._held

    def release(self, partitions: Collection[int]) -> None:
        """Give partitions back, of which nothing waits any more."""
        with self._lock:
            self._releasing |= frozenset(partitions)
            self._hold(self._held)
        self._wake.set()

    def close(self) -> None:
        """Leave, so that others need not wait for the session's end."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(_FAREWELL_S)

    def _hold(self, held: Held) -> None:
        self._held = Held(held.mine - self._releasing, held.give - self._releasing)

    def _run(self) -> None:
        answers = True
        while not self._stop.is_set():
            if time.monotonic() - self._came_s < self._poll_s:
                try:
                    self._renew()
                    answers = True
                except (redis.RedisError, OSError) as error:
                    if answers:
                        logger.warning("leases of partitions are not renewed: %s", error)
                    answers = False
            self._wake.wait(self._member.session_s / 6)
            self._wake.clear()
        try:
            self._leases.leave(self._member)
        except (redis.RedisError, OSError) as error:
            logger.warning("its leases will run out by themselves: %s", error)

    def _renew(self) -> None:
        asked_s, released = time.monotonic(), self._releasing
        held = self._leases.renew(self._member, self.partitions, self._held.mine, released, joins=self._joins)
        if held is None:
            taken, self._member, self._joins = self.name, self._member.renamed(), True
            logger.warning(
                "another worker has the name %s: this one goes on as %s; give each worker a name of its own",
                taken,
                self.name,
            )
            held = Held()
            self._wake.set()
        else:
            self._joins = False
        with self._lock:
            self._releasing -= released
            self._hold(held)
            self._renewed_s = asked_s
