"""How long things are kept, as one setting says it: `log=400d, predictions=90d, models=365d, state:visit=30d`.

What is not named is kept as long as its own bounds allow. `state:ENTITY` is the time after which a state that nobody
has folded into leaves Redis.
"""

import re
from typing import NamedTuple, Self

from data.errors import ConfigurationError
from data.units import DAY_US, HOUR_US

__all__ = ["Retention", "check_retention"]

_UNITS = {"h": HOUR_US, "d": DAY_US}
_STATE = "state:"
_ONE = re.compile(r"(log|predictions|dead_letters|models|state:[a-z][a-z0-9_]{0,47})=([1-9]\d{0,4})([hd])")


class Retention(NamedTuple):
    """How long what is kept, µs; None: not bounded by time. `states`: by entity, how long after its last event."""

    log_us: int | None = None
    predictions_us: int | None = None
    dead_letters_us: int | None = None
    models_us: int | None = None
    states: dict[str, int] = {}  # noqa: RUF012 - nobody changes it

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return what a setting says. Raises ConfigurationError where it says something else, or one thing twice."""
        found: dict[str, int] = {}
        for one in filter(None, (part.strip() for part in text.split(","))):
            match = _ONE.fullmatch(one)
            if match is None or match[1] in found:
                raise ConfigurationError(
                    f"{one!r:.80} is {'there twice' if match else 'no retention'}; write log=400d, predictions=90d, "
                    "dead_letters=30d, models=365d or state:ENTITY=60d, h for hours and d for days, commas between"
                )
            found[match[1]] = int(match[2]) * _UNITS[match[3]]
        states = {name.removeprefix(_STATE): us for name, us in found.items() if name.startswith(_STATE)}
        return cls(found.get("log"), found.get("predictions"), found.get("dead_letters"), found.get("models"), states)


def check_retention(text: str) -> str:
    """Return the text of a setting. Raises ValueError where it says no retention."""
    try:
        Retention.parse(text)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    return text
