"""A project: the files in which a shop declares its events, its features and its questions.

    myshop/
      encore.toml     version = 1, name = "myshop", and settings
      schema.py       SHOP = Schema(...)                     data.schema
      features.py     WINDOWS, and define(shop)              Featuretools
      targets.py      TARGETS = (Target(...), ...)           model.targets

The package's own shop is the project `DEFAULT`, declared by modules with the same names in them. A folder's Python is
its owner's code: it runs from the folder that was named and from no other, its files import each other as
`from .schema import SHOP`, and nothing is written beside them.
"""

import hashlib
import importlib
import re
import sys
import tomllib
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Literal

from data.errors import ConfigurationError, DefinitionError, EncoreError
from data.schema import Schema
from data.toml_lines import line_of

__all__ = ["DEFAULT", "PROJECT", "PROJECT_FILE", "PROJECT_NAME", "VERSION", "Part", "Project", "open_project"]

PROJECT = "encore"
"""The default project, and that of everything made before there were several."""

PROJECT_FILE = "encore.toml"
"""The file that makes a folder a project."""

PROJECT_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,47}")
"""What a project may be called: its name is part of keys, topics and groups."""

VERSION = 1
"""Version of the layout of a project's folder."""

Part = Literal["schema", "features", "targets"]

_PACKAGE = "_encore_project_"
_ROOT = Path(__file__).parents[1]


@dataclass(frozen=True, eq=False)
class Project:
    """Where a shop is declared.

    `modules` are the names of the modules of its parts; `sources` their files and the files of the project that these
    import; `settings` are by environment variable. `folder` is None for what the package itself declares.
    """

    name: str
    modules: Mapping[Part, str]
    sources: tuple[Path, ...]
    folder: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def schema(self) -> Schema:
        """The schema of its events. Raises DefinitionError, with file and line."""
        schema = self.declared("schema", "SHOP")
        if not isinstance(schema, Schema):
            raise DefinitionError(f"{self.file('schema')}: SHOP is no Schema; write SHOP = Schema(...)")
        return schema

    @property
    def digest(self) -> str:
        """Changes with the sources; for a folder, with those that its modules were made from."""
        if self.folder is not None:
            return self.modules["schema"]
        digest = hashlib.sha256()
        for path in self.sources:
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def declared(self, part: Part, name: str) -> Any:
        """Return what a part declares under a name. Raises DefinitionError, with file and line."""
        with self.naming_the_line():
            module = importlib.import_module(self.modules[part])
        if not hasattr(module, name):
            raise DefinitionError(f"{self.file(part)}: it declares no {name}; `encore init` writes a file that does")
        return getattr(module, name)

    @contextmanager
    def naming_the_line(self) -> Iterator[None]:
        """Raise DefinitionError, with file and line, for whatever goes wrong in a file of the project."""
        try:
            yield
        except Exception as error:
            place = self._place(error)
            if isinstance(error, EncoreError):
                if place and not str(error).startswith(place):
                    raise DefinitionError(f"{place}: {error}") from error
                raise
            if not place:
                raise
            raise DefinitionError(
                f"{place}: {type(error).__name__}: {error}; mend it there and run this again"
            ) from error

    def file(self, part: Part) -> Path | str:
        """Return the file of a part, or the name of the package's own module."""
        return self.modules[part] if self.folder is None else self.folder / f"{part}.py"

    def _place(self, error: Exception) -> str:
        """Return where in its files an error arose; empty where in none of them."""
        own = {str(path) for path in self.sources}
        if isinstance(error, SyntaxError) and error.filename in own:
            return f"{error.filename}, line {error.lineno}"
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in own]
        return f"{frames[-1].filename}, line {frames[-1].lineno}" if frames else ""


DEFAULT = Project(
    PROJECT,
    {"schema": "data.default_shop", "features": "features.definitions", "targets": "model.targets"},
    tuple(
        _ROOT / name
        for name in (
            "data/default_shop.py",
            "features/definitions.py",
            "features/entities.py",
            "features/primitives.py",
        )
    ),
)
"""The package's own shop."""


def open_project(folder: Path) -> Project:
    """Return the project of a folder; none of its Python runs before a declaration of it is read.

    Raises ConfigurationError, with file and line, for an `encore.toml` that is absent, of another version or wrong.
    """
    folder = folder.absolute()
    path = folder / PROJECT_FILE
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise ConfigurationError(f"{path}: is not a file, and a project has one there")
    try:
        text = path.read_text("utf-8-sig")
        fields = tomllib.loads(text)
    except FileNotFoundError:
        raise ConfigurationError(
            f"{folder}: no project, for it has no {PROJECT_FILE}; `encore init {folder.name}` makes one"
        ) from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"{path}: cannot be read as TOML: {error}") from error
    for place, fault in _faults(fields):
        line = line_of(text, place)
        raise ConfigurationError(f"{path}{f':{line}' if line else ''}: {fault}")
    sources = tuple(sorted(file for file in folder.glob("*.py") if file.is_file()))
    for part in ("schema", "features", "targets"):
        if folder / f"{part}.py" not in sources:
            raise ConfigurationError(f"{folder / f'{part}.py'}: is not there, and a project has one; restore it")
    package = _package(folder, sources)
    return Project(
        fields["name"],
        {part: f"{package}.{part}" for part in ("schema", "features", "targets")},
        sources,
        folder,
        {name: _text(value) for name, value in fields.get("settings", {}).items()},
    )


def _faults(fields: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what is wrong in an `encore.toml`, and where."""
    version = fields.get("version", 0)
    if version != VERSION:
        newer = isinstance(version, int) and version > VERSION
        yield (
            ("version",),
            f"the project is of version {version!r:.40}, and this Encore reads {VERSION}; "
            + ("upgrade Encore" if newer else "make a new one with `encore init`, and copy what you declare into it"),
        )
    name = fields.get("name")
    if not isinstance(name, str) or not PROJECT_NAME.fullmatch(name):
        yield ("name",), f"name = {name!r:.80}: a letter or digit, then up to 47 of a-z, 0-9 and _"
    elif name == PROJECT:
        yield ("name",), f"name = {name!r}: that is the package's own shop; choose another"
    for key in fields:
        if key not in {"version", "name", "settings"}:
            yield (key,), f"{key} is nothing that a project has; there are version, name and [settings]"
    settings = fields.get("settings", {})
    if not isinstance(settings, dict):
        yield ("settings",), "settings is no table; write [settings] above them"
        return
    for key, value in settings.items():
        if not isinstance(value, str | int | float):
            yield ("settings", key), f"{key} is no text, number or boolean"


def _text(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


class _Loader(SourceFileLoader):
    """Compiles a file every time, and writes nothing beside it: bytecode cannot tell two edits of one second apart."""

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


class _Finder:
    """Finds the modules of projects' folders, each of which is a package; and no others."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, _target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, module = name.rpartition(".")
        if not package.startswith(_PACKAGE) or not path:
            return None
        file = Path(path[0]) / f"{module}.py"
        return spec_from_file_location(name, file, loader=_Loader(name, str(file))) if file.is_file() else None


def _package(folder: Path, sources: Sequence[Path]) -> str:
    """Return the name of the package of a folder's modules as they are now: an edited folder is another package."""
    digest = hashlib.sha256(str(folder).encode())
    for path in sources:
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    name = _PACKAGE + digest.hexdigest()[:24]
    if name not in sys.modules:
        if _Finder not in sys.meta_path:
            sys.meta_path.insert(0, _Finder)
        package = ModuleType(name, f"The project in {folder}.")
        package.__path__ = [str(folder)]
        sys.modules[name] = package
    return name
