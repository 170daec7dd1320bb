"""The champion is found, replaced while running, and refused when it does not fit."""

import logging
from pathlib import Path

import pytest
from polling import poll_until
from serving import plan, promote, tiny_model

from data.errors import UnavailableError, UnknownTargetError
from model.registry.published import Registry
from server.scoring.contender import Champion
from server.scoring.contenders import Models, is_in_share

pytestmark = pytest.mark.integration  # models are made for it


@pytest.fixture
def champion(tmp_path: Path) -> Champion:
    return Champion(Registry(tmp_path / "models"), "repeat_purchase", plan())


def test_without_a_model_it_says_what_to_do(champion: Champion) -> None:
    assert not champion.refresh()
    with pytest.raises(UnavailableError, match=r"no model is loaded; run `encore train --target repeat_purchase`"):
        champion.get()


def test_the_champion_is_taken_once(champion: Champion, tmp_path: Path) -> None:
    version = promote(tmp_path, tiny_model(plan().names))
    assert champion.refresh()
    assert champion.get().predictor.version == version
    before = champion.get()
    assert not champion.refresh()
    assert champion.get() is before


def test_a_model_of_features_that_are_gone_is_refused_by_name(
    champion: Champion, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = promote(tmp_path, tiny_model(plan().names))
    champion.refresh()
    promote(tmp_path, tiny_model(("user_view_count", "user_shoe_size"), feature_plan="0ther"))
    with caplog.at_level(logging.WARNING):
        assert not champion.refresh()
        assert not champion.refresh()
    assert champion.get().predictor.version == good
    assert "user_shoe_size" in champion.refusal
    assert "0ther" in champion.refusal
    assert plan().hash in champion.refusal
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert f"{good} goes on answering" in said[0]


def test_another_plan_with_the_features_is_served_with_a_warning(
    champion: Champion, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    promote(tmp_path, tiny_model(("user_view_count",), feature_plan="0ther"))
    assert champion.refresh()
    assert "under plan 0ther" in caplog.text


def test_a_damaged_champion_is_refused_until_it_is_mended(champion: Champion, tmp_path: Path) -> None:
    version = promote(tmp_path, tiny_model(plan().names))
    path = tmp_path / "models" / "repeat_purchase" / version / "model.onnx"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert not champion.refresh()
    with pytest.raises(UnavailableError, match="sha256"):
        champion.get()
    path.write_bytes(whole)
    assert champion.refresh()
    assert champion.refusal == ""


def test_an_alias_that_vanishes_leaves_the_model_in_use(champion: Champion, tmp_path: Path) -> None:
    version = promote(tmp_path, tiny_model(plan().names))
    champion.refresh()
    (tmp_path / "models" / "repeat_purchase" / "champion").unlink()
    assert not champion.refresh()
    assert champion.get().predictor.version == version
    assert "no champion" in champion.refusal


def test_a_challenger_comes_and_goes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    challenger = Champion(Registry(tmp_path / "models"), "repeat_purchase", plan(), "challenger")
    with caplog.at_level(logging.INFO):
        assert not challenger.refresh()
    assert (challenger.serving, challenger.refusal, caplog.text) == (None, "", "")
    version = promote(tmp_path, tiny_model(plan().names))
    registry = Registry(tmp_path / "models")
    registry.promote("repeat_purchase", version, "challenger", share=0.25)
    assert challenger.refresh()
    assert challenger.get().predictor.version == version
    assert (challenger.get().role, challenger.share) == ("challenger", 0.25)
    registry.promote("repeat_purchase", version, "challenger")
    challenger.refresh()
    assert challenger.share == 0.0
    registry.withdraw("repeat_purchase", "challenger")
    assert challenger.refresh()
    assert challenger.serving is None


def test_the_watch_takes_a_new_champion_and_outlives_a_broken_one(tmp_path: Path) -> None:
    models = Models(Registry(tmp_path / "models"), ("repeat_purchase",), plan())
    first = promote(tmp_path, tiny_model(plan().names, 0))
    models.watch(0.01)
    try:
        assert models.get().predictor.version == first
        alias = tmp_path / "models" / "repeat_purchase" / "champion"
        alias.write_bytes(b"\xff\xfe not text")
        second = promote(tmp_path, tiny_model(plan().names, 1))
        assert second != first
        poll_until(lambda: models.get().predictor.version == second)
        alias.write_text("../elsewhere")
        poll_until(lambda: "elsewhere" in models.champion().refusal)
        assert models.get().predictor.version == second
    finally:
        models.close()


def test_a_share_is_of_the_same_users_and_grows() -> None:
    users = [f"u{number}" for number in range(4_000)]
    few, half, all_ = ({user for user in users if is_in_share("t", user, share)} for share in (0.1, 0.5, 1.0))
    assert few < half < all_ == set(users)
    assert len(few) == pytest.approx(400, rel=0.2)
    assert not any(is_in_share("t", user, 0.0) for user in users)
    elsewhere = {user for user in users if is_in_share("another", user, 0.5)}
    assert len(elsewhere & half) == pytest.approx(1_000, rel=0.2)


def test_the_challenger_answers_its_share_of_the_users(tmp_path: Path) -> None:
    first = promote(tmp_path, tiny_model(plan().names, 0))
    registry = Registry(tmp_path / "models")
    second = registry.save(tiny_model(plan().names, 1))
    models = Models(registry, ("repeat_purchase", "purchase_intent"), plan())
    users = [f"u{number}" for number in range(100)]

    def who(target: str | None = None) -> list[str]:
        models.refresh()
        return [serving.predictor.version for serving in models.choose(target, users)]

    assert set(who()) == {first}
    registry.promote("repeat_purchase", second, "challenger")  # in the shadow
    assert set(who()) == {first}
    registry.promote("repeat_purchase", second, "challenger", share=0.3)
    chosen = who("repeat_purchase")
    assert chosen == [second if is_in_share("repeat_purchase", user, 0.3) else first for user in users]
    assert 10 < chosen.count(second) < 50
    with pytest.raises(UnavailableError, match="encore train --target purchase_intent"):
        who("purchase_intent")
    with pytest.raises(UnknownTargetError, match="there are repeat_purchase, purchase_intent"):
        who("shoe_size")
