"""Health checks for containers without a port: whether the worker beats, and whether events arrive.

python -m server.process.probe worker NAME        the stream worker of that name has beaten in the last 15 seconds
python -m server.process.probe traffic SECONDS    some worker has folded an event that is no older than that
python -m server.process.probe monitor            a model monitor watches this home
"""

import argparse
import sys
from collections.abc import Sequence

import redis

from data.clock import Clock, wall_clock
from data.errors import ConfigurationError, EncoreError
from data.units import MICROS
from events.stream.heartbeat import Heartbeats
from features.state.redis import OnlineStates
from server.process.home import only_one
from server.redis.connections import connect_redis, heartbeats_of, states_of
from server.settings import Settings, read_settings

__all__ = ["events_arrive", "main", "monitor_watches", "worker_lives"]


def worker_lives(heartbeats: Heartbeats, name: str) -> bool:
    """Return whether this worker's loop runs. One that waits for Kafka or Redis does not beat."""
    return heartbeats.of(name) is not None


def events_arrive(states: OnlineStates, seconds: float, clock: Clock = wall_clock) -> bool:
    """Return whether the newest event in the states is at most so old."""
    newest = states.newest_event()
    return newest is not None and clock() - newest <= seconds * MICROS


def monitor_watches(settings: Settings) -> bool:
    """Return whether some process holds the monitor's lock of this home."""
    try:
        with only_one(settings, "predictions", "asks"):
            return False
    except ConfigurationError:
        return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns 0 if all is well, 1 if not."""
    parser = argparse.ArgumentParser(prog="probe", description="Ask whether a part of Encore is well.")
    parts = parser.add_subparsers(dest="part", required=True)
    parts.add_parser("worker").add_argument("name")
    parts.add_parser("traffic").add_argument("seconds", type=float)
    parts.add_parser("monitor")
    asked = parser.parse_args(arguments)
    try:
        settings = read_settings()
        if asked.part == "monitor":
            return 0 if monitor_watches(settings) else 1
        client = connect_redis(settings)
        if asked.part == "worker":
            well = worker_lives(heartbeats_of(client, settings), asked.name)
        else:
            well = events_arrive(states_of(client, settings), asked.seconds)
    except (EncoreError, redis.RedisError) as error:
        sys.stderr.write(f"probe: {error}\n")
        return 1
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
