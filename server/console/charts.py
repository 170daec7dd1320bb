"""Plotly figures in the console's colours. Numbers are computed elsewhere; external text is shown as text."""

import textwrap
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from itertools import accumulate
from typing import Any

import plotly.graph_objects as go

from server.console.formats import chart_text

__all__ = [
    "COLOURS",
    "bars",
    "curves",
    "daily",
    "folded",
    "gauge",
    "grouped_bars",
    "lines",
    "over_time",
    "ranking",
    "sparkline",
    "waterfall",
]

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


def _line(index: int, name: str, x: Sequence[Any], y: Sequence[float | None], **options: Any) -> go.Scatter:
    """Return the curve at an index of the cycle, with its own dash beside its colour."""
    line = {"dash": _DASHES[index % len(_DASHES)], "width": 2, "color": _CYCLE[index % len(_CYCLE)]}
    return go.Scatter(x=list(x), y=list(y), name=chart_text(name), line=line, **options)


def lines(times: Sequence[datetime], series: Mapping[str, Sequence[float | None]], *, unit: str) -> go.Figure:
    """Return lines over time, each with its own dash beside its colour."""
    return _figure(
        [
            _line(index, name, times, values, mode="lines", hovertemplate="%{y:,.1f} " + unit)
            for index, (name, values) in enumerate(series.items())
        ],
        260,
        hovermode="x unified",
        legend=_LEGEND,
        yaxis={"title": unit, "rangemode": "tozero"},
        xaxis={"tickformat": "%H:%M:%S"},
    )


def over_time(
    times: Sequence[date],
    series: Mapping[str, Sequence[float | None]],
    *,
    unit: str,
    limit: float | None = None,
    limit_name: str = "",
    dots: bool = False,
) -> go.Figure:
    """Return lines over a range of time, with gaps where nothing is known, and the limit of an alert if it is near."""
    figure = _figure(
        [
            _line(
                index,
                name,
                times,
                values,
                mode="lines+markers" if dots else "lines",
                connectgaps=False,
                hovertemplate="%{y:,.4g} " + unit,
            )
            for index, (name, values) in enumerate(series.items())
        ],
        220,
        hovermode="x unified",
        legend=_LEGEND,
        showlegend=len(series) > 1,
        yaxis={"title": chart_text(unit), "rangemode": "tozero"},
        xaxis={"type": "date", "range": [times[0], times[-1]] if times and not dots else None},
    )
    greatest = max((value for values in series.values() for value in values if value is not None), default=0.0)
    if limit is not None and greatest > limit / 2:
        line = {"color": COLOURS["vermilion"], "dash": "dot", "width": 2}
        figure.add_hline(limit, line=line, annotation={"text": limit_name, "font": {"color": COLOURS["vermilion"]}})
    return figure


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


def daily(values: Mapping[str, float], *, unit: str) -> go.Figure:
    """Return a bar a day."""
    return _figure(
        go.Bar(
            x=list(values),
            y=list(values.values()),
            marker_color=COLOURS["blue"],
            hovertemplate="%{x}: %{y:,.0f} " + chart_text(unit) + "<extra></extra>",
        ),
        300,
        yaxis={"title": chart_text(unit), "rangemode": "tozero"},
        xaxis={"type": "date"},
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


def waterfall(
    start: float, changes: Sequence[tuple[str, float]], end: float, texts: Sequence[str], *, unit: str
) -> go.Figure:
    """Return a waterfall from a start to an end value, with a text per bar, the first and last ones included.

    Texts are in a column of their own at the right: beside the bars they would overlap.
    """
    names = ["where it starts", *(folded(chart_text(name)) for name, _ in changes), "this answer"]
    rows = list(range(len(names)))
    steps = list(accumulate((change for _, change in changes), initial=start))
    low, high = min(0.0, *steps), max(0.0, *steps)
    room = 0.04 * (high - low)
    return _figure(
        go.Waterfall(
            orientation="h",
            measure=["absolute", *["relative"] * len(changes), "total"],
            y=rows,
            x=[start, *(change for _, change in changes), end],
            increasing={"marker": {"color": COLOURS["blue"]}},
            decreasing={"marker": {"color": COLOURS["orange"]}},
            totals={"marker": {"color": COLOURS["grey"]}},
            customdata=texts,
            hovertemplate="%{customdata}<extra></extra>",
        ),
        64 + _row_height(names) * len(names),
        margin={**_MARGIN, "r": 8 + 7 * max(map(len, texts))},
        yaxis={"range": [len(rows) - 0.4, -0.6], "tickvals": rows, "ticktext": names, "automargin": True},
        xaxis={"title": unit, "range": [low - room, high + room], "nticks": 5, "tickangle": 0},
        annotations=[
            {"xref": "paper", "x": 1.01, "xanchor": "left", "y": row, "text": text, "showarrow": False}
            for row, text in zip(rows, texts, strict=True)
        ],
        showlegend=False,
    )


def folded(text: str, width: int = 32) -> str:
    """Break a long text into two lines at most, so that the bars have room on a phone."""
    return "<br>".join(textwrap.wrap(text, width, max_lines=2, placeholder=" …", break_long_words=False)) or text


def _row_height(names: Sequence[str]) -> int:
    """Return the height of a row, so that labels of several lines do not touch."""
    return 26 + 14 * max(name.count("<br>") for name in names)


def sparkline(counts: Mapping[str, Mapping[str, int]]) -> go.Figure:
    """Return events by day, one colour per type, with minimal axes."""
    return _figure(
        [
            go.Bar(
                x=list(days),
                y=list(days.values()),
                name=chart_text(kind.replace("_", " ")),
                marker_color=_CYCLE[index % len(_CYCLE)],
            )
            for index, (kind, days) in enumerate(counts.items())
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
            _line(index, name, xs, ys, mode="lines+markers" if markers else "lines")
            for index, (name, (xs, ys)) in enumerate(series.items())
        ],
        height,
        shapes=[equal] if diagonal else [],
        legend=_LEGEND,
        xaxis={"title": x},
        yaxis={"title": y, "rangemode": "tozero"},
    )


def ranking(values: Mapping[str, float], *, unit: str) -> go.Figure:
    """Return horizontal bars, the first on top."""
    names = [folded(chart_text(name)) for name in values]
    rows = list(range(len(names)))
    return _figure(
        go.Bar(
            orientation="h",
            y=rows,
            customdata=names,
            x=list(values.values()),
            marker_color=COLOURS["sky"],
            hovertemplate="%{customdata}: %{x:.4f}<extra></extra>",
        ),
        60 + (_row_height(names) - 4) * len(names),
        yaxis={"autorange": "reversed", "automargin": True, "tickvals": rows, "ticktext": names},
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
                marker={"color": _CYCLE[index % len(_CYCLE)], "pattern": {"shape": ("", "/", "x")[index % 3]}},
                hovertemplate="%{y:.1f} " + unit,
            )
            for index, (title, values) in enumerate(series.items())
        ],
        320,
        barmode="group",
        legend=_LEGEND,
        yaxis={"title": unit, "rangemode": "tozero"},
        xaxis={"type": "category"},
        hovermode="x unified",
    )
