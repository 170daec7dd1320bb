"""Delete a system's home, once nothing runs in it and it is certainly one of ours."""

import shutil

from data.errors import ConfigurationError
from data.lock import open_lock
from server.settings import Settings, names_in_home

__all__ = ["clean_home"]


def clean_home(settings: Settings) -> str:
    """Delete the home; return what was done, in words.

    Raises ConfigurationError where it is in use, or holds files that are not Encore's.
    """
    home = settings.home
    if not home.exists():
        return f"{home} is not there: nothing to forget"
    strange = sorted(path.name for path in home.iterdir() if path.name not in names_in_home())
    if strange:
        raise ConfigurationError(
            f"{home} holds what Encore did not make ({', '.join(strange[:3])}); remove that, or delete it by hand"
        )
    servers = (settings.store / "store.lock", settings.broker / "broker.lock", settings.apache_kafka / "broker.lock")
    for lock_path in (settings.run / "up.lock", *servers):
        if lock_path.exists():
            try:
                open_lock(lock_path, wait=False).close()
            except BlockingIOError as error:
                raise ConfigurationError(f"{home} is in use ({lock_path}); stop what runs there first") from error
    shutil.rmtree(home)
    return f"deleted {home}"
