"""Past: traffic, lag, freshness, memory and sizes over time, who reads in which group, and how fast things grow."""

import streamlit as st

from data.clock import wall_clock
from data.errors import UnavailableError
from data.units import MICROS
from server.console import charts, formats
from server.console.frame import guarded, heading, plot, table, tell
from server.console.resources import feed, inspect, prometheus, settings
from server.console.watch import messages, series
from server.meters.past import past_folder, read_past

__all__ = ["page"]

_EVERY_S = 30.0


def page() -> None:
    """A range of time, and a chart of each quantity over it."""
    heading("Past", "How the system did over time. What nobody saw is a gap.")
    ranges = list(series.RANGES)
    picked = st.segmented_control("Range", ranges, default=ranges[1], required=True)
    _charts(series.RANGES[picked or ranges[1]])
    _groups()
    _sizes()


@st.fragment(run_every=_EVERY_S)
@guarded
def _charts(range_s: int) -> None:
    until_us = wall_clock()
    since_us = until_us - range_s * MICROS
    values = _over_time(since_us, until_us)
    charted = [quantity for quantity in series.SERIES if values[quantity.name].lines]
    if not charted:
        st.info(
            "Nothing is kept of this time. The monitor keeps it: `encore monitor`, which `encore up` runs. Where there "
            "is a Prometheus, PROMETHEUS_URL says where."
        )
        return
    for index, column in enumerate(st.columns(2)):
        with column:
            for quantity in charted[index::2]:
                st.markdown(f"**{quantity.title}**")
                history = values[quantity.name]
                figure = charts.over_time(
                    *(history.times, history.lines), unit=quantity.unit, limit=quantity.limit, limit_name=quantity.alert
                )
                plot(figure, f"past_{quantity.name}")
    server = settings().prometheus
    st.caption(
        (
            "From Prometheus; groups and what it does not have, as the monitor kept it."
            if server
            else "As the monitor kept it."
        )
        + f" A value stands for {formats.duration(series.step_of(range_s))}; times are UTC."
    )


def _over_time(since_us: int, until_us: int) -> dict[str, series.OverTime]:
    """Return each quantity's values, from Prometheus if it has them, else as the monitor kept them."""
    values: dict[str, series.OverTime] = {}
    server = prometheus()
    if server is not None:
        try:
            values = {
                quantity.name: series.prometheus_over_time(server, quantity, since_us, until_us)
                for quantity in series.SERIES
            }
        except UnavailableError as error:
            tell(error)
    readings = read_past(past_folder(settings()), since_us, until_us)
    for quantity in series.SERIES:
        if quantity.name not in values or not values[quantity.name].lines:
            values[quantity.name] = series.kept_over_time(readings, quantity, since_us, until_us)
    return values


@st.fragment(run_every=_EVERY_S)
@guarded
def _groups() -> None:
    st.subheader("Consumer groups and members", anchor=False)
    workers = feed().looks(wall_clock())[-1].workers
    if workers:
        table(messages.member_rows(workers, settings().kafka_names.group, wall_clock()))
    else:
        st.info("No worker runs: `encore stream`.")
    groups = inspect(lambda inspector: inspector.groups(inspector.partitions()))
    table(messages.group_rows(groups))


@guarded
def _sizes() -> None:
    st.subheader("Sizes and growth", anchor=False)
    sizes = feed().looks(wall_clock())[-1].kept
    if not sizes:
        st.info("Nothing is measured yet: the monitor does so once an hour (`encore monitor`), and `encore retention`.")
        return
    table(
        [
            {
                "what": size.what,
                "size": formats.size(size.bytes),
                "growth a day": "not known yet" if size.a_day is None else formats.size(size.a_day),
            }
            for size in sizes
        ]
    )
    st.caption("Growth is against the day before, as `encore status` shows it.")
