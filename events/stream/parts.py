"""The parts that a worker uses, whatever its topic."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from data.clock import Clock, wall_clock
from data.log.log import Log
from events.trace import NO_TRACE, Trace
from features.plan.plan import Plan
from features.state.editions.editions import Editions
from features.state.online.owner import Owner
from features.state.online.replication import NO_REPLICATION
from features.state.states import States

__all__ = ["Confirmation", "Limits", "Parts"]


class Confirmation(Protocol):
    """Confirms that the states written since `begin` survive the loss of a server.

    `features.state.online.replication` implements it.
    """

    @property
    def is_needed(self) -> bool:
        """Whether there is anything to confirm."""

    def begin(self) -> None:
        """Call this before the first state is read, and after a FailedOverError."""

    def confirm(self) -> None:
        """Return if they survive. Raises NotReplicatedError where not yet, FailedOverError where some may be lost."""


class Limits(NamedTuple):
    """`batch_rows` messages are folded at once; `flush_s` and `flush_rows` bound one file of the log.

    Before the first file at most `first_rows` are folded at once, since a full batch would take longer. Small files of
    the log are compacted every `tidy_s`. While no messages arrive, the topic's id is checked every `check_s`; messages
    are folded only after a check. `memory` bounds DuckDB where states are rebuilt.
    """

    batch_rows: int = 20_000
    first_rows: int = 500
    flush_s: float = 10.0
    flush_rows: int = 50_000
    tidy_s: float = 60.0
    check_s: float = 5.0
    memory: str = "2GB"


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A worker's plan, states, log, replication and clock.

    `editions` are those of the states' project; None where there is only one. Plan and states are those of the edition
    that is live when the worker starts, called `edition`. `owner` says whose the log is, for the notes of commits; None
    where that is not recorded. `repairs` is another confirmation of the same replicas, for the thread that rebuilds
    damaged states. `trace` traces the batches that are folded.
    """

    plan: Plan
    states: States
    log: Log
    limits: Limits = Limits()  # noqa: RUF009 - it is frozen
    replication: Confirmation = NO_REPLICATION
    repairs: Confirmation = NO_REPLICATION
    clock: Clock = wall_clock
    owner: Owner | None = None
    editions: Editions | None = None
    trace: Trace = NO_TRACE
    edition: str = ""
