"""Text from outside where a person reads it: one line, without what moves a cursor or hides what is written."""

__all__ = ["one_line", "printable"]


def printable(text: object, longest: int | None = None, *, lines: bool = False) -> str:
    r"""Escape what cannot be printed in a text: control characters, line ends, bidi marks, halves of surrogate pairs.

    The escapes are Python's, such as `\n` and `\u202e`. More than `longest` characters are cut, with an ellipsis.
    `lines` keeps line ends, in texts of our own.
    """
    shown = str(text)
    if not shown.isprintable():
        shown = "".join(
            character if character.isprintable() or (lines and character == "\n") else _escaped(character)
            for character in shown
        )
    return shown if longest is None or len(shown) <= longest else f"{shown[: longest - 1]}…"


def one_line(error: object, longest: int = 300) -> str:
    """Return a library's error message, however many lines it has, as one line of at most `longest` characters."""
    return " ".join(str(error).split())[:longest]


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode()
