"""A question of one's own: will this purchase be sent back within 30 days?

    encore generate && python examples/returns/will_return.py

It is asked of the log of the home (`ENCORE_HOME`). Listed in `TARGETS` of `model/targets.py`, it is trained by `encore
train --target will_return`, and the API answers it.
"""

import sys

from data.units import DAY_US
from model.artifact.metadata import Metadata
from model.targets import REPEAT_PURCHASE, Target
from model.training.train import TrainOptions, train
from server.jobs.build import build_examples
from server.settings import Settings, read_settings

WILL_RETURN = Target(
    name="will_return",
    trigger=("purchase",),
    label="return",
    horizon_us=30 * DAY_US,
    meaning="the user sends the product back",
    feature_service=REPEAT_PURCHASE.feature_service,  # of the same features, which Feast knows already
)


def main(settings: Settings) -> Metadata:
    """Train a model on the log of a home, and tell how well it knows what comes back."""

    def tell(message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    options = TrainOptions()
    examples, plan = build_examples(settings, tell, WILL_RETURN, options)
    metadata = train(examples, WILL_RETURN, feature_plan=plan.hash, options=options, progress=tell).metadata
    test = metadata.metrics["test"]
    tell(f"of {test.rows:,} later purchases {test.base_rate:.1%} came back; ROC AUC {test.roc_auc:.3f}")
    tell(f"of the likeliest twentieth {test.precision_at_5pct:.1%} did")
    return metadata


if __name__ == "__main__":
    main(read_settings())
