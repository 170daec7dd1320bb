"""Which rule applies at which risk, and what it is worth."""

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from msgspec import structs
from serving import tiny_model
from shop_questions import ask

from data.errors import ConfigurationError
from model.artifact.predictor import Predictor
from model.interventions import DEFAULT_RULES, Intervention, intervene, parse_rules
from server.api.schemas import told
from server.scoring.scoring import Answer


@pytest.mark.parametrize(
    ("probability", "level"),
    [(0.0, "LOW"), (0.399, "LOW"), (0.4, "MEDIUM"), (0.7, "HIGH"), (1.0, "HIGH")],
)
def test_risk_levels_begin_where_the_table_says(probability: float, level: str) -> None:
    assert intervene(probability, 10.0).risk_level == level


def test_the_margin_by_hand() -> None:
    """Of 100: 80 are abandoned, 12 rescued at 25 % margin; the other 20 buy anyway and take 5 % off."""
    impact: Any = pytest.approx(0.8 * 0.15 * 25 - 0.2 * 5)
    assert intervene(0.8, 100.0) == Intervention("HIGH", "discount_offer", impact, "assumed")
    assert intervene(0.1, 100.0) == Intervention("LOW", "none", 0.0, "assumed")
    assert intervene(0.8, None).estimated_margin_impact is None


def test_a_discount_for_all_who_would_buy_anyway_costs() -> None:
    rules = parse_rules('[{"risk_level": "LOW", "from_probability": 0, "intervention": "sale", "discount": 0.1}]')
    assert intervene(0.2, 50.0, rules) == Intervention("LOW", "sale", pytest.approx(-0.8 * 5), "assumed")  # type: ignore[arg-type]


def test_no_text_is_the_default() -> None:
    assert parse_rules(" ") == DEFAULT_RULES


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "malformed"),
        ("[]", "first must begin at 0"),
        ('[{"risk_level": "LOW", "from_probability": 0.2, "intervention": "none"}]', "first must begin at 0"),
        ('[{"risk_level": "NONE", "from_probability": 0, "intervention": "none"}]', "NONE"),
        ('[{"risk_level": "LOW", "from_probability": 0, "intervention": "x", "margin": 3}]', "margin"),
        ('[{"risk_level": "LOW", "from_probability": 0, "intervention": "x", "chance": 1}]', "chance"),
        (
            '[{"risk_level": "LOW", "from_probability": 0, "intervention": "x"},'
            '{"risk_level": "HIGH", "from_probability": 0, "intervention": "y"}]',
            "each later than the one before",
        ),
    ],
)
def test_what_is_no_table_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_rules(text)


def test_an_answer_about_a_cart_says_what_to_do() -> None:
    artifact = tiny_model(("user_view_count",))
    cart = Predictor(replace(artifact, metadata=msgspec.structs.replace(artifact.metadata, target="cart_abandonment")))
    answer = Answer(ask("ann", "sofa", 100.0), cart, 0.8, (1,), msgspec.Raw(b"{}"), 0, False, 0)
    said = told(answer, DEFAULT_RULES)
    assert (said["risk_level"], said["recommended_intervention"]) == ("HIGH", "discount_offer")
    assert said["estimated_margin_impact"] == pytest.approx(100 * (0.8 * 0.15 * 0.25 - 0.2 * 0.05))
    assert told(structs.replace(answer, question=ask("ann", "sofa")), DEFAULT_RULES)["estimated_margin_impact"] is None
    assert "risk_level" not in told(structs.replace(answer, predictor=Predictor(artifact)), DEFAULT_RULES)
