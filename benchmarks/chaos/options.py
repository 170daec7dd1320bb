"""What a chaos run is to do."""

from dataclasses import dataclass

from chaos.schedule import FAILOVER_S, FORGET_S

__all__ = ["Options"]


@dataclass(frozen=True)
class Options:
    """The options of a run.

    `rate` in events per second; `clusters`: which of "store" and "broker" have several nodes, a leader of each being
    killed once per `failover_s`; the store is emptied once per `forget_s`; a broker is unavailable once for `away_s`.
    `on_hosts`: instead of these faults, one host after another is lost.
    """

    seed: int = 1
    minutes: float = 10.0
    clusters: tuple[str, ...] = ()
    rate: float = 1_200.0
    workers: int = 3
    partitions: int = 4
    failover_s: float = FAILOVER_S
    forget_s: float = FORGET_S
    away_s: float = 0.0
    on_hosts: bool = False
