"""The console in a real browser over a running system: what a visitor sees and does.

SCREENSHOTS=docs/img writes the pictures that the documents show.
"""

import csv
import os
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from browser import chromium, find_chromium, grave_faults
from polling import poll_until
from system import System, interrupt

from server.api_keys import make_key
from server.process.child import stop_child
from server.process.server_process import free_port

pytest.importorskip("streamlit", reason="the extra `console` is not installed")

pytestmark = pytest.mark.timeout(400)

PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 860}
LIKELY = re.compile(r"within 30 days the user buys the product again: [\d.]+ %; [\d.]+ % on average")
ASK = "ask?user=u000001&product=p00001"
PAGES = (
    *("", "shoppers", ASK, "batch", "decide"),
    *("model", "version", "feature?feature=user_purchases_7d", "quality"),
    *("live", "past", "alerts", "topics"),
)


class Visitor:
    """One tab of the browser, and every host that it asked anything of."""

    def __init__(self, page: Any, url: str) -> None:
        self.page = page
        self.url = url
        self.hosts: set[str] = set()
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    def go(self, path: str) -> Any:
        """Open a page by its address and wait until it is drawn."""
        self.page.goto(f"{self.url}/{path}")
        self.page.locator("h1").first.wait_for()
        return self.drawn()

    def drawn(self) -> Any:
        """Wait until the server has nothing more to draw."""
        self.page.wait_for_function("() => !document.querySelector('[data-stale=true], [data-testid=stSkeleton]')")
        return self.page

    def text(self) -> str:
        """All that the page says."""
        return str(self.page.locator("[data-testid=stMain]").inner_text())

    def metric(self, name: str) -> str:
        """The value of a number that has a name."""
        box = self.page.locator("[data-testid=stMetric]").filter(has_text=name).first
        return str(box.locator("[data-testid=stMetricValue]").inner_text())

    def message(self, text: str | re.Pattern[str], patience_s: float = 90) -> None:
        """Wait for a message that says so."""
        self.page.locator("[data-testid=stAlert]").filter(has_text=text).first.wait_for(timeout=1000 * patience_s)

    def type_key(self, key: str) -> None:
        """Give an API key in the sidebar."""
        field = self.page.get_by_placeholder("only where the API asks for one")
        field.fill(key)
        field.press("Enter")

    def promote(self) -> None:
        """Make the version that is chosen the champion, and say yes."""
        self.page.get_by_role("tab", name="Versions").click()
        self.page.get_by_role("button", name="Promote").click()
        self.page.get_by_role("button", name="Yes, do it").click()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A small shop's system with its console, all of it started by `encore up`."""
    find_chromium()
    folder = tmp_path_factory.mktemp("up")
    system = System(folder / "home")
    system.json("generate", "--users", "400", "--products", "60", "--days", "150", "--events-per-day", "400")
    output = folder / "up.log"
    process = system.start("up", "--rate", "40", "--no-ui", output=output)

    def is_ready() -> bool:
        assert process.poll() is None, output.read_text()
        # `encore up` does not wait for the console: it is drawn for whoever comes, and starts beside the rest.
        return system.get("/health")[0] == 200 and _listens(str(system.console_port))

    try:
        poll_until(is_ready, deadline_s=240, every_s=0.5)
        yield system
    finally:
        if process.poll() is None:
            interrupt(process)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Any, running: System) -> Iterator[Callable[..., Visitor]]:
    """Opens tabs; afterwards each must have spoken to the console alone."""
    url = f"http://127.0.0.1:{running.console_port}"
    contexts, visitors = [], []

    def visit(size: dict[str, int] = DESKTOP, scheme: str = "light") -> Visitor:
        context = browser.new_context(viewport=size, color_scheme=scheme, accept_downloads=True)
        context.set_default_timeout(120_000)
        contexts.append(context)
        visitors.append(Visitor(context.new_page(), url))
        return visitors[-1]

    yield visit
    for context in contexts:
        context.close()
    assert {host for visitor in visitors for host in visitor.hosts} <= {urlsplit(url).netloc, ""}


def test_live_numbers_move(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    visitor.go("live")
    visitor.page.get_by_text("Events by type").wait_for()
    poll_until(lambda: re.match(r"\d", visitor.metric("Events")) and not visitor.metric("Events").startswith("0 "))
    first = visitor.metric("Newest event")
    poll_until(lambda: visitor.metric("Newest event") != first)
    poll_until(lambda: re.match(r"[\d.]+ m?s", visitor.metric("Fresh, p99")))


def test_a_user_is_scored_and_supposed_about(visit: Callable[..., Visitor], running: System) -> None:
    visitor = visit()
    visitor.go(ASK)
    visitor.message(LIKELY)
    visitor.page.get_by_role("tab", name="What if").click()
    slider = visitor.page.get_by_role("slider").first
    slider.focus()
    is_full = slider.input_value() == slider.get_attribute("max")
    supposed = visitor.page.get_by_text("Hypothetical.").first

    def moved() -> bool:
        slider.press("ArrowLeft" if is_full else "ArrowRight")  # the keyboard suffices
        visitor.page.wait_for_timeout(2_000)
        return bool(supposed.is_visible())

    poll_until(moved, deadline_s=60)  # a page that is drawn anew at that moment loses a key
    visitor.page.get_by_role("tab", name="At an earlier time").click()
    visitor.page.get_by_role("button", name="Score as of then").click()
    visitor.page.locator("[data-testid=stMetric]").filter(has_text="Score as of").wait_for()
    status, health = running.get("/health")
    assert status == 200
    assert health["last_prediction"]["user_id"] == "u000001"


def test_who_comes_from_outside_is_shown_as_text(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    visitor.go("ask?user=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&product=!%5Bx%5D(http://outside.example/x.png)")
    visitor.message("nobody has seen user <img src=x onerror=alert(1)>")
    assert visitor.page.locator("[data-testid=stMain] img").count() == 0


def test_a_batch_goes_up_and_comes_down(visit: Callable[..., Visitor], tmp_path: Path) -> None:
    visitor = visit()
    visitor.go("batch")
    upload = visitor.page.locator("input[type=file]")
    upload.set_input_files({"name": "photo.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\n"})
    visitor.message("not text in UTF-8")
    upload.set_input_files({"name": "x.csv", "mimeType": "text/csv", "buffer": b"customer,item\na,b\n"})
    visitor.message("must name the columns")
    upload.set_input_files({"name": "huge.csv", "mimeType": "text/csv", "buffer": b"u" * (11 * 1024 * 1024)})
    visitor.page.get_by_text("10.0MB or smaller").wait_for()
    rows = b"user_id,product_id,amount\nu000001,p00001,5\nu000002,p00002,\n,p00003,1\nu000003,p00003,much\n"
    upload.set_input_files({"name": "questions.csv", "mimeType": "text/csv", "buffer": rows})
    visitor.message("Rows with faults are left out")
    visitor.page.get_by_role("button", name="Score 2 rows").click()
    visitor.message("2 rows scored")
    with visitor.page.expect_download() as download:
        visitor.page.get_by_role("button", name="Download scores").click()
    download.value.save_as(tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [(row["user_id"], row["product_id"]) for row in found] == [("u000001", "p00001"), ("u000002", "p00002")]
    assert all(0 <= float(row["score"]) <= 1 for row in found)


def test_every_page_is_drawn_whole(visit: Callable[..., Visitor]) -> None:
    pictures = os.environ.get("SCREENSHOTS")
    for name, size, scheme in (("desktop", DESKTOP, "light"), ("phone", PHONE, "dark")):
        visitor = visit(size, scheme)
        for path in PAGES:
            page = visitor.go(path)
            assert page.get_by_text("could not be drawn").count() == 0, path
            assert page.locator("[data-testid=stException]").count() == 0, path
            # Nothing sticks out to the side.
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
            if pictures:
                _shoot(page, Path(pictures) / f"{path.partition('?')[0] or 'overview'}-{name}.png", size)


@pytest.mark.parametrize(("size", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")], ids=["desktop", "phone"])
def test_no_page_shuts_anybody_out(visit: Callable[..., Visitor], size: dict[str, int], scheme: str) -> None:
    visitor = visit(size, scheme)
    faults = {path: found for path in PAGES if (found := grave_faults(visitor.go(path)))}
    assert faults == {}


def test_what_is_looked_at_is_kept_from_page_to_page(visit: Callable[..., Visitor]) -> None:
    visitor = visit()
    visitor.go("ask?user=u000002&product=p00003")
    visitor.message(LIKELY)
    visitor.page.get_by_role("link", name="Regulars").click()
    visitor.page.get_by_role("heading", name="Regulars").wait_for()
    visitor.page.wait_for_url(re.compile("user=u000002"))
    visitor.page.get_by_role("link", name="Ask", exact=True).click()
    visitor.message(LIKELY)
    visitor.page.wait_for_url(re.compile("user=u000002.*product=p00003"))
    visitor.page.get_by_role("link", name="About this model").click()
    visitor.page.get_by_role("heading", name="Version").wait_for()
    visitor.page.get_by_role("tab", name="Live metrics").click()
    visitor.page.get_by_text(re.compile("live predictions are kept|live metrics exist from")).first.wait_for()


def test_a_result_stays_in_view_beside_its_sliders(visit: Callable[..., Visitor]) -> None:
    visitor = visit(PHONE)
    visitor.go(ASK)
    visitor.message(LIKELY)
    visitor.page.get_by_role("tab", name="What if").click()
    last = visitor.page.get_by_role("slider").last
    last.scroll_into_view_if_needed()
    last.focus()
    last.press("ArrowRight")
    visitor.drawn()
    result = visitor.page.locator("[data-testid=stMetric]").filter(has_text="Hypothetical score").first
    box = poll_until(result.bounding_box)  # it has none while the page replaces it
    assert 0 <= box["y"] <= PHONE["height"] - box["height"]


def test_keys_decide_and_the_api_may_die_and_come_back(browser: Any, running: System, tmp_path: Path) -> None:
    # An API and a console of its own: one asks for keys, and `encore up` ends when a part of it dies.
    ports = {"API_PORT": str(free_port()), "CONSOLE_PORT": str(free_port())}
    reader, admin = make_key("reader"), make_key("admin", "admin")
    ports["ENCORE_API_KEYS"] = f"{reader[1]},{admin[1]}"
    started: list[subprocess.Popen[bytes]] = []

    def start(command: str) -> "subprocess.Popen[bytes]":
        started.append(running.start(command, output=tmp_path / f"{command}-{len(started)}.log", **ports))
        return started[-1]

    api, _ = start("serve"), start("console")
    context = browser.new_context(viewport=DESKTOP)
    context.set_default_timeout(120_000)
    visitor = Visitor(context.new_page(), f"http://127.0.0.1:{ports['CONSOLE_PORT']}")
    try:
        poll_until(lambda: _listens(ports["API_PORT"]) and _listens(ports["CONSOLE_PORT"]), deadline_s=60)
        visitor.go("model")
        visitor.message("a valid API key is needed")
        visitor.type_key(reader[0])
        visitor.promote()
        visitor.message("this needs operate")
        visitor.page.get_by_role("button", name="No", exact=True).click()
        visitor.type_key(admin[0])
        visitor.promote()
        visitor.message("champion is now", patience_s=200)

        visitor.page.get_by_role("link", name="Ask").click()
        visitor.message(LIKELY)
        api.kill()
        api.wait()
        visitor.page.get_by_role("link", name="Regulars").click()
        visitor.page.get_by_role("link", name="Ask").click()
        visitor.message("does not answer")
        start("serve")
        poll_until(lambda: _listens(ports["API_PORT"]), deadline_s=60)
        visitor.page.wait_for_timeout(2_000)  # for so long the console remembers that it did not answer
        visitor.page.get_by_role("link", name="Batch").click()
        visitor.page.get_by_role("link", name="Ask").click()
        visitor.message(LIKELY)
    finally:
        context.close()
        for process in started:
            stop_child(process, 30)


def _listens(port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0


def _shoot(page: Any, file: Path, size: dict[str, int]) -> None:
    """A picture of the page, as long as it is up to three windows."""
    page.wait_for_timeout(3_000)  # charts move into place
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": size["width"], "height": min(height, 3 * size["height"])})
    page.wait_for_timeout(1_000)
    file.parent.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=file)
    page.set_viewport_size(size)
