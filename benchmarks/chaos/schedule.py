"""What goes wrong, when, and for how long: a pure function of the seed, so that a failing run can be replayed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = ["CONNECTION_FAULTS", "KILLS", "Fault", "schedule"]

KILLS = frozenset({"kill worker", "kill store", "kill broker", "kill api", "kill producer"})
"""SIGKILL, and a start half a second or so later."""

CONNECTION_FAULTS = frozenset(
    f"{what} {link}" for what in ("cut", "refuse", "slow", "stall", "halve") for link in ("kafka", "redis")
)
"""cut: reset what is connected; refuse: the same, and nobody gets in for a while; slow: each piece is held back;
stall: nothing moves, and then it does; halve: reset after so many more bytes."""

_EVERY_S = 4.6
"""One kill and one connection fault in so many seconds; 10 minutes have more than 100 of each."""

_LEAD_S, _TAIL_S = 3.0, 8.0

_KILLED = {"worker": 0.70, "store": 0.10, "api": 0.08, "producer": 0.07, "broker": 0.05}

# Per minute, beside kills and connection faults.
_OTHERS = {"pause worker": 2.5, "stop worker": 1.5, "fill disk": 1.0, "step clock": 2.0}

_CALM_S = 14.0
"""About a restart of a broker that forgets, no worker is harmed: else nobody could say what it had consumed."""


@dataclass(frozen=True, order=True)
class Fault:
    """`at_s` after the start, for `lasts_s`. `target` is a worker's number; `amount` is in the fault's own unit: ms of
    delay, bytes, seconds of a clock's step."""

    at_s: float
    kind: str
    target: int = 0
    lasts_s: float = 0.0
    amount: int = 0


def schedule(seed: int, seconds: float, *, workers: int, forgetful: bool) -> list[Fault]:
    """The faults of a run, by time. `forgetful`: the broker loses its topics when it is killed."""
    draw = random.Random(f"{seed} {seconds} {workers} {forgetful}")
    last = seconds - _TAIL_S
    calm = [seconds * (i + 0.5) / _restarts(seconds) for i in range(_restarts(seconds))] if forgetful else []
    faults = [
        *_kills(draw, last, workers, forgetful=forgetful),
        *_connections(draw, last),
        *_others(draw, last, workers),
    ]
    faults = [fault for fault in faults if all(abs(fault.at_s - at) > _CALM_S for at in calm)]
    faults += [Fault(at, "kill broker", lasts_s=1.0) for at in calm]
    return sorted(faults)


def _restarts(seconds: float) -> int:
    return max(1, int(seconds // 150))


def _beats(draw: random.Random, last: float, every_s: float) -> Iterator[float]:
    at = _LEAD_S + draw.uniform(0, every_s)
    while at < last:
        yield round(at, 2)
        at += draw.uniform(0.6, 1.4) * every_s


def _kills(draw: random.Random, last: float, workers: int, *, forgetful: bool) -> Iterator[Fault]:
    for at in _beats(draw, last, _EVERY_S):
        (target,) = draw.choices(list(_KILLED), list(_KILLED.values()))
        if forgetful and target == "broker":
            target = "worker"
        yield Fault(at, f"kill {target}", draw.randrange(workers), round(draw.uniform(0.2, 1.5), 2))


def _connections(draw: random.Random, last: float) -> Iterator[Fault]:
    kinds = sorted(CONNECTION_FAULTS)
    for at in _beats(draw, last, _EVERY_S):
        kind = draw.choice(kinds)
        amount = {"slow": draw.randint(20, 300), "halve": draw.randint(100, 200_000)}.get(kind.split()[0], 0)
        yield Fault(at, kind, lasts_s=round(draw.uniform(0.5, 3.0), 2), amount=amount)


def _others(draw: random.Random, last: float, workers: int) -> Iterator[Fault]:
    for kind, per_minute in _OTHERS.items():
        for at in _beats(draw, last, 60 / per_minute):
            # In a pause of more than a session (3 s) others take a worker's partitions, and it wakes as a zombie.
            lasts = {"pause worker": draw.uniform(2, 10), "fill disk": draw.uniform(2, 6)}.get(kind, 1.0)
            # Further back than the five minutes of a producer's allowed skew, all would be refused as of the future.
            step = draw.choice([-240, -30, 600, 7_200]) if kind == "step clock" else 0
            yield Fault(at, kind, draw.randrange(workers), round(lasts, 2), step)
