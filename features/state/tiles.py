"""The tiles of one hop in a state: one flat list of integers, in which the newest tile comes first.

    [number of the newest tile, its values ..., tiles back to the next one, its values ..., tiles back, its values ...]

Most events fall into the newest tile, which is found without counting; the others' numbers are steps of mostly one
byte; and what is past the longest window is cut off at the end.
"""

from collections.abc import Sequence
from itertools import accumulate
from operator import sub

__all__ = ["find_row", "merge_rows", "rows_in", "rows_of", "tiles_of"]


def tiles_of(rows: list[int], width: int) -> list[int]:
    """The tile numbers, newest first. `width` is a row's: the step and the values."""
    return list(accumulate(rows[::width], sub))


def rows_of(tiles: Sequence[int], columns: Sequence[Sequence[int]]) -> list[int]:
    """The rows of tile numbers, oldest first, with a column of values in them per aggregate."""
    rows: list[int] = []
    for place in range(len(tiles) - 1, -1, -1):
        rows.append(tiles[place + 1] - tiles[place] if rows else tiles[place])
        rows += [column[place] for column in columns]
    return rows


def rows_in(rows: list[int], width: int, first_tile: int) -> int:
    """How much of the list holds the tiles from `first_tile` on."""
    if not rows or rows[0] < first_tile:
        return 0
    age, oldest = 0, rows[0] - first_tile
    for start in range(width, len(rows), width):
        age += rows[start]
        if age > oldest:
            return start
    return len(rows)


def find_row(rows: list[int], tile: int, span: int, zeros: tuple[int, ...]) -> int | None:
    """Where the row of `tile` begins, made of `zeros` if need be; None where it lies `span` tiles back or more."""
    width = len(zeros)
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
        rows[:0] = zeros
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
    rows[start:start] = zeros
    rows[start] = age - newer
    return start


def merge_rows(left: list[int], right: list[int], span: int, width: int) -> list[int]:
    """The rows of both, values added where both have a tile."""
    values: dict[int, list[int]] = {}
    for rows in (left, right):
        for place, tile in enumerate(tiles_of(rows, width)):
            row = rows[place * width + 1 : (place + 1) * width]
            values[tile] = [a + b for a, b in zip(values[tile], row, strict=True)] if tile in values else row
    oldest = max(values, default=0) - span
    kept = sorted(tile for tile in values if tile > oldest)
    return rows_of(kept, [[values[tile][column] for tile in kept] for column in range(width - 1)])
