"""Live: current traffic, and whether the system keeps up."""

import streamlit as st

from data.clock import wall_clock
from data.units import from_micros
from events.kafka.topics import dead_letter_topic
from server.console import charts, formats
from server.console.calculators.answers import scored_row
from server.console.frame import facts, guarded, heading, plot, table
from server.console.resources import api_key, asking, feed, inspect, readings, settings
from server.console.visit import link
from server.console.watch import messages
from server.console.watch.alerts import firing
from server.console.watch.live_feed import freshness_ms, lag_by_partition, rates
from server.jobs.status import Status

__all__ = ["page"]

_EVERY_S = 2.0
_LETTERS = 10
_SCORES = 10
_TILES = {
    "EncoreLag": "Lag",
    "EncoreFreshness": "Fresh, p99",
    "EncoreFeaturesOld": "Newest event",
    "EncoreDeadLetters": "Dead letters",
}
"""The tile that turns red when an alert fires, by alert."""


def page() -> None:
    """Traffic, lag, freshness, dead letters and the latest scores."""
    heading("Live", "What goes through the system now. The page refreshes by itself every two seconds.")
    _traffic()
    _letters()


@st.fragment(run_every=_EVERY_S)
@guarded
def _traffic() -> None:
    looks, types = feed().looks(wall_clock()), settings().declared.schema.type_names
    status, recent = looks[-1], rates(looks, types)
    for problem in status.problems:
        st.warning(formats.plain(problem), icon=":material/warning:")
    fresh, alarming = freshness_ms(status), firing(readings())
    newest = status.newest_event_us
    facts(
        {
            "Events": f"{formats.number(recent[-1].total)} /s" if recent else formats.NOTHING,
            "Lag": formats.NOTHING if status.lag is None else f"{formats.number(status.lag)} msg",
            "Fresh, p50": formats.duration(fresh and fresh[0] / 1000),
            "Fresh, p99": formats.duration(fresh and fresh[1] / 1000),
            "Newest event": formats.NOTHING if newest is None else formats.ago(newest, status.at_us),
            "Dead letters": formats.number(status.dead_letters),
            "Sent again": formats.number(status.repeats),
            "Requests": formats.number((status.api or {}).get("requests")),
            "Scores": formats.number((status.api or {}).get("predictions")),
        },
        {
            "Events": "Folded into features per second, all workers and types together.",
            "Lag": "Messages that wait for a worker, all partitions together.",
            "Fresh, p50": "Median time from an event's own time to the moment a score sees it, of the newest events.",
            "Sent again": "Events with an id that came before: not counted. Of the live workers, since they started.",
            "Requests": "To score or to read features, since this API process started.",
            "Scores": "Given since this API process started.",
            "Fresh, p99": "99 of 100 events are visible to scores sooner than this.",
        },
        fires={tile: name for name, tile in _TILES.items() if name in {alert.name for alert in alarming}},
    )
    if alarming:
        names = ", ".join(alert.name for alert in alarming)
        link("alerts", f"What to do about {names}", ":material/notifications:")
    left, right = st.columns([2, 1])
    with left:
        st.subheader("Events by type", anchor=False)
        if len(recent) < 2:
            st.info("Watching … a rate needs a few seconds." if status.workers else "No worker runs: `encore stream`.")
        else:
            plot(
                charts.lines(
                    [from_micros(sample.at_us) for sample in recent],
                    {kind.replace("_", " "): [sample.by_type[kind] for sample in recent] for kind in types},
                    unit="events/s",
                ),
                "rates",
            )
    with right:
        st.subheader("Lag by partition", anchor=False)
        lag = lag_by_partition(status)
        if lag:
            plot(
                charts.bars({str(partition): waiting for partition, waiting in lag.items()}, unit="messages"),
                "lag",
            )
        else:
            st.info("No worker has a partition. Start one with `encore stream`.")
    _scores(status)


def _scores(status: Status) -> None:
    st.subheader("Latest scored requests", anchor=False)
    topic = settings().kafka_names.predictions
    rows = messages.prediction_rows(
        inspect(lambda inspector: inspector.newest(topic, _SCORES)),
        settings().declared.schema,
        _horizon,
    )
    newest = (status.api or {}).get("last_prediction")
    if not rows and newest:  # without the predictions topic the API still knows the last one
        rows = [{"time": formats.when(newest["at"])} | scored_row(newest, settings().declared.schema)]
    if rows:
        table(rows)
    else:
        st.info("Nothing has been scored yet. Ask something on the page Ask.")


def _horizon(target: str) -> str:
    question = asking(target, api_key())
    return question.within.removeprefix("within ") if question else ""


@st.fragment(run_every=5)
@guarded
def _letters() -> None:
    st.subheader("Dead letters", anchor=False)
    status = feed().looks(wall_clock())[-1]
    if status.rejected:
        st.caption(
            "Since the workers started: "
            + formats.plain(", ".join(f"{kind} {count:,}" for kind, count in sorted(status.rejected.items())))
        )
    topic = dead_letter_topic(settings().kafka_names.events)
    letters = inspect(lambda inspector: inspector.newest(topic, _LETTERS))
    if letters:
        table(messages.letter_rows(letters))
    else:
        st.success("None: every message so far was an event.", icon=":material/check_circle:")
