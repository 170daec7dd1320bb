"""The processes of a chaos run: brokers and stores behind a proxy, workers, API, producer; all are restarted."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from chaos.killer import Killer
from chaos.proxy import Proxy
from chaos.schedule import Fault
from chaos.servers import Brokers, Stores
from chaos.store_harm import StoreHarm
from chaos.worker import step
from data.clock import wall_clock
from features.plan.cache import load_plan
from server.process.child import spawn
from server.process.server_process import free_port

__all__ = ["Cast", "Rebuilt"]

_BENCHMARKS = Path(__file__).parents[1]

_OURS = ("API_", "ENCORE_", "FEAST_", "KAFKA_", "REDIS_")

_RESTART_S = 0.5
"""Delay before a process that ended by itself is restarted, as by a supervisor."""

_FULL_BYTES = 1_024
"""Maximum file size of a worker while its disk counts as full."""


class Rebuilt(NamedTuple):
    """Start and end (µs) of a time in which the store was without its states."""

    emptied_us: int
    done_us: int


class Cast:
    """All processes. Call every method from the main thread: the kernel ends the processes with it."""

    def __init__(
        self, folder: Path, *, clusters: Collection[str], workers: int, partitions: int, rate: float, seed: int
    ) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.partitions = partitions
        self.api_port = free_port()
        self._clocks = [folder / f"clock-{number}" for number in range(workers)]
        self.brokers = Brokers(folder / "broker", is_cluster="broker" in clusters)
        self.stores = Stores(folder / "store", is_cluster="store" in clusters)
        self.servers = self.brokers.servers
        self._proxy = Proxy({**self.brokers.links, **self.stores.links})
        self._links = {"kafka": list(self.brokers.links), "redis": list(self.stores.links)}
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(_OURS)},
            **self.brokers.environment,
            **self.stores.environment,
            "ENCORE_HOME": str(self.home),
            "ENCORE_PARTITIONS": str(partitions),
            "API_PORT": str(self.api_port),
            "PYTHONPATH": str(_BENCHMARKS),
        }
        ledger = folder / "ledger"
        ledger.mkdir()
        self.producer = self._member(
            "producer", "chaos.producer", self.servers, str(ledger), str(seed), f"{rate:g}", str(partitions)
        )
        self.workers = [
            self._member(f"worker-{number}", "chaos.worker", str(clock), "--name", f"worker-{number}")
            for number, clock in enumerate(self._clocks)
        ]
        self.api = self._member("api", "server.cli", "serve")
        self.rebuilder = self._member("rebuild", "server.cli", "rebuild")
        self.rebuilder.wanted = False
        self.harm = StoreHarm(self.stores, self.api_port)
        self.rebuilt: list[Rebuilt] = []
        self._emptied_us = 0
        self._due: list[tuple[float, Callable[[], None]]] = []
        self.killers: dict[str, Killer] = {}
        self._stack = ExitStack()

    def _member(self, name: str, module: str, *arguments: str) -> "_Member":
        command = [sys.executable, "-m", module, *arguments]
        return _Member(name, command, self._environment, self.folder / f"{name}.log")

    def __enter__(self) -> "Cast":
        try:
            self.home.mkdir()
            load_plan(self.home / "plan.json")
            # Nodes of a cluster connect to each other through it.
            self._stack.enter_context(self._proxy)
            for what, servers in (("store", self.stores), ("broker", self.brokers)):
                self.killers[what] = killer = Killer(servers)
                self._stack.callback(killer.close)
                self._stack.callback(servers.stop)
                self._stack.callback(killer.heal)
                servers.start()
            for clock in self._clocks:
                step(clock, 0)
            self._stack.callback(self.rebuilder.kill)
            for member in self.members:
                self._stack.callback(member.kill)
                member.start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def members(self) -> "list[_Member]":
        """Encore's own processes."""
        return [*self.workers, self.api, self.producer]

    # Faults. Actions that end a fault wait in `_due` until `tend` runs them.

    def kill(self, what: str, fault: Fault) -> None:
        """SIGKILL, and a restart later; a node of a store or broker is killed once the others can take over."""
        if what in self.killers:
            self.killers[what].kill(fault)
            return
        member = {"worker": self.workers[fault.target % len(self.workers)], "api": self.api, "producer": self.producer}
        member[what].kill()
        member[what].start_after(fault.lasts_s)

    def pause(self, number: int, seconds: float) -> None:
        """SIGSTOP, then SIGCONT: others take its partitions meanwhile, and it wakes in the middle of its work."""
        member = self.workers[number]
        process = member.process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGSTOP)
            member.asleep_until = time.monotonic() + seconds
            self._later(seconds, lambda: process.send_signal(signal.SIGCONT))

    def stop(self, number: int) -> None:
        """SIGTERM, and a restart half a second after it has ended."""
        self.workers[number].ask_to_stop()

    def fill_disk(self, seconds: float) -> None:
        """Limit every file of the running workers to a kilobyte for `seconds`."""
        for member in self.workers:
            process = member.process
            if process is not None and process.poll() is None:
                _limit(process, _FULL_BYTES)
                self._later(seconds, lambda process=process: _limit(process, resource.RLIM_INFINITY))  # type: ignore[misc]

    def step_clock(self, number: int, seconds: int) -> None:
        """Set the clock of one worker off by `seconds`."""
        step(self._clocks[number], seconds)

    def disturb(self, side: str, what: str, number: int, amount: int, seconds: float) -> None:
        """Disturb the connections to a node of Kafka or Redis, including those from its neighbours."""
        link = self._links[side][number % len(self._links[side])]
        self._proxy.do(link, what, amount)
        if what != "cut":
            self._later(seconds, lambda: self._proxy.do(link, "heal"))

    def deny_writes(self, fault: Fault) -> None:
        """Let Redis refuse writes."""
        self._later(fault.lasts_s, self.harm.deny(fault.amount))

    def forget(self) -> None:
        """Empty the store, and run `encore rebuild` until it succeeds."""
        self.harm.forget()
        self._emptied_us = self._emptied_us or wall_clock()
        self.rebuilder.wanted = True
        if self.rebuilder.process is None:
            self.rebuilder.start()

    def tend(self) -> None:
        """Run due actions and restart ended processes. Call it several times per second."""
        now = time.monotonic()
        due = [action for at, action in self._due if at <= now]
        self._due = [(at, action) for at, action in self._due if at > now]
        for action in due:
            action()
        for killer in self.killers.values():
            killer.check()
        for member in self.members:
            member.tend()
        if self.rebuilder.has_done_it():
            self.rebuilder.wanted = False
            self.rebuilt.append(Rebuilt(self._emptied_us, wall_clock()))
            self._emptied_us = 0
        self.rebuilder.tend()

    def heal(self) -> None:
        """End all faults now, and restart everything that is down."""
        for killer in self.killers.values():
            killer.heal()
        for clock in self._clocks:
            step(clock, 0)
        due, self._due = self._due, []
        for _, action in due:
            action()

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._due.append((time.monotonic() + seconds, action))


class _Member:
    """A process of Encore: started, watched, and restarted when it ends."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str], log: Path) -> None:
        self.name = name
        self._command = command
        self._environment = environment
        self.log = log
        self.process: subprocess.Popen[bytes] | None = None
        self.ended_by_itself = 0
        self.stops_s: list[float] = []
        """Duration of each stop, from the request, or from the end of a pause in which it was requested."""
        self.asleep_until = 0.0
        self._start_at: float | None = None
        self._asked_at: float | None = None
        self.wanted = True

    def start(self) -> None:
        self._start_at = self._asked_at = None
        self.asleep_until = 0.0
        with self.log.open("ab") as output:
            self.process = spawn(self._command, output, environment=self._environment)

    def start_after(self, seconds: float) -> None:
        self._start_at = time.monotonic() + seconds

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        self._start_at = self._asked_at = None

    def ask_to_stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self._asked_at = time.monotonic()
            self.process.terminate()

    def has_done_it(self) -> bool:
        """Return whether it has just ended successfully."""
        return self.process is not None and self.process.poll() == 0

    def tend(self) -> None:
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            if self._asked_at is not None:
                self.stops_s.append(now - max(self._asked_at, self.asleep_until))
            else:
                self.ended_by_itself += 1
            self.process = self._asked_at = None
            self._start_at = now + _RESTART_S
        if self._start_at is not None and now >= self._start_at and self.wanted:
            self.start()

    def last_words(self) -> Counter[str]:
        """Return the lines of its output that name an error, with their counts."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        kinds: Counter[str] = Counter()
        for line in lines:
            head = line.split(":", 1)[0]
            if head.endswith(("Error", "Exception")) and " " not in head:
                kinds[line[:160]] += 1
        return kinds


def _limit(process: "subprocess.Popen[bytes]", size: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it has ended
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
