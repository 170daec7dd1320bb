"""What the beginning of a file tells: its kind, its encoding, and where its rows begin."""

import bz2
import csv
import gzip
import io
import re
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import msgspec
import pyarrow as pa
from pyarrow import fs

from data.errors import ConfigurationError, DataError
from data.importers.mapping import FileOptions
from data.importers.tables import is_table
from data.printable import printable

__all__ = [
    "PACKED",
    "SAMPLE",
    "Format",
    "beginning_of",
    "csv_records",
    "file_format",
    "guess_options",
    "refuse_other_kinds",
    "unpacked",
]

Format = Literal["csv", "json", "parquet"]

_FORMATS: dict[str, Format] = {
    **dict.fromkeys((".csv", ".tsv", ".tab", ".txt"), "csv"),
    **dict.fromkeys((".json", ".jsonl", ".ndjson"), "json"),
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
}
PACKED = {".gz", ".zst", ".bz2"}
"""Suffixes of compressed files."""

_SHEETS = {".xlsx", ".xlsm", ".xls", ".ods"}
SAMPLE = 4 << 20
"""Bytes of a sample."""

_KINDS = {
    b"PK\x03\x04": "a zip archive, or a spreadsheet, which is one; unpack it, or save its sheet as CSV in UTF-8",
    b"\xd0\xcf\x11\xe0": "a spreadsheet; save its sheet as CSV in UTF-8",
    b"\x1f\x8b": "packed by gzip; let its name end with .gz",
    b"\x28\xb5\x2f\xfd": "packed by zstd; let its name end with .zst",
    b"BZh": "packed by bzip2; let its name end with .bz2",
    b"\xfd7zXZ\0": "packed by xz; unpack it",
    b"7z\xbc\xaf": "a 7z archive; unpack it",
    b"PAR1": "Parquet; let its name end with .parquet",
    b"SQLite format 3": "a database; export a table as CSV",
    b"%PDF": "a PDF; export its data as CSV",
    b"<": "a page of HTML, or XML; export its data as CSV",
}
"""The first bytes of files that are no text of rows."""

_DELIMITERS = ",;\t|"
_RECORDS = 200
_WESTERN = set("€£¥°²³½¼¾«»–—’‘“”„…®™©´·\xa7ªº¿¡×±µ\xa0")


def file_format(name: str, options: FileOptions) -> Format:
    """Return the format of a file. Raises ConfigurationError where neither its name nor `options` say it."""
    if options.format:
        return options.format
    if (form := _named_format(name)) is None:
        raise ConfigurationError(f'{name}: its name does not say what it is; write format = "csv" under [file]')
    return form


def _named_format(name: str) -> Format | None:
    path = Path(name)
    suffix = (path.with_suffix("") if path.suffix in PACKED else path).suffix.lower()
    if suffix in _SHEETS:
        raise DataError(f"{name}: a spreadsheet; save its sheet as CSV in UTF-8, and import that")
    if suffix in {".zip", ".7z", ".xz", ".rar", ".tar"}:
        raise DataError(f"{name}: an archive; unpack it, and import what is in it")
    return _FORMATS.get(suffix)


def beginning_of(name: str, size: int = SAMPLE) -> bytes:
    """Return the first bytes of a file, unpacked. Raises DataError in one line where it cannot be read."""
    try:
        with ExitStack() as stack:
            return bytes(unpacked(stack, name).read(size))
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise DataError(f"{name}: cannot be read ({error}); is it there, and whole?") from error


def unpacked(stack: ExitStack, name: str) -> Any:
    """Open a file, here or in a bucket, to read its unpacked content; the stack closes it."""
    file: Any
    if "://" in name:
        try:
            system, path = fs.FileSystem.from_uri(name)
        except (pa.ArrowException, ValueError) as error:
            raise DataError(
                f"{name}: no place that can be read ({error}); s3://, gs://, abfs:// and file:// are"
            ) from error
        file = stack.enter_context(system.open_input_stream(path, compression=None))
    else:
        file = stack.enter_context(Path(name).open("rb"))  # noqa: SIM115 - the stack closes it
    match Path(name).suffix:
        case ".gz":  # this reader knows zero padding after the end, and notices a missing end
            return stack.enter_context(gzip.GzipFile(fileobj=file))
        case ".bz2":
            return stack.enter_context(bz2.BZ2File(file))
        case ".zst":
            return stack.enter_context(pa.CompressedInputStream(file, "zstd"))
        case _:
            return file


def refuse_other_kinds(name: str, form: Format, start: bytes) -> None:
    """Raise DataError where the content of a file is of another kind than its format."""
    if form == "parquet":
        if not start.startswith(b"PAR1"):
            raise DataError(f"{name}: no Parquet, for it begins with {_shown(start)}; is it whole, and called rightly?")
        return
    kind = next((description for magic, description in _KINDS.items() if start.startswith(magic)), None)
    if kind is not None:
        raise DataError(f"{name}: this is {kind}")
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if form == "csv" and re.match(rb'\{\s*"|\[\s*\{', text):
        raise DataError(f"{name}: this is JSON; let its name end with .jsonl (a line an event) or .json")
    if form == "json" and text and not text.startswith((b"{", b"[", b"\xff", b"\xfe")):
        raise DataError(f"{name}: no JSON, for it begins with {_shown(text)}; if it is CSV, let its name end with .csv")
    first = text.partition(b"\n")[0].rstrip()
    if form == "json" and text.startswith(b"{") and first.endswith((b"{", b"[", b",")):
        raise DataError(
            f"{name}: one JSON object over many lines, and events are a line each, or one array; take out the list "
            f"that holds them: jq -c '.orders[]' {Path(name).name} > events.jsonl, where it is called orders"
        )


def _shown(start: bytes) -> str:
    return f"'{printable(start[:40].decode('utf-8', 'replace'), 30)}'"


def csv_records(text: str, options: FileOptions) -> Iterator[tuple[list[str], int]]:
    """Yield the records of a text, each with the number of lines until its end; after the lines that are skipped."""
    lines = io.StringIO(text, newline="")
    for _ in range(options.skip):
        lines.readline()
    doubled = options.escape == '"'
    reader = csv.reader(
        lines, delimiter=options.delimiter, doublequote=doubled, escapechar=None if doubled else "\\", strict=True
    )
    for record in reader:
        yield record, options.skip + reader.line_num


def guess_options(name: str) -> FileOptions:
    """Return how a file is read, as far as its beginning tells.

    Raises DataError, in one line, for what is no file of rows, or of an unknown encoding.
    """
    if is_table(name):
        return FileOptions()
    named = _named_format(name)
    start = beginning_of(name)
    form: Format = named or ("parquet" if start.startswith(b"PAR1") else "json" if start[:1] in b"{[" else "csv")
    refuse_other_kinds(name, form, start)
    if form == "parquet":
        return FileOptions(format=None if named else form)
    encoding = _encoding(name, start)
    options = FileOptions(format=None if named else form, encoding=encoding)
    if form == "json":
        return options
    text = start.decode(encoding, "replace").removeprefix("\ufeff")
    return _layout(text[: text.rfind("\n") + 1] if len(start) == SAMPLE else text, options)


def _encoding(name: str, start: bytes) -> str:
    """Return the encoding; UTF-8 also where a few bytes are not: the import reports their rows."""
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    odd = [character for character in start.decode("utf-8", "surrogateescape") if not character.isascii()]
    if sum(unicodedata.category(character) == "Cs" for character in odd) <= len(odd) / 2:
        return "utf-8"
    for encoding in ("cp1252", "latin-1"):
        try:
            text = start.decode(encoding)
        except UnicodeDecodeError:
            continue
        odd = [character for character in text if not character.isascii()]
        strange = sum(not (character.isalpha() or character in _WESTERN) for character in odd)
        strange += sum(map(len, re.findall(r"[^\x00-\xbf]{3,}", text)))
        if strange <= len(odd) / 4:
            return encoding
    raise DataError(
        f"{name}: a text neither in UTF-8 nor in a Western encoding; write it in UTF-8, for example by "
        f"iconv -f WINDOWS-1251 -t UTF-8 {Path(name).name} (or -f SHIFT_JIS, or whatever it is in)"
    )


def _layout(text: str, options: FileOptions) -> FileOptions:
    """Return the options that give most records the same number of columns: delimiter, escape, and lines to skip."""
    escapes: list[Literal['"', "\\"]] = ['"', "\\"] if '\\"' in text else ['"']
    best_score, chosen = (False, 0.0, 0), options
    first = re.match(r"sep=(.)\r?\n", text, re.IGNORECASE)  # as Excel writes
    for delimiter in first.group(1) if first else _DELIMITERS:
        for escape in escapes:
            tried = msgspec.structs.replace(options, delimiter=delimiter, escape=escape, skip=int(bool(first)))
            counts: list[tuple[int, int, int]] = []
            try:
                for record, line in csv_records(text, tried):
                    counts.append((len(record), sum(map(bool, record)), line))
                    if len(counts) == _RECORDS:
                        break
            except csv.Error:
                continue
            sizes = [size for size, _, _ in counts if size]
            usual = max(sizes, key=lambda size: (sizes.count(size), size), default=0)
            score = (usual > 1, sizes.count(usual) / max(1, len(sizes)), usual)
            if score > best_score:
                best_score = score
                full = [n for n, (count, filled, _) in enumerate(counts) if count >= usual and 2 * filled >= usual]
                skip = counts[full[0] - 1][2] if full and full[0] else tried.skip
                chosen = msgspec.structs.replace(tried, skip=skip)
    return chosen
