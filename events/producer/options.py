"""The producer's options, and the flags of its command lines."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from data.default_shop import SHOP
from data.errors import ConfigurationError
from data.schema import Schema
from events.kafka.access import OPEN, Access
from events.kafka.topics import EVENTS_TOPIC, PARTITIONS

__all__ = ["Flag", "ProduceOptions", "flags"]

Mode = Literal["continuous", "burst", "file"]

_DEFAULT_RATE = 120.0


@dataclass(frozen=True)
class ProduceOptions:
    """What to send and where to. Raises ConfigurationError where fields contradict each other.

    `rate` is in events per second, `seconds` limits how long to send, `wait_s` how long to wait for the broker.
    `schema` is that of the events.
    """

    mode: Annotated[Mode, "Live traffic at a rate, a number of live events, or a file."] = "continuous"
    rate: Annotated[float | None, f"Events per second (continuous: {_DEFAULT_RATE:g}; file: no limit)."] = None
    seconds: Annotated[float | None, "Stop after so long."] = None
    count: Annotated[int | None, "burst: how many events."] = None
    input: Annotated[Path | None, "file: .jsonl or .jsonl.gz, an event a line, sent as it is."] = None
    as_recorded: Annotated[bool, "file: keep the gaps between the timestamps."] = False
    speedup: Annotated[float, "with --as-recorded: times as fast."] = 1.0
    servers: Annotated[str, "Kafka bootstrap servers."] = "localhost:9092"
    topic: Annotated[str, "Made where it is missing."] = EVENTS_TOPIC
    partitions: Annotated[int, "Of a topic that is made."] = PARTITIONS
    seed: Annotated[int, "Of the synthetic traffic."] = 7
    users: Annotated[int, "Synthetic shoppers."] = 2_000
    products: Annotated[int, "Products of the synthetic shop."] = 400
    wait_s: Annotated[float, "Seconds to wait for Kafka."] = 10.0
    letters_s: Annotated[float, "Seconds to wait until what is no event is a dead letter; 0: do not look."] = 5.0
    access: Access = OPEN
    schema: Schema = SHOP

    def __post_init__(self) -> None:
        faults = (
            (self.mode not in get_args(Mode), f"--mode {self.mode}: choose one of {', '.join(get_args(Mode))}"),
            (self.mode == "burst" and self.count is None, "--mode burst: say how many events with --count"),
            (self.mode == "file" and self.input is None, "--mode file: name the file with --input"),
            (self.mode != "burst" and self.count is not None, "--count: goes with --mode burst"),
            (self.mode != "file" and self.input is not None, "--input: goes with --mode file"),
            (self.mode != "file" and self.as_recorded, "--as-recorded: goes with --mode file"),
            (self.mode == "burst" and self.rate is not None, "--rate: a burst has none; use --mode continuous"),
            (self.as_recorded and self.rate is not None, "--rate, --as-recorded: choose one"),
            (not self.as_recorded and self.speedup != 1.0, "--speedup: goes with --as-recorded"),
            *(
                (value is not None and not (value > 0 and math.isfinite(value)), f"--{flag} {value}: must be above 0")
                for flag, value in (
                    ("rate", self.rate),
                    ("seconds", self.seconds),
                    ("count", self.count),
                    ("speedup", self.speedup),
                    ("users", self.users),
                    ("products", self.products),
                    ("wait", self.wait_s),
                )
            ),
            (not (self.letters_s >= 0 and math.isfinite(self.letters_s)), f"--letters {self.letters_s}: 0 or more"),
        )
        for at_fault, message in faults:
            if at_fault:
                raise ConfigurationError(message)

    @property
    def asked_rate(self) -> float | None:
        """Events per second to hold; None is as fast as possible, or as recorded."""
        return _DEFAULT_RATE if self.mode == "continuous" and self.rate is None else self.rate


class Flag(NamedTuple):
    """A command line's flag (`--as-recorded`) for the option `field`: the type of its value, its default and help."""

    field: str
    name: str
    type: Any
    default: Any
    help: str


def flags() -> Iterator[Flag]:
    """Yield the flags of `ProduceOptions`, in its order: one for each field that has a help."""
    hints = get_type_hints(ProduceOptions, include_extras=True)
    for field in fields(ProduceOptions):
        if get_origin(hints[field.name]) is Annotated:
            kind, words = get_args(hints[field.name])
            name = "--" + field.name.removesuffix("_s").replace("_", "-")
            yield Flag(field.name, name, kind, field.default, words)
