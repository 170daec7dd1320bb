"""Plots of a model's evaluation, drawn from its metadata."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from data.errors import ModelError
from model.artifact.metadata import Metadata
from model.metrics import Evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PLOTS", "axes_of", "draw_plots"]

_INK, _SECOND, _GREY = "#1f5fa8", "#c2571a", "#9a9a9a"
_MOST_FEATURES = 15


def draw_plots(metadata: Metadata) -> dict[str, bytes]:
    """Return PNG images by name: `roc`, `pr`, `calibration`, `scores` and `importances`.

    Raises `ModelError` if the metadata holds no evaluation.
    """
    from matplotlib.figure import Figure  # noqa: PLC0415 - it takes a second; unlike pyplot, it has no global state

    if metadata.evaluation is None:
        raise ModelError(f"model {metadata.target} {metadata.version}: it was not evaluated; train it again")
    plots = {}
    for name, draw in PLOTS.items():
        figure = Figure(figsize=(5.2, 4.2), layout="constrained")
        draw(figure, metadata, metadata.evaluation)
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=110, metadata={"Software": None})
        plots[name] = file.getvalue()
    return plots


def _roc(figure: "Figure", metadata: Metadata, evaluation: Evaluation) -> None:
    axes = axes_of(figure, f"ROC: area {metadata.metrics['test'].roc_auc:.3f}", "false positive rate", "recall")
    axes.plot(evaluation.curves["roc"].x, evaluation.curves["roc"].y, color=_INK)
    axes.plot([0, 1], [0, 1], color=_GREY, linestyle=":", label="chance")
    axes.legend(frameon=False)


def _pr(figure: "Figure", metadata: Metadata, evaluation: Evaluation) -> None:
    test = metadata.metrics["test"]
    axes = axes_of(figure, f"Precision and recall: area {test.pr_auc:.3f}", "recall", "precision")
    axes.plot(evaluation.curves["pr"].x, evaluation.curves["pr"].y, color=_INK)
    axes.axhline(test.base_rate, color=_GREY, linestyle=":", label=f"chance ({test.base_rate:.3f})")
    axes.plot([test.recall], [test.precision], "o", color=_SECOND, label=f"threshold {metadata.threshold:.3f}")
    axes.legend(frameon=False)


def _calibration(figure: "Figure", metadata: Metadata, evaluation: Evaluation) -> None:
    curve, test = evaluation.curves["calibration"], metadata.metrics["test"]
    title = f"Calibration: expected error {test.ece:.3f}"
    axes = axes_of(figure, title, "mean probability of a tenth", "share of yes")
    end = max([*curve.x, *curve.y]) * 1.05
    axes.plot([0, end], [0, end], color=_GREY, linestyle=":", label="perfect")
    axes.plot(curve.x, curve.y, "o-", color=_INK)
    axes.legend(frameon=False)


def _scores(figure: "Figure", metadata: Metadata, evaluation: Evaluation) -> None:
    axes = axes_of(figure, "Scores", "probability", "share of the class")
    for name, color in (("no", _GREY), ("yes", _INK)):
        curve = evaluation.curves[f"scores_{name}"]
        axes.step(curve.x, curve.y, where="mid", color=color, label=name)
    axes.axvline(metadata.threshold, color=_SECOND, linestyle=":", label=f"threshold {metadata.threshold:.3f}")
    axes.legend(frameon=False)


def _importances(figure: "Figure", metadata: Metadata, _: Evaluation) -> None:
    names = list(metadata.importances)[:_MOST_FEATURES][::-1]
    axes = axes_of(figure, "Importance", "fall of ROC AUC when shuffled", "")
    axes.barh(names, [metadata.importances[name] for name in names], color=_INK)
    axes.tick_params(axis="y", labelsize=7)


def axes_of(figure: "Figure", title: str, x: str, y: str, *, place: tuple[int, int, int] = (1, 1, 1)) -> Any:
    """Return axes in the common style of all plots; `place` is rows, columns, and the index among these."""
    axes = figure.add_subplot(*place)
    axes.set_title(title, fontsize=10)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


PLOTS: dict[str, Callable[["Figure", Metadata, Evaluation], None]] = {
    "roc": _roc,
    "pr": _pr,
    "calibration": _calibration,
    "scores": _scores,
    "importances": _importances,
}
"""The function that draws each plot."""
