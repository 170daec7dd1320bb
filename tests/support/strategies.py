"""Hypothesis strategies that several tests share."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from data.default_shop import EVENT_TYPES, ShopEvent
from data.event import Event

__all__ = ["NOW_US", "entity_ids", "events", "json_objects"]

NOW_US = 2_000_000_000 * 1_000_000
"""A clock later than every event that `events` makes."""

_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def entity_ids() -> st.SearchStrategy[str]:
    """1 to 128 printable characters, of any script."""
    return st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=128)


def json_objects() -> st.SearchStrategy[dict[str, Any]]:
    """Any JSON object, of numbers that JSON keeps exactly."""
    scalars = (
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    )
    values = st.recursive(
        scalars | _text,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
        max_leaves=8,
    )
    return st.dictionaries(_text, values, max_size=3)


@st.composite
def events(draw: st.DrawFn, /, **fixed: Any) -> Event:
    """Valid events, in any fields but those that are `fixed` (each a value)."""
    fields: dict[str, st.SearchStrategy[Any]] = {
        "event_id": st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=64),
        "event_type": st.sampled_from(EVENT_TYPES),
        "user_id": entity_ids(),
        "product_id": entity_ids(),
        "amount": st.floats(0, 1e9).map(lambda amount: round(amount, 6)),
        "timestamp": st.datetimes(datetime(1970, 1, 1), datetime(2033, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
        "quantity": st.integers(1, 2**31 - 1),
        "session_id": st.none() | _text,
        "category": st.none() | _text,
        "metadata": st.none() | json_objects(),
    }
    return ShopEvent(**{name: fixed[name] if name in fixed else draw(strategy) for name, strategy in fields.items()})
