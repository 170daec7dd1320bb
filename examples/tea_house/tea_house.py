"""A tea house in Vienna, invented: 7,500 rows of its till as its spreadsheet writes them, and events that came later.

python examples/tea_house/tea_house.py FOLDER      writes FOLDER/verkauf.csv and FOLDER/live.jsonl, always the same

The file has names, dates, decimals and an encoding of its own: `21.03.2025 14:05`, `12,90`, semicolons, Latin-1. The
later events are in the words of the project that `encore init --from verkauf.csv` makes of it.
"""

import csv
import json
import random
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple
from zoneinfo import ZoneInfo

_VIENNA = ZoneInfo("Europe/Vienna")
_BEGIN, _DAYS, _LIVE_DAYS = datetime(2025, 1, 7), 170, 2  # noqa: DTZ001 - local times, as tills write them
_GUESTS, _TEAS = 300, 48
_GROUPS = ("Grüntee", "Schwarztee", "Kräutertee", "Früchtetee", "Oolong", "Rooibos")
_HEAD = ("Zeit", "Kundenkarte", "Artikel-Nr", "Gruppe", "Filiale", "Vorgang", "Menge (g)", "Betrag")


class _Row(NamedTuple):
    at: datetime
    guest: str
    tea: str
    group: str
    branch: str
    kind: str
    grams: int
    cents: int


def _rows() -> Iterator[_Row]:
    """Guests taste teas, buy some again and again, each at a pace of their own, and bring few back."""
    dice = random.Random(20250107)  # noqa: S311 - an invented shop
    teas = [(f"T-{number:03d}", _GROUPS[number % 6], dice.randint(390, 1490)) for number in range(1, _TEAS + 1)]
    for number in range(1, _GUESTS + 1):
        guest, branch = f"{number:05d}", dice.choice(("Neubau", "Wieden"))
        for tea, group, price in dice.sample(teas, dice.randint(1, 5)):
            pace = dice.choice((6, 9, 14, 28, 28, 60, 200))
            day = dice.random() * _DAYS
            while day < _DAYS + _LIVE_DAYS:
                at = _BEGIN + timedelta(days=int(day), minutes=dice.randint(9 * 60, 19 * 60))
                grams = dice.choice((50, 100, 100, 250))
                if dice.random() < 0.45:
                    yield _Row(at - timedelta(minutes=dice.randint(1, 9)), guest, tea, group, branch, "Probe", 5, 0)
                yield _Row(at, guest, tea, group, branch, "Verkauf", grams, price * grams // 50)
                if dice.random() < 0.02:
                    back = at + timedelta(days=dice.randint(1, 6))
                    yield _Row(back, guest, tea, group, branch, "Rückgabe", grams, price * grams // 50)
                day += max(1.0, dice.gauss(pace, pace / 5))


def _live(number: int, row: _Row) -> str:
    event = {
        "event_id": f"live-{number}",
        "event_type": row.kind,
        "timestamp": row.at.replace(tzinfo=_VIENNA).isoformat(),
        "kundenkarte": row.guest,
        "artikel_nr": row.tea,
        "gruppe": row.group,
        "filiale": row.branch,
        "menge_g": row.grams,
        "betrag": row.cents / 100,
    }
    return json.dumps(event, ensure_ascii=False)


def main(folder: Path) -> None:
    """Write both files."""
    rows = sorted(_rows())
    end = _BEGIN + timedelta(days=_DAYS)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "verkauf.csv").open("w", encoding="latin-1", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow(_HEAD)
        for row in rows:
            if row.at < end:
                euros = f"{row.cents / 100:.2f}".replace(".", ",")
                writer.writerow([f"{row.at:%d.%m.%Y %H:%M}", *row[1:6], row.grams, euros])
    later = [row for row in rows if end <= row.at < end + timedelta(days=_LIVE_DAYS)]
    lines = [_live(number, row) for number, row in enumerate(later, 1)]
    (folder / "live.jsonl").write_text("\n".join(lines) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
