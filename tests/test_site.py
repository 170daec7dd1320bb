"""The site of the documents: generated pages are whole, and every page is found in its menu."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
from browser import chromium, grave_faults
from pages.__main__ import build
from pages.reference import metric_names, reference
from pages.staging import ROOT, stage

from data.clock import wall_clock
from data.default_shop import SHOP, decode_event
from data.event import Rejection
from features.plan.plan import Plan
from server.cli import app
from server.settings import variables

DOCS = ROOT / "docs"

pytestmark = pytest.mark.integration  # pages are of the compiled plan and the whole API


@pytest.fixture(scope="module")
def generated(plan: Plan) -> dict[str, str]:
    return reference(plan)


def _names(group: Any, *before: str) -> list[str]:
    """All commands by their whole names."""
    return [
        " ".join(full)
        for name, one in group.commands.items()
        for full in (
            [(*before, name)] if not hasattr(one, "commands") else [n.split() for n in _names(one, *before, name)]
        )
    ]


def test_settings_commands_features_and_events_are_whole(generated: dict[str, str], plan: Plan) -> None:
    assert [one for one in variables() if f"| `{one}` |" not in generated["reference/settings.md"]] == []
    commands = _names(typer.main.get_group(app))
    assert len(commands) > 30
    assert [one for one in commands if f"### encore {one}\n" not in generated["reference/commands.md"]] == []
    assert [one for one in plan.names if f"| `{one}` |" not in generated["reference/features.md"]] == []
    assert [one for one in SHOP.columns if f"| `{one}` |" not in generated["reference/events.md"]] == []


def test_routes_are_whole(generated: dict[str, str]) -> None:
    told = set(re.findall(r"^\| `(?:GET|POST) (/\S*?)[`?]", generated["reference/routes.md"], re.MULTILINE))
    sources = "".join(_sources("server/api/routes")).replace(":path}", "}")
    known = re.findall(r"@router\.(?:get|post)\(\"(/[^\"]*)\"", sources)
    hidden = {"/docs", "/docs/{name}"}
    assert set(known) - told <= hidden
    assert {"/predict", "/rank"} <= told


@pytest.mark.long
def test_metrics_and_alerts_are_whole(generated: dict[str, str]) -> None:
    """What alerts and dashboards name is made by the code, and each has words."""
    made = metric_names()
    assert [name for name, (words, _) in made.items() if not words] == []
    watched = {
        re.sub(r"_(?:total|bucket|sum|count)$", "", name)
        for path in [*(ROOT / "deploy").rglob("*.yml"), *(ROOT / "deploy").rglob("*.json")]
        for name in re.findall(r"\bencore_[a-z_]+", path.read_text())
    }
    assert len(watched) > 10
    assert sorted(watched - {name.removesuffix("_total") for name in made}) == []
    assert [name for name in made if f"| `{name}` |" not in generated["reference/metrics.md"]] == []
    alerts = re.findall(r"alert: (\w+)", (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    assert [name for name in alerts if f"| `{name}` |" not in generated["reference/alerts.md"]] == []


def test_every_page_is_in_the_menu_and_every_link_leads_to_a_page(generated: dict[str, str], tmp_path: Path) -> None:
    stage(tmp_path, generated)
    menu = tomllib.loads((DOCS / "zensical.toml").read_text())["project"]["nav"]
    listed = _pages(menu)
    assert [page for page in listed if not (tmp_path / page).exists()] == []
    written = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md") if path.parent.name != "adr"}
    assert sorted((written | set(generated)) - set(listed)) == []
    for path in tmp_path.rglob("*.md"):
        if "source" in path.parts or "project" in path.parts:
            continue
        text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
        for link in re.findall(r"\]\(([^)\s#]+)", text):
            assert ":" in link or (path.parent / link).exists(), (path, link)


def test_the_event_of_the_quickstart_is_one() -> None:
    (line,) = re.findall(r"echo '(\{.*?\})'", (DOCS / "quickstart.md").read_text(), re.DOTALL)
    line = line.replace("'$(date -u +%FT%TZ)'", "2026-01-02T03:04:05Z").replace("\n", "")
    event = decode_event(line.encode(), key=b"u000673", now_us=wall_clock())
    assert not isinstance(event, Rejection), event


def test_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"docs/reference/x\.md: the link to \.\./none\.md leads nowhere"):
        stage(tmp_path, {"reference/x.md": "[x](../none.md)"})


def _pages(menu: Any) -> list[str]:
    if isinstance(menu, str):
        return [menu]
    parts = menu.values() if isinstance(menu, dict) else menu
    return [page for part in parts for page in _pages(part)]


def _sources(folder: str) -> list[str]:
    return [path.read_text() for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.browser
@pytest.mark.timeout(600)
def test_no_page_shuts_anybody_out(tmp_path: Path) -> None:
    """Pages made alike are seen once: a decision, a how-to, each kind of source file; and some in the dark."""
    pytest.importorskip("zensical", reason="the site's group `docs` is not installed (make docs)")
    site = build(tmp_path / "site")

    def template(page: Path) -> str:
        folder = page.relative_to(site).parent
        return f"source of {page.with_suffix('').suffix}" if folder.parts[:1] == ("source",) else str(folder)

    alike = {template(page): page for page in sorted(site.rglob("*.html"), reverse=True)}
    faults = {}
    looked = [*alike.values(), *sorted(site.glob("*.html"))]
    with chromium() as browser:
        for scheme, some in (("light", looked), ("dark", looked[:8])):
            page = browser.new_context(color_scheme=scheme).new_page()
            for path in some:
                page.goto(path.as_uri())
                if found := grave_faults(page):
                    faults[f"{path.relative_to(site)}, {scheme}"] = found
    assert faults == {}
