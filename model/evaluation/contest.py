"""Comparison of champion and challenger on the same newest examples, from which neither learned."""

import msgspec
import numpy as np

from data.errors import ModelError, TrainingError
from data.units import from_micros, to_micros
from model.artifact.predictor import Predictor
from model.evaluation.evaluation import bootstrap, evaluate
from model.examples.split import split_by_time
from model.examples.training_set import TrainingSet
from model.metrics import Interval, Metrics
from model.targets import Target

__all__ = ["Contest", "hold_contest"]

_RESAMPLES = 200

_MIN_ROWS = 50
"""Fewest examples of a contest: with fewer, chance decides."""


class Contest(msgspec.Struct, frozen=True, kw_only=True):
    """The metrics of both models on the same examples, and the 95 % interval of the challenger's lead in PR AUC."""

    champion: Metrics
    challenger: Metrics
    lead: Interval

    @property
    def better(self) -> bool:
        """Whether the challenger should be promoted: its lead's whole interval is above 0. A tie is not enough."""
        return self.lead[0] > 0


def hold_contest(
    examples: TrainingSet, target: Target, champion: Predictor, challenger: Predictor, *, seed: int = 0
) -> Contest:
    """Evaluate both models on the newest examples, those of a test split, each at its own threshold.

    Examples from which either learned, or whose horizons overlap those, are left out. The lead is paired: its interval
    is of differences within the same resamples of users. Raises `ModelError` when a model needs a feature that the
    examples lack, `TrainingError` when too few examples are new to both.
    """
    newest = _new_to_both(examples, target, champion, challenger)
    labels, scores, metrics = examples.labels[newest], {}, {}
    for role, predictor in (("champion", champion), ("challenger", challenger)):
        absent = sorted(set(predictor.features).difference(examples.features))
        if absent:
            raise ModelError(
                f"model {predictor.metadata.target} {predictor.version}: it needs {', '.join(absent)}, which the "
                "present definitions do not have"
            )
        columns = [examples.features.index(name) for name in predictor.features]
        scores[role] = predictor.score(examples.rows[newest][:, columns])
        metrics[role] = evaluate(labels, scores[role], predictor.threshold)
    users = np.arange(len(labels)) if examples.users is None else examples.users[newest]
    intervals = bootstrap(labels, scores, users, resamples=_RESAMPLES, seed=seed, versus="challenger")
    return Contest(**metrics, lead=intervals["challenger over champion"]["pr_auc"])


def _new_to_both(examples: TrainingSet, target: Target, champion: Predictor, challenger: Predictor) -> slice:
    """Return the newest examples, later than both models' training data and a gap."""
    test = split_by_time(examples.times_us, target.horizon_us).test
    learned = {
        predictor.version: to_micros(predictor.metadata.parts["train"].last) + predictor.metadata.gap_us
        for predictor in (champion, challenger)
    }
    last = max(learned, key=lambda version: learned[version])
    start = max(test.start, int(np.searchsorted(examples.times_us, learned[last], side="right")))
    labels = examples.labels[start : test.stop]
    if len(labels) < _MIN_ROWS or labels.min() == labels.max():
        raise TrainingError(
            f"{target.name}: {len(labels)} examples are newer than what {last} learned from (up to "
            f"{from_micros(learned[last]):%Y-%m-%d %H:%M}), and a contest needs {_MIN_ROWS} of both answers; wait for "
            "more data, or compare and promote by hand"
        )
    return slice(start, test.stop)
