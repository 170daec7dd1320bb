"""How long data is kept, as one setting says it: `log=400d, predictions=90d, models=365d, state:visit=30d`.

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
_PART = re.compile(r"(log|predictions|dead_letters|models|state:[a-z][a-z0-9_]{0,47})=([1-9]\d{0,4})([hd])")


class Retention(NamedTuple):
    """How long each kind of data is kept, µs; None: not limited by time. `states`: by entity, after its last event."""

    log_us: int | None = None
    predictions_us: int | None = None
    dead_letters_us: int | None = None
    models_us: int | None = None
    states: dict[str, int] = {}  # noqa: RUF012 - nobody changes it

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a setting. Raises ConfigurationError where it is no retention, or names one thing twice."""
        durations_us: dict[str, int] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            match = _PART.fullmatch(part)
            if match is None or match[1] in durations_us:
                raise ConfigurationError(
                    f"{part!r:.80} is {'there twice' if match else 'no retention'}; write log=400d, predictions=90d, "
                    "dead_letters=30d, models=365d or state:ENTITY=60d, h for hours and d for days, commas between"
                )
            durations_us[match[1]] = int(match[2]) * _UNITS[match[3]]
        states = {name.removeprefix(_STATE): us for name, us in durations_us.items() if name.startswith(_STATE)}
        return cls(
            durations_us.get("log"),
            durations_us.get("predictions"),
            durations_us.get("dead_letters"),
            durations_us.get("models"),
            states,
        )


def check_retention(text: str) -> str:
    """Return the text of a setting. Raises ValueError where it says no retention."""
    try:
        Retention.parse(text)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None
    return text
