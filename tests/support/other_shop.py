"""Another shop, with names and shapes of its own: rides on hired bicycles."""

from typing import Any

import featuretools as ft
from event_streams import START_US, Placed, moments, place
from featuretools.primitives import Count, Last, Max, Mean, Min, PercentTrue, Std, Sum, TimeSinceLast, Trend
from hypothesis import strategies as st

from data.event import event_class
from data.schema import Entity, EventType, Measure, Schema
from data.units import DAY_US, from_micros
from features.plan.compiler import compile_features
from features.plan.entity_set import entity_set
from features.plan.plan import Plan
from features.primitives import (
    DecayedSum,
    NthLast,
    NumUnique,
    NumUniqueUpTo,
    Quantile,
    Rate,
    SessionCount,
    TopCount,
    TopShare,
)

__all__ = ["RIDES", "WINDOWS", "define_rides", "ride", "rides", "rides_plan", "some_rides"]

RIDES = Schema(
    types=(EventType("ride", "rides"), EventType("top up"), EventType("cancel", "cancellations")),
    keys=("station", "rider"),
    labels=("tariff", "weather"),
    measures=(
        Measure("fare", decimals=2, most=10_000),
        Measure("minutes", default=0),
        Measure("change", 3, -99, 99, 0),
    ),
    ordered_by="rider",
    entities=(
        Entity("rider", ("rider",), "somebody who rides"),
        Entity("station", ("station",)),
        Entity("tariff", ("tariff",)),
        Entity("rider_station", ("rider", "station")),
        Entity("rider_tariff", ("tariff", "rider")),
        Entity("trip", ("tariff", "rider", "station")),
    ),
    asks=("rider", "tariff"),
)

WINDOWS = {"2h": ("2 hours", "10 minutes"), "3d": ("3 days", "6 hours")}

ride = event_class(RIDES)


def define_rides(shop: ft.EntitySet) -> list[Any]:
    """Features of every entity, over types, labels and all of the measures."""
    event = shop["events"].ww
    kind, tariff, weather = (ft.Feature(event[name]) for name in ("event_type", "tariff", "weather"))
    rode, wet = kind == "ride", weather.isin(["rain", "snow"])
    features = []
    for entity in RIDES.entities:

        def over(column: Any, primitive: Any, frame: str = entity.frame, **options: Any) -> Any:
            base = event[column] if isinstance(column, str) else column
            return ft.Feature(base, parent_dataframe_name=frame, primitive=primitive, **options)

        made = {
            "rides": over("event_id", Count, where=rode),
            "wet_rides_3d": over("event_id", Count, where=rode & wet, use_previous="3 days"),
            "wet": over(wet, PercentTrue, where=rode),
            "fares": over("fare", Sum, where=rode),
            "minutes_2h": over("minutes", Sum, use_previous="2 hours"),
            "mean_change": over("change", Mean, where=kind.isin(["ride", "top up"]) & (tariff == "day")),
            "std_change_3d": over("change", Std, use_previous="3 days"),
            "least_change": over("change", Min),
            "most_fare": over("fare", Max, where=weather == "rain"),
            "last_change": over("change", Last),
            "trend": over([event["change"], event["timestamp"]], Trend),
            "hours_since_cancel": over("timestamp", TimeSinceLast(unit="hours"), where=kind == "cancel"),
        }
        made |= {
            "last_change_but_1": over([event["change"], event["timestamp"]], NthLast(2), where=rode),
            "most_fare_3d": over("fare", Max, use_previous="3 days"),
            "recent_change": over([event["change"], event["timestamp"]], DecayedSum("2 days")),
            "median_change": over("change", Quantile(), where=wet),
            "top_tariff_3d": over("tariff", TopShare(1), where=rode, use_previous="3 days"),
            "weathers_2h": over("weather", NumUniqueUpTo(2), use_previous="2 hours"),
        }
        made["cost"] = ft.Feature([made["fares"], made["rides"]], primitive=Rate)
        if entity.name == "rider":
            made["stations"] = over("station", NumUnique)
            made["stations_3d"] = over("station", NumUniqueUpTo(), where=tariff == "day", use_previous="3 days")
            made["top_wet_station"] = over("station", TopCount(1, most=2), where=rode & wet)
            made["sessions"] = over("timestamp", SessionCount("20 hours", WINDOWS["3d"]), where=rode)
            made["tariffs_ridden_wet"] = over("tariff", NumUnique, where=rode & wet)
        if entity.name in {"station", "tariff"}:
            made["riders"] = over("rider", NumUnique, where=rode)
        if entity.name == "rider_station":
            made["tariffs"] = over("tariff", NumUnique, where=kind.isin(["ride", "cancel"]))
        features += [feature.rename(f"{entity.name}_{name}") for name, feature in made.items()]
    return features


def rides_plan() -> Plan:
    """The plan of these features."""
    return compile_features(define_rides(entity_set(RIDES)), RIDES, WINDOWS)


@st.composite
def rides(draw: st.DrawFn, *, most: int = 30) -> list[Placed]:
    """Events in the order they arrive, which is not that of their times."""
    facts = st.fixed_dictionaries(
        {
            "event_type": st.sampled_from(RIDES.type_names),
            "rider": st.sampled_from(["ann", "bo", "ü"]),
            "station": st.sampled_from(["ann", "east", "west"]),
            "fare": st.sampled_from([0.0, 0.01, 2.35, 10_000.0]),
            "timestamp": moments(8).map(from_micros),
            "minutes": st.sampled_from([0, 7, 2**31 - 1]),
            "change": st.sampled_from([0.0, -99.0, 99.0, -0.001, 12.345]),
            "tariff": st.sampled_from([None, "", "day", "night"]),
            "weather": st.sampled_from([None, "", "rain", "snow", "sun"]),
        }
    )
    drawn = draw(st.lists(facts, min_size=1, max_size=most))
    order = draw(st.permutations(range(len(drawn))))
    events = [ride(event_id=f"e{order[number]:03d}", **fields) for number, fields in enumerate(drawn)]
    return place(events, ordered_by="rider")


def some_rides(number: int) -> list[Placed]:
    """So many events of all kinds, always the same."""
    events = [
        ride(
            event_id=f"e{n:04d}",
            event_type=RIDES.type_names[n % 3],
            rider=("ann", "bo", "ü")[n * 7 % 3],
            station=("ann", "east", "west")[n * 5 % 11 % 3],
            fare=n % 7 / 4,
            timestamp=from_micros(START_US + n * 7919 % 97 * DAY_US // 12),
            minutes=n % 5,
            change=(n % 9 - 4) / 8,
            tariff=(None, "", "day", "night")[n * 3 % 7 % 4],
            weather=(None, "rain", "snow", "sun")[n % 4],
        )
        for n in range(number)
    ]
    return place(events, ordered_by="rider")
