"""Texts that somebody may send, or call a folder, and that some syntax would take for its own."""

__all__ = ["FOLDERS", "IDS", "PASSWORDS", "STRANGE_FOLDER"]

IDS = [
    "[/x]",
    "[bold]",
    "[red]u[/red]",
    "[link=http://x]u[/link]",
    ":smile:",
    "=cmd|' /C calc'!A0",
    "+1",
    "-1+2",
    "@SUM(A1)",
    "<script>alert(1)</script>",
    "../../etc/passwd",
    "%s%n{}{0}",
    "${HOME}",
    "`id`",
    "**b** _i_ ~~s~~ $x^2$",
    "\"quoted\" 'twice'",
    "a, b; c # d: e",
    "line\nbreak\r\nand\ttab",
    "\x1b[2J\x1b[31mred\x07",
    "\u202egnp.exe",
    "\u200bzero\ufeffwidth",
    "\ud800half",
    "ünïcode ☕",
    "x" * 5_000,
]
"""Ids, keys, reasons: whatever a message, a request or a file can hold."""

FOLDERS = [
    "plain",
    "with space",
    "a #b",
    "a: b",
    "a?b",
    "50%20off",
    "it's",
    'say "x"',
    "$HOME",
    "${REDIS_PASSWORD}",
    "[ab]*",
    "ünïcode ☕",
    "- a",
    "{a}, b",
    "a, b",
    "back\\slash",
    "&anchor *alias !tag |",
]
"""Names of folders."""

STRANGE_FOLDER = "a #b: c?d%20e'f\"g ü[*]$HOME,{x} & y"
"""Most of it at once."""

PASSWORDS = [
    "123456",
    "true",
    "null",
    "~",
    "a: b",
    "p@ss/w#rd",
    " leading",
    "trailing ",
    "'",
    '"',
    "$HOME",
    "*x",
    "!t",
    "- a",
    "#x",
    "|2-",
    "%x",
    "{a}",
    "[a]",
    "ünïcode",
    "---",
]
"""Passwords."""
