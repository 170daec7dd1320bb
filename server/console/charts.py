"""Plotly figures in the console's colours. Numbers are computed elsewhere; external text is shown as text."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import accumulate
from typing import Any

import plotly.graph_objects as go

from server.console.formats import chart_text

__all__ = ["COLOURS", "bars", "curves", "gauge", "grouped_bars", "lines", "ranking", "sparkline", "waterfall"]

COLOURS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "vermilion": "#D55E00",
    "grey": "#8A949E",
}
"""The palette of Okabe and Ito, safe for colour-blind readers (https://jfly.uni-koeln.de/color/), lightened where a
colour would not show on a dark page."""

_MARGIN = {"l": 8, "r": 8, "t": 28, "b": 8}
_CYCLE = [COLOURS[name] for name in ("sky", "orange", "green", "purple", "vermilion", "grey")]
_DASHES = ("solid", "dash", "dot", "dashdot")
_LEGEND = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}


def _figure(traces: Any, height: int, **layout: Any) -> go.Figure:
    return go.Figure(traces, {"height": height, "margin": _MARGIN, **layout})


def _line(place: int, name: str, x: Sequence[Any], y: Sequence[float | None], **how: Any) -> go.Scatter:
    """Return the curve at an index of the cycle, with its own dash beside its colour."""
    line = {"dash": _DASHES[place % len(_DASHES)], "width": 2, "color": _CYCLE[place % len(_CYCLE)]}
    return go.Scatter(x=list(x), y=list(y), name=chart_text(name), line=line, **how)


def lines(times: Sequence[datetime], series: Mapping[str, Sequence[float | None]], *, unit: str) -> go.Figure:
    """Return lines over time, each with its own dash beside its colour."""
    return _figure(
        [
            _line(place, name, times, values, mode="lines", hovertemplate="%{y:,.1f} " + unit)
            for place, (name, values) in enumerate(series.items())
        ],
        260,
        hovermode="x unified",
        legend=_LEGEND,
        yaxis={"title": unit, "rangemode": "tozero"},
        xaxis={"tickformat": "%H:%M:%S"},
    )


def bars(values: Mapping[str, float], *, unit: str) -> go.Figure:
    """Return vertical bars, each with its value."""
    return _figure(
        go.Bar(
            x=[chart_text(name) for name in values],
            y=list(values.values()),
            marker_color=COLOURS["blue"],
            text=[f"{value:,.0f}" for value in values.values()],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{x}: %{y:,.0f} " + unit + "<extra></extra>",
        ),
        260,
        yaxis={"title": unit, "rangemode": "tozero"},
        xaxis={"type": "category"},
    )


def gauge(score: float, threshold: float) -> go.Figure:
    """Return a probability as a dial, with the model's threshold as a line."""
    return _figure(
        go.Indicator(
            mode="gauge+number",
            value=100 * score,
            number={"suffix": " %", "valueformat": ".1f"},
            gauge={
                "axis": {"range": [0, 100], "tickvals": [0, 25, 50, 75, 100]},
                "bar": {"color": COLOURS["blue" if score >= threshold else "grey"], "thickness": 0.6},
                "threshold": {
                    "line": {"color": COLOURS["vermilion"], "width": 4},
                    "thickness": 1,
                    "value": 100 * threshold,
                },
            },
        ),
        220,
        margin={"l": 32, "r": 32, "t": 24, "b": 8},
    )


def waterfall(base: float, contributions: Mapping[str, float], total: float) -> go.Figure:
    """Return a score's composition on the log-odds scale: from the base through each contribution to the total."""
    names = ["average", *(_folded(chart_text(name)) for name in contributions), "this score"]
    steps = list(accumulate(contributions.values(), initial=base))
    low, high = min(0.0, *steps), max(0.0, *steps)
    room = 0.2 * (high - low)
    return _figure(
        go.Waterfall(
            orientation="h",
            measure=["absolute", *["relative"] * len(contributions), "total"],
            y=names,
            x=[base, *contributions.values(), total],
            text=[f"{value:+.2f}" for value in (base, *contributions.values(), total)],
            textposition="outside",
            cliponaxis=False,
            increasing={"marker": {"color": COLOURS["blue"]}},
            decreasing={"marker": {"color": COLOURS["orange"]}},
            totals={"marker": {"color": COLOURS["grey"]}},
            hovertemplate="%{y}: %{text}<extra></extra>",
        ),
        60 + 30 * len(names),
        margin={**_MARGIN, "r": 40},
        yaxis={"autorange": "reversed", "automargin": True},
        xaxis={"title": "log-odds", "range": [low - room, high + room], "nticks": 5, "tickangle": 0},
        showlegend=False,
    )


def _folded(name: str) -> str:
    """Break a long name into two lines, so that the bars have room on a phone."""
    parts = name.split("_")
    if len(name) <= 20 or len(parts) < 2:
        return name
    cut = min(range(1, len(parts)), key=lambda place: abs(len("_".join(parts[:place])) - len(name) / 2))
    return "_".join(parts[:cut]) + "_<br>" + "_".join(parts[cut:])


def sparkline(counts: Mapping[str, Mapping[str, int]]) -> go.Figure:
    """Return events by day, one colour per type, with minimal axes."""
    return _figure(
        [
            go.Bar(
                x=list(days),
                y=list(days.values()),
                name=chart_text(kind.replace("_", " ")),
                marker_color=_CYCLE[place % len(_CYCLE)],
            )
            for place, (kind, days) in enumerate(counts.items())
        ],
        150,
        barmode="stack",
        legend=_LEGEND,
        yaxis={"visible": False},
        xaxis={"type": "date"},
        hovermode="x unified",
    )


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    *,
    x: str,
    y: str,
    diagonal: bool = False,
    height: int = 320,
    markers: bool = False,
) -> go.Figure:
    """Return curves of one quantity over another, both named; `diagonal` draws the line of equality."""
    equal: dict[str, Any] = {"type": "line", "x0": 0, "y0": 0, "x1": 1, "y1": 1}
    equal["line"] = {"dash": "dot", "width": 1, "color": COLOURS["grey"]}
    return _figure(
        [
            _line(place, name, xs, ys, mode="lines+markers" if markers else "lines")
            for place, (name, (xs, ys)) in enumerate(series.items())
        ],
        height,
        shapes=[equal] if diagonal else [],
        legend=_LEGEND,
        xaxis={"title": x},
        yaxis={"title": y, "rangemode": "tozero"},
    )


def ranking(values: Mapping[str, float], *, unit: str) -> go.Figure:
    """Return horizontal bars, the first on top."""
    names = [chart_text(name) for name in values]
    return _figure(
        go.Bar(
            orientation="h",
            y=names,
            x=list(values.values()),
            marker_color=COLOURS["sky"],
            hovertemplate="%{y}: %{x:.4f}<extra></extra>",
        ),
        60 + 22 * len(names),
        yaxis={"autorange": "reversed", "automargin": True},
        xaxis={"title": unit},
    )


def grouped_bars(names: Sequence[str], series: Mapping[str, Sequence[float]], *, unit: str) -> go.Figure:
    """Return bars of several series side by side; patterns distinguish them where colours do not."""
    return _figure(
        [
            go.Bar(
                x=[chart_text(name) for name in names],
                y=list(values),
                name=chart_text(title),
                marker={"color": _CYCLE[place % len(_CYCLE)], "pattern": {"shape": ("", "/", "x")[place % 3]}},
                hovertemplate="%{y:.1f} " + unit,
            )
            for place, (title, values) in enumerate(series.items())
        ],
        320,
        barmode="group",
        legend=_LEGEND,
        yaxis={"title": unit, "rangemode": "tozero"},
        xaxis={"type": "category"},
        hovermode="x unified",
    )
