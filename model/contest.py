"""Champion against challenger on the same newest examples, which neither learned from."""

import msgspec

from data.errors import ModelError
from model.evaluation import evaluate
from model.metrics import Metrics
from model.predictor import Predictor
from model.split import split_by_time
from model.targets import Target
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


def hold_contest(examples: TrainingSet, target: Target, champion: Predictor, challenger: Predictor) -> Contest:
    """Judge both on the newest examples, those that a test is made of, each at its own threshold.

    Raises `ModelError` when the champion needs a feature that the examples do not have.
    """
    newest = split_by_time(examples.times_us, target.horizon_us).test
    found = []
    for predictor in (champion, challenger):
        absent = sorted(set(predictor.features).difference(examples.features))
        if absent:
            raise ModelError(
                f"model {predictor.metadata.target} {predictor.version}: it needs {', '.join(absent)}, which the "
                "present definitions do not have"
            )
        columns = [examples.features.index(name) for name in predictor.features]
        scores = predictor.score(examples.rows[newest][:, columns])
        found.append(evaluate(examples.labels[newest], scores, predictor.threshold))
    return Contest(champion=found[0], challenger=found[1])
