"""`encore import`: from a proposal to a history, faults as JSON and as lines, and a second history beside the first."""

import json
from pathlib import Path

import pytest
from system import SystemHere

from data.log.event_log import EventLog

MAPPING = """
name = "sales"
[columns]
price = "number"
[time]
value = "day"
[event]
event_type = "'purchase'"
user_id = "who"
product_id = "what"
amount = "price"
"""


@pytest.fixture
def shop(tmp_path: Path) -> SystemHere:
    (tmp_path / "sales.toml").write_text(MAPPING)
    (tmp_path / "may.csv").write_text("day,who,what,price\n2024-05-01,a,x,1\n2024-05-02,b,y,2\n")
    (tmp_path / "june.csv").write_text("day,who,what,price\n2024-06-01,a,x,free\n2024-06-02,b,,2\n2024-06-03,b,y,4\n")
    return SystemHere(tmp_path / "home")


@pytest.mark.integration
def test_from_a_proposal_to_a_history_and_a_second_beside_it(shop: SystemHere, tmp_path: Path) -> None:
    may, june, mapping = (str(tmp_path / name) for name in ("may.csv", "june.csv", "sales.toml"))
    proposed = shop.json("import", "--propose", may)
    assert proposed["text"].startswith("# Proposed from a sample of may.csv")
    assert [column["role"] for column in proposed["columns"]] == ["time", "label", "label", "measure"]
    assert not shop.home.exists()

    report = shop.json("import", may, "--map", mapping)
    assert (report["mapping"], report["files"], report["events"], report["types"]) == (
        "sales",
        [may],
        2,
        {"purchase": 2},
    )
    log = EventLog(shop.home / "log")
    refused = shop.run("import", june, "--map", mapping)
    assert refused.returncode == 2
    assert "--append" in refused.stderr

    june_as = ("import", june, "--map", mapping, "--append", "--source", "june")
    refused = shop.run(*june_as, "--json")
    assert refused.returncode == 1
    assert [(fault["row"], fault["column"], fault["value"]) for fault in json.loads(refused.stdout)["faults"]] == [
        (2, "price", "free"),
        (3, "what", None),
    ]
    refused = shop.run(*june_as)
    assert f"{june}: row 3, column what: empty" in refused.stderr.splitlines()
    assert refused.stderr.splitlines()[-1].startswith(f"encore: {june}: row 2, column price: 'free' is not a number")
    assert log.sources() == ["sales"]

    for _ in range(2):
        report = shop.json(*june_as, "--skip-faults")
        assert (report["events"], len(report["faults"])) == (1, 2)
        assert log.sources() == ["sales", "june"]
        assert log.count() == 3
    again = shop.run("import", may, "--map", mapping, "--append", "--source", "may")
    assert again.returncode == 1
    assert "source sales of the event log has 2 of these events already" in again.stderr
