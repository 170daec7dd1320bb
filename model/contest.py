"""Champion against challenger on the same newest examples, which neither learned from."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from data.errors import ModelError
from model.evaluation import evaluate
from model.metrics import Metrics
from model.predictor import Predictor
from model.training_set import TrainingSet

__all__ = ["Contest", "hold_contest"]


class Contest(msgspec.Struct, frozen=True, kw_only=True):
    """What each reached on the same examples; the challenger is `better` if it ranks better (PR AUC)."""

    champion: Metrics
    challenger: Metrics

    @property
    def better(self) -> bool:
        """Whether the challenger should be champion. As good is not better."""
        return self.challenger.pr_auc > self.champion.pr_auc


def hold_contest(
    examples: TrainingSet, places: NDArray[np.int64], champion: Predictor, challenger: Predictor
) -> Contest:
    """Judge both on the examples at `places`, each at its own threshold.

    Raises `ModelError` when the champion needs a feature that the examples do not have.
    """
    found = []
    for predictor in (champion, challenger):
        absent = sorted(set(predictor.features).difference(examples.features))
        if absent:
            raise ModelError(
                f"model {predictor.metadata.target} {predictor.version}: it needs {', '.join(absent)}, which the "
                "present definitions do not have"
            )
        columns = [examples.features.index(name) for name in predictor.features]
        scores = predictor.score(examples.rows[places][:, columns])
        found.append(evaluate(examples.labels[places], scores, predictor.threshold))
    return Contest(champion=found[0], challenger=found[1])
