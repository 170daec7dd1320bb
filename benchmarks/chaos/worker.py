"""A stream worker as `encore stream` runs it, except for its clock, which a chaos run steps."""

import argparse
import logging
import mmap
import signal
import struct
import threading
from pathlib import Path

from data.clock import wall_clock
from events.kafka.topics import EVENTS_TOPIC
from server.jobs.stream import run_worker
from server.settings import read_settings

__all__ = ["SteppedClock", "step"]

_OFFSET = struct.Struct("<q")


class SteppedClock:
    """The machine's clock and an offset (µs) that another process writes into a file."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._offset = mmap.mmap(file.fileno(), _OFFSET.size)

    def __call__(self) -> int:
        """Return the time of a clock that may be wrong, UTC µs since 1970."""
        offset: int = _OFFSET.unpack(self._offset)[0]
        return wall_clock() + offset


def step(path: Path, seconds: int) -> None:
    """Set the clock that reads this file off by `seconds`."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(_OFFSET.pack(seconds * 1_000_000))


def main() -> None:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("clock", type=Path)
    parser.add_argument("--name")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("kafka").setLevel(logging.ERROR)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    run_worker(
        read_settings(),
        stop,
        name=args.name,
        topic=EVENTS_TOPIC,
        group="encore-stream",
        clock=SteppedClock(args.clock),
    )


if __name__ == "__main__":
    main()
