"""Numbers, times and outside text as the console writes them."""

import re

import pytest

from server.console import formats


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0134, "13 ms"),
        (0.9, "900 ms"),
        (4.21, "4.2 s"),
        (59, "59 s"),
        (300, "5.0 min"),
        (9000, "2.5 h"),
        (1e6, "11.6 d"),
    ],
)
def test_durations_have_the_unit_that_suits(seconds: float, text: str) -> None:
    assert formats.duration(seconds) == text


def test_nothing_is_never_zero() -> None:
    assert {
        formats.number(None),
        formats.significant(None),
        formats.percent(None),
        formats.money(None),
        formats.duration(None),
        formats.moment(None),
        formats.when(None),
        formats.points(None),
    } == {formats.NOTHING}
    assert formats.ago(None, 0) == "never"


def test_numbers() -> None:
    assert formats.significant(1234567) == "1,234,567"
    assert formats.significant(0.33333333) == "0.3333"
    assert formats.significant(123456.7) == "123,457"
    assert formats.significant(1e15) == "1.000e+15"
    assert formats.percent(0.12345) == "12.3 %"
    assert formats.points(-0.016) == "-1.60 pp"
    assert formats.money(1234.5) == "1,234.50"
    assert formats.moment(1_772_366_400_000_000) == "2026-03-01 12:00:00 UTC"
    assert formats.when("2026-03-01T12:00:00Z") == "2026-03-01 12:00:00 UTC"
    assert formats.micros("2026-03-01T12:00:00Z") == 1_772_366_400_000_000


@pytest.mark.parametrize(
    "text",
    [
        "![x](http://outside.example/x.png)",
        "<script>alert(1)</script>",
        "[click](javascript:alert(1))",
        ":red[no]",
        "$x^2$",
        "`` ` `code`",
        "# heading\n* list",
    ],
)
def test_text_from_outside_is_no_markdown(text: str) -> None:
    shown = formats.plain(text)
    bare = re.sub(r"\\[!-/:-@\[-`{-~]", "", shown)
    assert not re.search(r"[!-/:-@\[-`{-~]", bare), shown
    assert re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", shown) == " ".join(text.split())


def test_our_own_commands_stay_code() -> None:
    assert formats.plain("run `encore serve --help`, then * this") == r"run `encore serve --help`\, then \* this"


def test_text_in_charts_is_no_html() -> None:
    assert formats.chart_text('<a href="x">&') == '&lt;a href="x"&gt;&amp;'
