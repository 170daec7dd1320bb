"""The report: JSON that reads back, pictures, and a page that needs no network."""

import re
from pathlib import Path

import msgspec
import pytest
from training_examples import SMALL, examples_over

from data.errors import ModelError
from model.artifact.artifact import Artifact
from model.artifact.metadata import decode_metadata
from model.evaluation.report import write_report
from model.targets import REPEAT_PURCHASE
from model.training.train import TrainOptions, train

pytestmark = pytest.mark.integration  # it draws plots for seconds


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return train(examples_over(360), REPEAT_PURCHASE, feature_plan="p", options=TrainOptions(parameters=SMALL))


@pytest.mark.long
def test_it_is_written_whole(artifact: Artifact, tmp_path: Path) -> None:
    files = write_report(artifact.metadata, tmp_path / "new" / "report.json")
    plots = ("roc", "pr", "calibration", "scores", "importances")
    assert {file.name for file in files} == {"report.json", "report.html", *(f"report-{name}.png" for name in plots)}
    assert decode_metadata(files[0].read_bytes(), "report") == artifact.metadata
    for name in plots:
        assert (tmp_path / "new" / f"report-{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_page_holds_everything_and_fetches_nothing(artifact: Artifact, tmp_path: Path) -> None:
    known = artifact.metadata
    page = write_report(known, tmp_path / "report.json")[1].read_text()
    assert page.count("data:image/png;base64,") == 5
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|<script|@import""", page)
    for told in (
        known.version,
        known.data_hash,
        f"{known.metrics['test'].roc_auc:.3f}",
        "user: new",
        "user_repeat_rate",
    ):
        assert told in page


def test_what_was_not_judged_cannot_be_drawn(artifact: Artifact, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="was not evaluated"):
        write_report(msgspec.structs.replace(artifact.metadata, evaluation=None), tmp_path / "report.json")
