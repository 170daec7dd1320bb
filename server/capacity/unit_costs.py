"""Unit costs of an event, an answer and a state, as `server.capacity.measure` measured them on a machine."""

from pathlib import Path
from typing import Annotated

import msgspec

from data.atomic import write_whole
from data.errors import DataError
from server.settings import Settings

__all__ = ["StateCost", "UnitCosts", "keep_costs", "unit_costs"]

_SHIPPED = Path(__file__).with_name("shipped_costs.json")

_Positive = Annotated[float, msgspec.Meta(gt=0, lt=1e12)]
_Number = Annotated[int, msgspec.Meta(ge=1, lt=10**15)]


class StateCost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Memory in Redis of a state of an entity, bytes with its key, the mean of `count` states.

    `of_ordering_key`: the entity's keys include the one that orders events: all its events are in one partition, and
    the number of states grows with the number of such keys.
    """

    bytes: _Positive
    count: _Number
    of_ordering_key: bool


class UnitCosts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Processor times in µs and sizes in bytes.

    Of an event: a worker's and Redis' processor time, bytes in the event log and in Kafka, processor time of a rebuild.
    Of an answer of `/predict`: the API's and Redis' processor time. `one_key_us`: reading, merging and writing
    a busy state once. Measured with `events` events in `partitions` partitions, on `machine`, at `at` (RFC 3339).
    """

    at: str
    machine: str
    events: _Number
    partitions: _Number
    worker_us_per_event: _Positive
    redis_us_per_event: _Positive
    log_bytes_per_event: _Positive
    message_bytes_per_event: _Positive
    rebuild_us_per_event: _Positive
    api_us_per_answer: _Positive
    redis_us_per_answer: _Positive
    one_key_us: _Positive
    states: dict[str, StateCost]

    @property
    def source(self) -> str:
        """Where and when they were measured, in words."""
        return f"measured {self.at[:10]} on {self.machine}"


def unit_costs(settings: Settings) -> UnitCosts:
    """Return the unit costs that were measured in this home, else those shipped.

    Raises DataError for a malformed file.
    """
    path = _costs_path(settings)
    try:
        return msgspec.json.decode(path.read_bytes(), type=UnitCosts)
    except FileNotFoundError:
        return msgspec.json.decode(_SHIPPED.read_bytes(), type=UnitCosts)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(
            f"{path}: not the unit costs that `encore plan --measure` wrote ({error}); measure again, or delete it: "
            "those shipped are taken then"
        ) from error


def keep_costs(settings: Settings, costs: UnitCosts) -> Path:
    """Keep unit costs in this home; return their file."""
    path = _costs_path(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, msgspec.json.format(msgspec.json.encode(costs), indent=2) + b"\n")
    return path


def _costs_path(settings: Settings) -> Path:
    return settings.quality / "unit_costs.json"
