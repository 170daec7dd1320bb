"""Jars of Apache Kafka and of Spark's connector to it: fetched once by jgo, checked against a lock file at each use."""

import hashlib
import logging
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from data.atomic import replace_folder, scratch_folder
from data.errors import MissingExtraError, UnavailableError
from data.lock import file_lock
from server.process.wheels import package_folder

__all__ = ["CONNECTOR", "KAFKA_VERSION", "Jar", "KafkaJars", "download", "fetch_connector", "fetch_jars"]

KAFKA_VERSION = "4.1.1"

LOCK_FILE = Path(__file__).with_name("jgo.lock.toml")
CONNECTOR = Path(__file__).with_name("spark.lock.toml")

_CACHE = Path(".cache") / "encore"

_AT_ONCE = 4
_ATTEMPTS = 2


@dataclass(frozen=True)
class Jar:
    """One jar of the lock file: its Maven coordinates and its SHA-256 checksum in hexadecimal digits."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"{self.artifact}-{self.version}.jar"

    def is_in(self, folder: Path) -> bool:
        """Return whether `folder` has this jar with the right checksum."""
        try:
            with (folder / self.name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256
        except FileNotFoundError:
            return False


Download = Callable[[Iterable[Jar], Path], None]


class KafkaJars:
    """The folder of jars that the lock file describes, in the cache folder `cache`; `name` is that of the set."""

    def __init__(self, cache: Path, lock_file: Path = LOCK_FILE, name: str = "Apache Kafka") -> None:
        self._cache = cache
        self._lock_file = lock_file
        self._name = name
        self._file_name = name.lower().replace(" ", "-")

    @cached_property
    def jars(self) -> tuple[Jar, ...]:
        """The jars that belong into the folder."""
        locked = tomllib.loads(self._lock_file.read_text())["dependencies"]
        return tuple(Jar(jar["groupId"], jar["artifactId"], jar["version"], jar["sha256"]) for jar in locked)

    @cached_property
    def folder(self) -> Path:
        """The folder; each lock file has its own."""
        return self._cache / f"{self._file_name}-{hashlib.sha256(self._lock_file.read_bytes()).hexdigest()[:12]}"

    @property
    def are_whole(self) -> bool:
        """Return whether every jar is there with its checksum (40 MB are read)."""
        return not self._missing_in(self.folder)

    def fetch(self, download: Download) -> Path:
        """Download missing or damaged jars, all or nothing; return the folder.

        Raises UnavailableError if a jar cannot be downloaded, or has a wrong checksum twice.
        """
        try:
            with file_lock(self._cache / f"{self._file_name}.lock"):
                if not self.are_whole:
                    self._replace(download)
        except OSError as error:
            raise UnavailableError(f"{self._name}: its jars cannot be kept in {self._cache} ({error})") from error
        return self.folder

    def _replace(self, download: Download) -> None:
        with scratch_folder(self.folder) as fresh:
            for jar in self.jars:
                if jar.is_in(self.folder):
                    shutil.copy(self.folder / jar.name, fresh)
            for _ in range(_ATTEMPTS):
                download(self._missing_in(fresh), fresh)
                wrong = self._missing_in(fresh)
                if not wrong:
                    break
            else:
                raise UnavailableError(
                    f"{self._name}: {wrong[0].name}, downloaded {_ATTEMPTS} times, does not have the checksum in "
                    f"{self._lock_file.name}; check what stands between this machine and Maven Central"
                )
            replace_folder(fresh, self.folder)

    def _missing_in(self, folder: Path) -> list[Jar]:
        return [jar for jar in self.jars if not jar.is_in(folder)]


def download(jars: Iterable[Jar], folder: Path) -> None:
    """Download jars by jgo from Maven Central, or from the repositories in jgo's own settings.

    jgo only warns of a download without its repository's checksum, and takes an existing file for complete, so
    the caller compares checksums. Raises ConfigurationError if jgo is not installed.
    """
    if package_folder("jgo") is None:
        raise MissingExtraError("Apache Kafka: there is no jgo here to fetch its jars", "embedded")
    from jgo.config import GlobalSettings  # noqa: PLC0415 - only where something is to be fetched
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415
    from jgo.maven import MavenContext  # noqa: PLC0415

    logging.getLogger("jgo").setLevel(logging.ERROR)
    repositories = {"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories}
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".apache-kafka-") as scratch:
        maven = MavenContext(repo_cache=Path(scratch), remote_repos=repositories)

        def fetch(jar: Jar) -> None:
            file = maven.project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
            file.replace(folder / jar.name)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            try:
                for _ in pool.map(fetch, jars):
                    pass
            except (OSError, RuntimeError) as error:
                pool.shutdown(cancel_futures=True)
                raise UnavailableError(
                    f"Apache Kafka: its jars cannot be fetched from Maven Central ({_first_line(error)}); check the "
                    "network"
                ) from error


def _first_line(error: BaseException) -> str:
    """Return the innermost cause in one line; the outer ones repeat the requested address."""
    while error.__context__ is not None:
        error = error.__context__
    return (str(error).splitlines() or [type(error).__name__])[0]


def fetch_jars(
    cache: Path | None = None, *, download: Download = download, say: Callable[[str], None] = lambda _: None
) -> Path:
    """Return the folder of Kafka's jars, fetched where missing or damaged, after a line to `say`.

    It is in `cache`, by default the user's cache folder. Raises ConfigurationError if jgo is not installed,
    UnavailableError if they cannot be fetched now.
    """
    jars = KafkaJars(cache or Path.home() / _CACHE)
    if not jars.are_whole:
        say(f"fetching Apache Kafka {KAFKA_VERSION} from Maven Central, 43 MB, once")
        jars.fetch(download)
    return jars.folder


def fetch_connector(cache: Path | None = None, *, download: Download = download) -> list[Path]:
    """Return the jars by which Spark reads Kafka, as `fetch_jars` does the broker's."""
    jars = KafkaJars(cache or Path.home() / _CACHE, CONNECTOR, "Spark Kafka")
    if not jars.are_whole:
        jars.fetch(download)
    return sorted(jars.folder.iterdir())
