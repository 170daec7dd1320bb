"""The faults of a run, with time and duration: a pure function of the seed, so that a failing run can be replayed."""

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

__all__ = ["CONNECTION_FAULTS", "FAILOVER_S", "FORGET_S", "KILLS", "STORE_FAULTS", "Fault", "of_hosts", "schedule"]

KILLS = frozenset({"kill worker", "kill store", "kill broker", "kill api", "kill producer"})
"""SIGKILL, and a restart about half a second later."""

CONNECTION_FAULTS = frozenset(
    f"{what} {link}" for what in ("cut", "refuse", "slow", "stall", "halve") for link in ("kafka", "redis")
)
"""cut: reset all connections; refuse: the same, and refuse new ones for a while; slow: delay each piece;
stall: stop all data for a while; halve: reset after `amount` more bytes."""

_EVERY_S = 4.6
"""Interval of kills and of connection faults in s; 10 minutes have more than 100 of each."""

_LEAD_S, _TAIL_S = 3.0, 8.0

_TARGETS = 420
"""A multiple of 1 to 7, so that shards, partitions or links are drawn evenly, whatever their number."""

_KILLED = {"worker": 0.70, "store": 0.10, "api": 0.08, "producer": 0.07, "broker": 0.05}

# Per minute, beside kills and connection faults.
_OTHERS = {"pause worker": 2.5, "stop worker": 1.5, "fill disk": 1.0, "step clock": 2.0}

STORE_FAULTS = frozenset({"damage state", "deny writes", "forget store"})
"""damage: a state becomes invalid bytes, or a key of another type; deny: Redis refuses writes, as
without memory, in a failover or without replicas; forget: it is emptied, and `encore rebuild` is run."""

_STORE = {"damage state": 3.0, "deny writes": 1.5}
"""Per minute."""

FORGET_S = 300.0
"""Interval in s at which the store is emptied."""

FAILOVER_S = 18.0
"""Interval in s at which a cluster's leader is killed, or later, once all is healthy: 10 minutes have more than 20."""

_EVERY_BESIDE_S = 7.0
"""Interval in s of kills of Encore's own processes in that case."""

_HOST_S = 18.0
"""Interval in s at which a host is lost: the others are to have taken over and the lost one to be back."""


@dataclass(frozen=True, order=True)
class Fault:
    """A fault `at_s` after the start, for `lasts_s`.

    `target` is the number of a worker, or of a shard, partition or link of a cluster (modulo their number), or of a
    shopper; `amount` is in the fault's own unit: ms of delay, or of writes that replicas lack; bytes; seconds of a
    clock's step; which damage or refusal.
    """

    at_s: float
    kind: str
    target: int = 0
    lasts_s: float = 0.0
    amount: int = 0


def schedule(
    seed: int,
    seconds: float,
    *,
    workers: int,
    clusters: Collection[str] = (),
    failover_s: float = FAILOVER_S,
    forget_s: float = FORGET_S,
    away_s: float = 0.0,
) -> list[Fault]:
    """Return the faults of a run, by time.

    `clusters`: which of "store" and "broker" have several nodes, and so fail over, each once per `failover_s`. The
    store loses all its data once per `forget_s`. A broker is unavailable once for `away_s`, after a third of the run:
    longer than messages wait for it, if that is more than half a minute.
    """
    draw = random.Random(f"{seed} {seconds} {workers} {sorted(clusters)}")
    last = seconds - _TAIL_S
    faults = [*_kills(draw, last, workers, clusters), *_connections(draw, last), *_others(draw, last, workers)]
    for target in sorted(clusters):
        faults += [
            Fault(
                at, f"kill {target}", draw.randrange(_TARGETS), round(draw.uniform(1.0, 4.0), 2), _unheard(draw, target)
            )
            for at in _beats(draw, last, failover_s)
        ]
    if away_s:
        faults.append(Fault(round(seconds / 3, 2), "kill broker", lasts_s=away_s))
    return sorted([*faults, *_of_store(draw, last, forget_s)])


def of_hosts(seed: int, seconds: float, hosts: Sequence[str], only_unplugged: Collection[str]) -> list[Fault]:
    """Return the losses of hosts, one after another, by time: in each round every host, in another order.

    lose: without power, with all of its processes; unplug: without its cable, while they go on.
    """
    draw = random.Random(f"{seed} {seconds} {sorted(hosts)}")
    faults, round_of = [], list[str]()
    for at in _beats(draw, seconds - _TAIL_S, _HOST_S):
        if not round_of:
            round_of = draw.sample(hosts, len(hosts))
        host = round_of.pop()
        what = "unplug" if host in only_unplugged else draw.choice(["lose", "unplug"])
        faults.append(Fault(at, f"{what} {host}", lasts_s=round(draw.uniform(3.0, 12.0), 2)))
    return faults


def _beats(draw: random.Random, last: float, every_s: float) -> Iterator[float]:
    at = _LEAD_S + draw.uniform(0, every_s)
    while at < last:
        yield round(at, 2)
        at += draw.uniform(0.6, 1.4) * every_s


def _kills(draw: random.Random, last: float, workers: int, clusters: Collection[str]) -> Iterator[Fault]:
    targets = {target: weight for target, weight in _KILLED.items() if target not in clusters}
    for at in _beats(draw, last, _EVERY_BESIDE_S if clusters else _EVERY_S):
        (target,) = draw.choices(list(targets), list(targets.values()))
        yield Fault(at, f"kill {target}", draw.randrange(workers), round(draw.uniform(0.2, 1.5), 2))


def _unheard(draw: random.Random, target: str) -> int:
    """Return for how long (ms) before its death a store's replicas miss its writes: half of the time 0."""
    return draw.choice([0, draw.randint(50, 1_000)]) if target == "store" else 0


def _connections(draw: random.Random, last: float) -> Iterator[Fault]:
    kinds = sorted(CONNECTION_FAULTS)
    for at in _beats(draw, last, _EVERY_S):
        kind = draw.choice(kinds)
        amount = {"slow": draw.randint(20, 300), "halve": draw.randint(100, 200_000)}.get(kind.split()[0], 0)
        yield Fault(at, kind, draw.randrange(_TARGETS), round(draw.uniform(0.5, 3.0), 2), amount)


def _others(draw: random.Random, last: float, workers: int) -> Iterator[Fault]:
    for kind, per_minute in _OTHERS.items():
        for at in _beats(draw, last, 60 / per_minute):
            # After a pause longer than a session (3 s) others have the worker's partitions, and it wakes as a zombie.
            lasts = {"pause worker": draw.uniform(2, 10), "fill disk": draw.uniform(2, 6)}.get(kind, 1.0)
            # Further back than the allowed skew of five minutes, all events would be refused as future ones.
            step = draw.choice([-240, -30, 600, 7_200]) if kind == "step clock" else 0
            yield Fault(at, kind, draw.randrange(workers), round(lasts, 2), step)


def _of_store(draw: random.Random, last: float, forget_s: float) -> Iterator[Fault]:
    every = {kind: 60 / per_minute for kind, per_minute in _STORE.items()} | {"forget store": forget_s}
    for kind, every_s in every.items():
        for at in _beats(draw, last, every_s):
            lasts = draw.uniform(1, 5) if kind == "deny writes" else 0.0
            yield Fault(at, kind, draw.randrange(_TARGETS), round(lasts, 2), draw.randrange(_TARGETS))
