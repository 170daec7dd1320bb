"""A model's report: its metadata as JSON, its plots as PNG, and one HTML page without external resources."""

import base64
from html import escape
from pathlib import Path

import msgspec

from data.units import span
from model.artifact.metadata import Metadata, encode_metadata
from model.evaluation.plots import draw_plots
from model.metrics import METRIC_NAMES, Decision, Interval, Metrics

__all__ = ["render_html", "write_report"]

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .25rem .7rem; text-align: right }
th { border-bottom: 1px solid #999; font-weight: 600 } td:first-child, th:first-child { text-align: left }
tr:nth-child(even) td { background: #f5f5f5 } img { max-width: 30rem; width: 100% } small, .note { color: #666 }
"""
_COLUMNS = {"rows": "examples", "base_rate": "base rate", **METRIC_NAMES}


def write_report(metadata: Metadata, path: Path, plots: dict[str, bytes] | None = None) -> list[Path]:
    """Write `path` (JSON), and beside it `<stem>.html` and `<stem>-<plot>.png`; return the paths written.

    `plots` are those of `draw_plots`, which are drawn here by default.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    plots = draw_plots(metadata) if plots is None else plots
    content = {
        path: encode_metadata(metadata),
        path.with_suffix(".html"): render_html(metadata, plots).encode(),
        **{path.with_name(f"{path.stem}-{name}.png"): image for name, image in plots.items()},
    }
    for target, data in content.items():
        target.write_bytes(data)
    return list(content)


def render_html(metadata: Metadata, plots: dict[str, bytes]) -> str:
    """Return the HTML page, with its images inlined."""
    evaluation = metadata.evaluation
    intervals = evaluation.intervals if evaluation else {}
    named_metrics = {
        "model, test": metadata.metrics["test"],
        **{f"model, {name}": metrics for name, metrics in metadata.metrics.items() if name != "test"},
        **{f"baseline: {name}": metrics for name, metrics in metadata.baselines.items()},
    }
    bounds = {"model, test": intervals.get("model", {})} | {
        f"baseline: {name}": intervals.get(name, {}) for name in metadata.baselines
    }
    leads = {
        name.removeprefix("model over "): (by_metric["roc_auc"], by_metric["pr_auc"])
        for name, by_metric in intervals.items()
        if name.startswith("model over ")
    }
    parts = [
        f"<h1>{escape(metadata.target)} <small>{escape(metadata.version)}</small></h1>",
        f"<p>Yes means: {escape(metadata.meaning)} within {span(metadata.horizon_us)}. "
        f"{escape(metadata.estimator)}, trained on {metadata.parts['train'].rows:,} of {metadata.candidates:,} "
        "examples; "
        f"threshold {metadata.threshold:.4f} by {escape(metadata.threshold_policy)}.</p>",
        f'<p class="note">{escape(metadata.note)}</p>' if metadata.note else "",
        "<h2>Metrics</h2><p>With 95 % intervals from resampled users. <i>later</i>: questions asked some time after "
        "their trigger.</p>",
        _table(named_metrics, bounds),
        "<h2>Lead over the baselines</h2><p>95 % intervals of the difference within each resample.</p>"
        "<table><tr><th></th><th>ROC AUC</th><th>PR AUC</th></tr>",
        *(
            f"<tr><td>{escape(name)}</td>"
            + "".join(f"<td>{low:+.3f} to {high:+.3f}</td>" for low, high in lead)
            + "</tr>"
            for name, lead in leads.items()
        ),
        "</table>",
    ]
    if metadata.choice:
        parts += [
            "<h2>Why this estimator</h2>"
            "<p>Cross-validation over time, before the test: the mean of PR AUC, times that of chance.</p>",
            _small(
                {"estimator": list(metadata.choice), "PR AUC": [f"{value:.3f}" for value in metadata.choice.values()]}
            ),
        ]
    if metadata.groups:
        left_out = f" Left out: {escape(', '.join(metadata.left_out))}." if metadata.left_out else ""
        falls = metadata.groups.values()
        parts += [
            "<h2>What groups of features bring</h2><p>How much the PR AUC falls, in base rates, where a group's values "
            "are shuffled: on average over periods, before the test, of models that learned from what came before, and "
            f"where it falls least. A group without a fall brings nothing (<code>--leave-out</code>).{left_out}</p>",
            _small(
                {
                    "group": list(metadata.groups),
                    "mean": [f"{sum(decreases) / max(len(decreases), 1):+.3f}" for decreases in falls],
                    "least": [f"{min(decreases, default=0.0):+.3f}" for decreases in falls],
                }
            ),
        ]
    if evaluation is not None:
        confusion = evaluation.confusion
        parts += [
            "<h2>Segments of the test</h2>",
            _table(
                {
                    f"{kind}: {name}": segment.metrics
                    for kind, segments in evaluation.segments.items()
                    for name, segment in segments.items()
                    if segment.metrics is not None
                },
                {},
            ),
            "<h2>Decisions at the threshold</h2><table><tr><th>truth</th><th>answered no</th><th>answered yes</th></tr>"
            f"<tr><td>no</td><td>{confusion.true_negatives:,}</td><td>{confusion.false_positives:,}</td></tr>"
            f"<tr><td>yes</td><td>{confusion.false_negatives:,}</td><td>{confusion.true_positives:,}</td></tr></table>",
            *_decisions(metadata, evaluation.decisions),
            "<h2>Lift</h2><p>Share of yes over the base rate, by tenth of the test, highest scores first.</p>"
            "<table><tr>"
            + "".join(f"<th>{place}</th>" for place in range(1, len(evaluation.lift) + 1))
            + "</tr><tr>"
            + "".join(f"<td>{lift:.2f}</td>" for lift in evaluation.lift)
            + "</tr></table>",
            "<h2>Learning curve</h2><p>The same test, after learning from the newest part of the history alone.</p>",
            _small(
                {
                    "days": [f"{point.days:g}" for point in evaluation.learning],
                    "examples": [f"{point.rows:,}" for point in evaluation.learning],
                    "ROC AUC": [f"{point.roc_auc:.3f}" for point in evaluation.learning],
                    "PR AUC": [f"{point.pr_auc:.3f}" for point in evaluation.learning],
                }
            ),
        ]
    parts += ["<h2>Plots</h2>"]
    parts += [
        f'<img alt="{escape(name)}" src="data:image/png;base64,{base64.b64encode(image).decode()}">'
        for name, image in plots.items()
    ]
    parts += [
        "<h2>Where it comes from</h2><table>",
        *(
            f"<tr><td>{escape(name)}</td><td>{escape(str(value))}</td></tr>"
            for name, value in {
                "data (SHA-256)": metadata.data_hash,
                "feature plan": metadata.feature_plan,
                "model (SHA-256)": metadata.sha256,
                "seed": metadata.seed,
                **metadata.parameters,
                **metadata.libraries,
            }.items()
        ),
        "</table>",
    ]
    title = escape(f"{metadata.target} {metadata.version}")
    body = "\n".join(parts)
    head = f'<meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en">{head}{body}</html>'


def _small(columns: dict[str, list[str]]) -> str:
    """Return a table of columns by title."""
    head = "".join(f"<th>{escape(title)}</th>" for title in columns)
    rows = (
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in zip(*columns.values(), strict=True)
    )
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _decisions(metadata: Metadata, decisions: dict[str, Decision]) -> list[str]:
    """Return the table that compares the shared threshold with a separate one for each kind of question."""
    if not decisions:
        return []
    shared = {"at once": metadata.metrics.get("test"), "later": metadata.metrics.get("later")}
    rows: dict[str, list[str]] = {name: [] for name in ("asked", "threshold", "precision", "recall", "F1")}
    for kind, decision in decisions.items():
        for threshold, metrics in ((metadata.threshold, shared[kind]), (decision.threshold, decision.metrics)):
            if metrics is None:
                continue
            numbers = (threshold, metrics.precision, metrics.recall, metrics.f1)
            for column, value in zip(rows, (kind, *(f"{number:.3f}" for number in numbers)), strict=True):
                rows[column].append(value)
    return [
        "<h2>Questions at once and later</h2><p>The model's threshold is one for both; below it, the one that the same "
        "policy chooses where only such questions are asked.</p>",
        _small(rows),
    ]


def _table(named: dict[str, Metrics], intervals: dict[str, dict[str, Interval]]) -> str:
    head = "".join(f"<th>{title}</th>" for title in ("", *_COLUMNS.values()))
    rows = []
    for name, metrics in named.items():
        values = msgspec.structs.asdict(metrics)
        cells = "".join(f"<td>{_cell(values[key], intervals.get(name, {}).get(key))}</td>" for key in _COLUMNS)
        rows.append(f"<tr><td>{escape(name)}</td>{cells}</tr>")
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _cell(value: float | None, interval: Interval | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.3f}" + (f"<br><small>{interval[0]:.3f}–{interval[1]:.3f}</small>" if interval else "")
