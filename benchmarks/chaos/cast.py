"""The processes of a chaos run, whatever they run on: all are restarted, faults end when they are due."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

from chaos.killer import Killer
from chaos.member import Member
from chaos.options import Options
from chaos.schedule import Fault
from chaos.worker import step
from data.clock import wall_clock
from data.log.event_log import EventLog
from features.plan.plan import Plan

__all__ = ["Cast", "Injected", "Rebuilt", "Store", "our_environment"]

_BENCHMARKS = Path(__file__).parents[1]

_OURS = ("API_", "ENCORE_", "FEAST_", "KAFKA_", "REDIS_")


class Injected(NamedTuple):
    """A fault that was injected, and its end (µs)."""

    fault: Fault
    over_us: int


class Rebuilt(NamedTuple):
    """Start and end (µs) of a time in which the store was without its states."""

    emptied_us: int
    done_us: int


class Store(Protocol):
    """Where the states are."""

    def client(self, timeout_s: float) -> Any:
        """Return a client that no fault of a connection meets."""


class Cast:
    """All processes. Call every method from the main thread: the kernel ends the processes with it.

    A kind of cast sets what is declared here, and defines `faults`, `_start` and `do`.
    """

    servers: str
    """The bootstrap servers of Kafka."""
    stores: Store
    api_url: str
    workers: list[Member]
    api: Member
    producer: Member

    def __init__(self, folder: Path, options: Options) -> None:
        self.folder = folder
        self.options = options
        self.partitions = options.partitions
        self.home = folder / "home"
        self._ledger = folder / "ledger"
        self._ledger.mkdir()
        self._clocks = [folder / f"clock-{number}" for number in range(options.workers)]
        self.injected: list[Injected] = []
        self.rebuilt: list[Rebuilt] = []
        self.killers: dict[str, Killer] = {}
        self._due: list[tuple[float, Callable[[], None]]] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def members(self) -> list[Member]:
        """Encore's own processes."""
        return [*self.workers, self.api, self.producer]

    def log(self) -> EventLog:
        """Return the event log that the workers write."""
        return EventLog(self.home / "log")

    def faults(self, seconds: float) -> list[Fault]:
        """Return the faults of so many seconds, by time."""
        raise NotImplementedError

    def do(self, fault: Fault) -> None:
        """Inject a fault, now or once the rest of the system can bear it."""
        raise NotImplementedError

    def is_mended(self, plan: Plan) -> bool:  # noqa: ARG002 - not every kind of cast does harm that is mended
        """Return whether all harm to the store is mended."""
        return True

    def tend(self) -> None:
        """Run due actions and restart ended processes. Call it several times per second."""
        now = time.monotonic()
        due = [action for at, action in self._due if at <= now]
        self._due = [(at, action) for at, action in self._due if at > now]
        for action in due:
            action()
        for member in self.members:
            member.tend()

    def heal(self) -> None:
        """End all faults now, and restart everything that is down."""
        due, self._due = self._due, []
        for _, action in due:
            action()

    def _start(self, stack: ExitStack) -> None:
        """Start everything; what ends it goes to the stack."""
        raise NotImplementedError

    def _producing(self) -> Sequence[str]:
        """Return the module of the producer and its arguments."""
        options = self.options
        numbers = str(options.seed), f"{options.rate:g}", str(options.partitions)
        return ("chaos.producer", self.servers, str(self._ledger), *numbers)

    def _start_members(self, stack: ExitStack) -> None:
        for clock in self._clocks:
            step(clock, 0)
        for member in self.members:
            stack.callback(member.kill)
            member.start()

    def _note(self, fault: Fault) -> None:
        self.injected.append(Injected(fault, wall_clock() + int(fault.lasts_s * 1e6)))

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._due.append((time.monotonic() + seconds, action))


def our_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without settings of Encore, and with `more`."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(_OURS)},
        "PYTHONPATH": str(_BENCHMARKS),
        **more,
    }
