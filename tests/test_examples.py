"""Examples run as they are, and do what they say."""

from importlib import util
from pathlib import Path
from types import ModuleType

import pytest

from data.log.event_log import EventLog
from data.shop.shop import Shop, ShopConfig
from server.settings import read_settings

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec
    assert spec.loader
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_there_is_a_test_of_every_example() -> None:
    """That of the tea house is the tutorial's."""
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {"tea_house", "will_return"}


@pytest.mark.integration  # it trains a model
def test_a_question_of_ones_own_is_answered_better_than_by_the_base_rate(home: Path) -> None:
    settings = read_settings(home=home)
    shop = Shop(ShopConfig(1_760_000_000_000_000, users=800, products=150, days=120, events_per_day=800))
    EventLog(settings.log).write_history("shop", shop.history())
    known = example("will_return").main(settings)
    test = known.metrics["test"]
    assert (known.target, known.meaning) == ("will_return", "the user sends the product back")
    assert 0.02 < test.base_rate < 0.12
    assert test.roc_auc > 0.65
    assert test.pr_auc > 1.5 * test.base_rate
    assert test.precision_at_5pct > 2 * test.base_rate
    returns = [name for name in list(known.importances)[:12] if "return" in name or "net_spend" in name]
    assert returns, known.importances
