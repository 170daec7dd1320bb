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
    found = _over_time(since_us, until_us)
    known = [one for one in series.SERIES if found[one.name].lines]
    if not known:
        st.info(
            "Nothing is kept of this time. The monitor keeps it: `encore monitor`, which `encore up` runs. Where there "
            "is a Prometheus, PROMETHEUS_URL says where."
        )
        return
    for place, column in enumerate(st.columns(2)):
        with column:
            for one in known[place::2]:
                st.markdown(f"**{one.title}**")
                over = found[one.name]
                figure = charts.over_time(
                    *(over.times, over.lines), unit=one.unit, limit=one.limit, limit_name=one.alert
                )
                plot(figure, f"past_{one.name}")
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
    """Return each quantity, from Prometheus where there is one that knows it, else as the monitor kept it."""
    found: dict[str, series.OverTime] = {}
    server = prometheus()
    if server is not None:
        try:
            found = {one.name: series.prometheus_over_time(server, one, since_us, until_us) for one in series.SERIES}
        except UnavailableError as error:
            tell(error)
    readings = read_past(past_folder(settings()), since_us, until_us)
    for one in series.SERIES:
        if one.name not in found or not found[one.name].lines:
            found[one.name] = series.kept_over_time(readings, one, since_us, until_us)
    return found


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
    kept = feed().looks(wall_clock())[-1].kept
    if not kept:
        st.info("Nothing is measured yet: the monitor does so once an hour (`encore monitor`), and `encore retention`.")
        return
    table(
        [
            {
                "what": one.what,
                "size": formats.size(one.bytes),
                "growth a day": "not known yet" if one.a_day is None else formats.size(one.a_day),
            }
            for one in kept
        ]
    )
    st.caption("Growth is against the day before, as `encore status` shows it.")
