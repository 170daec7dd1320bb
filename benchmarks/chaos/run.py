"""One run: start everything, run the schedule, drain, stop, and compare all data with the ground truth."""

import json
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kafka.errors import KafkaError

from chaos.cast import Cast, Injected
from chaos.hosts.ten_hosts import TenHosts
from chaos.judge import Compared, compare_letters, compare_log, compare_states, rewrite
from chaos.one_machine import OneMachine
from chaos.options import Options
from chaos.schedule import CONNECTION_FAULTS, KILLS, STORE_FAULTS, Fault
from chaos.servers import live_space
from chaos.truth import Truth, find_truth, read_topic
from chaos.watch import Watch
from data.clock import wall_clock
from data.errors import EncoreError
from events.kafka.inspector import Inspector
from events.kafka.topics import EVENTS_TOPIC, dead_letter_topic, topic_id
from features.plan.cache import load_plan
from features.plan.plan import Plan
from features.state.online.states import OnlineStates

__all__ = ["Verdict", "run"]

_DRAIN_S = 120
_STOP_S = 30


@dataclass
class Verdict:
    """The result of a run, for machines; `problems` is empty if every guarantee held."""

    options: Options
    faults: dict[str, int] = field(default_factory=dict)
    kills: int = 0
    failovers: dict[str, int] = field(default_factory=dict)
    failover_s: dict[str, dict[str, float]] = field(default_factory=dict)
    connection_faults: int = 0
    store_faults: int = 0
    events: int = 0
    poisoned: int = 0
    unacknowledged: int = 0
    entities: int = 0
    values: int = 0
    lost: int = 0
    double: int = 0
    wrong: int = 0
    logged: int = 0
    letters: int = 0
    letters_again: int = 0
    recovery_s: dict[str, float] = field(default_factory=dict)
    recovery_by_kind_s: dict[str, float] = field(default_factory=dict)
    rebuilt_s: dict[str, float] = field(default_factory=dict)
    slowest: list[str] = field(default_factory=list)
    waited_s: dict[str, float] = field(default_factory=dict)
    drained_s: float | None = None
    stops_s: dict[str, float] = field(default_factory=dict)
    api: dict[str, int] = field(default_factory=dict)
    ended_by_itself: dict[str, int] = field(default_factory=dict)
    last_words: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        """Return it as JSON types."""
        return asdict(self)


def run(options: Options, folder: Path, tell: Callable[[str], None]) -> Verdict:
    """Run in `folder`, which must be empty."""
    seconds = options.minutes * 60
    cast = (TenHosts if options.on_hosts else OneMachine)(folder, options)
    faults = cast.faults(seconds)
    verdict = Verdict(options)
    with cast:
        plan = load_plan(cast.home / "plan.json")
        tell(f"{len(faults)} faults in {seconds:.0f} s; all in {folder}")
        with Watch(plan, cast.stores.client(1.0), cast.api_url, options.partitions) as watch:
            _await_start(cast, watch)
            _harm(cast, faults, seconds, tell)
            tell("draining")
            verdict.drained_s = _drain(cast, plan)
            if verdict.drained_s is None:
                verdict.problems.append(f"not drained within {_DRAIN_S} s: {_lag(cast)}")
            _stop_workers(cast)
            time.sleep(0.5)  # so that the watch reads once more
        living = read_topic(cast.servers, EVENTS_TOPIC)
        letters = read_topic(cast.servers, dead_letter_topic(EVENTS_TOPIC))
        tell(f"comparing: {len(living):,} messages, {len(letters):,} dead letters")
        truth = find_truth(folder / "ledger", topic_id(cast.servers), living)
        at_us = wall_clock()
        true_log, events = rewrite(truth, folder / "truth", at_us)
        store = cast.stores.client(30.0)
        states = OnlineStates(store, live_space(store))
        in_states = compare_states(plan, true_log, events, states, at_us)
        in_log = compare_log(cast.log(), true_log)
        in_letters, verdict.letters_again = compare_letters(truth, letters)
        verdict.entities = sum(states.counts().values())
    done = cast.injected + _kills(cast, verdict)
    verdict.faults = dict(sorted(Counter(injected.fault.kind for injected in done).items()))
    verdict.kills = sum(number for kind, number in verdict.faults.items() if kind in KILLS)
    verdict.connection_faults = sum(number for kind, number in verdict.faults.items() if kind in CONNECTION_FAULTS)
    verdict.store_faults = sum(number for kind, number in verdict.faults.items() if kind in STORE_FAULTS)
    verdict.events, verdict.poisoned = len(truth.events), len(truth.poison)
    verdict.unacknowledged = truth.unacknowledged
    verdict.values, verdict.logged, verdict.letters = in_states.looked_at, in_log.looked_at, in_letters.looked_at
    verdict.lost = max(in_states.lost, in_log.lost) + in_letters.lost
    verdict.double = max(in_states.double, in_log.double)
    verdict.wrong = in_states.wrong + in_log.wrong + in_letters.wrong
    verdict.api = dict(watch.answers)
    verdict.ended_by_itself = {m.name: m.ended_by_itself for m in cast.members if m.ended_by_itself}
    verdict.last_words = dict(sum((m.last_words() for m in cast.members), Counter[str]()).most_common(12))
    _add_times(verdict, cast, watch, truth, done)
    _add_problems(verdict, truth, (in_states, in_log, in_letters))
    return verdict


def _await_start(cast: Cast, watch: Watch) -> None:
    """Wait until canaries of every partition are in the states."""
    deadline = time.monotonic() + 120
    while {seen.partition for seen in watch.seen} != set(range(cast.partitions)) or not watch.answers["200"]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"no canaries arrive; look into {cast.folder}")
        cast.tend()
        time.sleep(0.05)


def _harm(cast: Cast, faults: Sequence[Fault], seconds: float, tell: Callable[[str], None]) -> None:
    """Inject all faults at their times; return after `seconds`."""
    started, reported_s = time.monotonic(), 0.0
    waiting = list(faults)
    while (now := time.monotonic() - started) < seconds:
        cast.tend()
        while waiting and waiting[0].at_s <= now:
            fault = waiting.pop(0)
            with (cast.folder / "faults.jsonl").open("a") as file:  # to compare with the processes' logs
                file.write(json.dumps({"at_us": wall_clock(), **asdict(fault)}) + "\n")
            cast.do(fault)
        if now - reported_s >= 30:
            reported_s = now
            tell(f"{now:.0f} s: {len(cast.injected)} faults")
        time.sleep(0.02)


def _kills(cast: Cast, verdict: Verdict) -> list[Injected]:
    """Return the kills of stores and brokers.

    If others take over, a kill ends at once: the takeover is the recovery.
    """
    done = []
    for what, killer in cast.killers.items():
        taken_over = [kill.taken_over_s for kill in killer.kills if kill.taken_over_s is not None]
        verdict.failovers[what] = len(taken_over)
        verdict.failover_s[what] = _spread(taken_over)
        done += [
            Injected(kill.fault, kill.back_us if kill.taken_over_s is None else kill.at_us) for kill in killer.kills
        ]
    return done


def _drain(cast: Cast, plan: Plan) -> float | None:
    """Return the seconds until all messages are committed; None after `_DRAIN_S`."""
    cast.heal()
    cast.producer.wanted = False
    cast.producer.ask_to_stop()
    started = time.monotonic()
    while time.monotonic() - started < _DRAIN_S:
        cast.tend()
        if cast.producer.process is None and not _lag(cast) and cast.is_mended(plan):
            return round(time.monotonic() - started, 1)
        time.sleep(0.2)
    return None


def _lag(cast: Cast) -> str:
    """Return in words what is not committed; empty if everything is."""
    try:
        positions = _committed(cast)
    except (EncoreError, KafkaError) as error:
        return f"unknown: {error}"
    if not positions:
        return "there is no topic"
    return ", ".join(f"partition {part} up to {done} of {end}" for part, (done, end) in positions.items() if done < end)


def _committed(cast: Cast) -> dict[int, tuple[int, int]]:
    """Return the committed and the end offset of each partition; empty if there is no topic."""
    inspector = Inspector(cast.servers)
    try:
        ranges = [p for p in inspector.partitions() if p.topic == EVENTS_TOPIC]
        committed = {lag.partition: lag.committed for lag in inspector.groups(ranges) if lag.topic == EVENTS_TOPIC}
    finally:
        inspector.close()
    return {p.partition: (committed.get(p.partition, p.first), p.end) for p in ranges}


def _stop_workers(cast: Cast) -> None:
    for member in cast.workers:
        member.wanted = False
        member.ask_to_stop()
    deadline = time.monotonic() + _STOP_S
    while any(member.process for member in cast.workers) and time.monotonic() < deadline:
        cast.tend()
        time.sleep(0.02)


def _add_times(verdict: Verdict, cast: Cast, watch: Watch, truth: Truth, done: Sequence[Injected]) -> None:
    """Add recovery and waiting times to the verdict.

    Recovery: from a fault's end until everything acknowledged before it is in the states, without the time in which the
    store was empty and rebuilt (`rebuilt_s`). Waiting: of canaries, from the acknowledgement to the state.
    """
    waits, recoveries = [], list[tuple[str, float]]()
    slowest: list[tuple[float, str]] = []
    never_seen = Counter[int]()
    seen = {partition: [s for s in watch.seen if s.partition == partition] for partition in range(cast.partitions)}
    arrived: dict[int, list[tuple[int, int]]] = {partition: [] for partition in seen}
    for number, canary in sorted(truth.canaries):
        at = next((s.at_us for s in _from(seen[canary.partition], number)), None)
        if at is None:
            never_seen[canary.partition] += 1
            continue
        waits.append(max(0.0, (at - canary.at_us) / 1e6))
        arrived[canary.partition].append((canary.at_us, at))
    verdict.rebuilt_s = _spread([(done_us - emptied_us) / 1e6 for emptied_us, done_us in cast.rebuilt])
    for fault in done:
        over_us = fault.over_us
        before = [max((a for k, a in pairs if k <= over_us), default=0) for pairs in arrived.values()]
        recovered_us = max(over_us, *before)
        empty_us = sum(max(0, min(end, recovered_us) - max(start, over_us)) for start, end in cast.rebuilt)
        recoveries.append((fault.fault.kind, (recovered_us - over_us - empty_us) / 1e6))
        slowest.append((recoveries[-1][1], f"{fault.fault.kind} at {fault.fault.at_s:.0f} s"))
    verdict.problems += [f"{n} canaries of partition {part} were never seen" for part, n in never_seen.items() if n]
    verdict.waited_s = _spread(waits)
    verdict.slowest = [f"{what}: {seconds:.1f} s" for seconds, what in sorted(slowest, reverse=True)[:5]]
    verdict.recovery_s = _spread([seconds for _, seconds in recoveries])
    kinds = {kind for kind, _ in recoveries}
    verdict.recovery_by_kind_s = {
        kind: round(max(seconds for other, seconds in recoveries if other == kind), 1) for kind in sorted(kinds)
    }
    verdict.stops_s = _spread([seconds for member in cast.workers for seconds in member.stops_s])


def _from(seen: list[Any], number: int) -> list[Any]:
    """Return the observations from this canary on; drop earlier ones, since canaries are looked up in order."""
    while seen and seen[0].number < number:
        seen.pop(0)
    return seen


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    quantiles = {"p50": statistics.median(ordered), "p99": p99, "max": ordered[-1]}
    return {name: round(value, 2) for name, value in quantiles.items()} | {"of": len(ordered)}


def _add_problems(verdict: Verdict, truth: Truth, compared: Sequence[Compared]) -> None:
    numbers = {
        "events lost": verdict.lost,
        "events counted twice": verdict.double,
        "values or rows wrong": verdict.wrong,
        "acknowledged messages that the broker does not have": truth.broker_lost,
        "messages that nobody sent": truth.foreign,
        "messages that the producer's retries doubled": truth.sent_again,
        "answers of the API that are a bug": sum(n for code, n in verdict.api.items() if code in {"400", "422", "500"}),
    }
    verdict.problems += [f"{number} {what}" for what, number in numbers.items() if number]
    verdict.problems += [example for result in compared for example in result.examples[:5]]
