"""The tiles of one hop in a state: one flat list, the newest tile first.

    [number of the newest tile, its values ..., tiles back to the next one, its values ..., tiles back, its values ...]

Most events fall into the newest tile, which is found without a search; the other tiles' numbers are differences of
mostly one byte; tiles past the longest window are cut off at the end.
"""

from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import sub
from typing import Any

__all__ = ["find_row", "merge_rows", "rows_of", "tiles_of"]


def tiles_of(rows: list[Any], width: int) -> list[Any]:
    """Return the tile numbers, newest first. `width` is the length of a row: the difference and the values."""
    return list(accumulate(rows[::width], sub))


def rows_of(tiles: Sequence[int], columns: Sequence[Sequence[Any]]) -> list[Any]:
    """Return the rows of tile numbers, oldest first, with one column of values per aggregate."""
    rows: list[Any] = []
    for place in range(len(tiles) - 1, -1, -1):
        rows.append(tiles[place + 1] - tiles[place] if rows else tiles[place])
        rows += [column[place] for column in columns]
    return rows


def find_row(rows: list[Any], tile: int, span: int, empty: tuple[Any, ...]) -> int | None:
    """Return the index of the row of `tile`, inserted as `empty` if missing.

    None where it lies `span` tiles back or more.
    """
    width = len(empty)
    age = rows[0] - tile if rows else 0
    if age <= 0:
        if age:
            oldest = sum(rows[width::width]) - age
            rows[0] = -age
            while oldest >= span:
                oldest -= rows[-width]
                del rows[-width:]
        elif rows:
            return 0
        rows[:0] = empty
        rows[0] = tile
        return 0
    if age >= span:
        return None
    newer = 0
    for start in range(width, len(rows), width):
        older = newer + rows[start]
        if older == age:
            return start
        if older > age:
            rows[start] = older - age
            break
        newer = older
    else:
        start = len(rows)
    rows[start:start] = empty
    rows[start] = age - newer
    return start


def merge_rows(parts: Sequence[list[Any]], span: int, merges: Sequence[Callable[[Any, Any], Any]]) -> list[Any]:
    """Merge the rows of all parts, by one function per column where several have a tile."""
    width = 1 + len(merges)
    values: dict[int, list[Any]] = {}
    oldest = max((rows[0] for rows in parts if rows), default=0) - span
    for rows in parts:
        if not rows or rows[0] <= oldest:
            continue
        for place, tile in enumerate(tiles_of(rows, width)):
            row = rows[place * width + 1 : (place + 1) * width]
            values[tile] = (
                [merge(a, b) for merge, a, b in zip(merges, values[tile], row, strict=True)] if tile in values else row
            )
    kept = sorted(tile for tile in values if tile > oldest)
    return rows_of(kept, [[values[tile][column] for tile in kept] for column in range(width - 1)])
