"""Make a sample of an earlier release: a home and its states, as the code of a commit wrote them.

    python tests/samples/releases/make_release.py COMMIT NAME

The commit is checked out beside, and its own commands run with the libraries that are installed here: history of a
small synthetic shop, features, a model, states. NAME.tar.xz holds `home/`, and `redis.json`: every key as base64, with
its kind and value.
"""

import base64
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from redis import Redis

from server.process.server_process import free_port
from server.process.store import Store

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
COMMANDS = (
    "generate --users 60 --products 12 --days 60 --events-per-day 60 --seed 5",
    "features",
    "train --target purchase_intent --model logistic_regression",
    "materialize",
)
LEFT_OUT = {"run", "feast", "store", "broker"}


def main(commit: str, name: str) -> None:
    """Write the sample."""
    with tempfile.TemporaryDirectory() as folder:
        tree, home = Path(folder) / "tree", Path(folder) / "home"
        subprocess.run(["git", "worktree", "add", "--detach", tree, commit], cwd=ROOT, check=True)
        try:
            with Store(free_port(), Path(folder) / "store") as store:
                environment = {
                    **os.environ,
                    "PYTHONPATH": str(tree),
                    "ENCORE_HOME": str(home),
                    "REDIS_HOST": store.host,
                    "REDIS_PORT": str(store.port),
                    "PYTHONWARNINGS": "ignore",
                }
                for command in COMMANDS:
                    argv = [sys.executable, "-m", "server.cli", *command.split()]
                    subprocess.run(argv, cwd=tree, env=environment, check=True)
                with Redis(host=store.host, port=store.port) as client:
                    keys = [_kept(client, key) for key in sorted(client.keys("*"))]
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", tree], cwd=ROOT, check=True)
        (Path(folder) / "redis.json").write_text(json.dumps(keys, indent=0))
        with tarfile.open(HERE / f"{name}.tar.xz", "w:xz", preset=9) as archive:
            archive.add(Path(folder) / "redis.json", "redis.json", filter=_nobodys)
            for path in sorted(home.rglob("*")):
                inner = path.relative_to(home)
                if path.is_file() and inner.parts[0] not in LEFT_OUT and path.suffix not in {".html", ".png", ".svg"}:
                    archive.add(path, f"home/{inner}", filter=_nobodys)


def _kept(client: Any, key: bytes) -> list[Any]:
    kind = client.type(key).decode()
    match kind:
        case "hash":
            value: Any = {_text(field): _text(one) for field, one in client.hgetall(key).items()}
        case "zset":
            value = {_text(member): score for member, score in client.zrange(key, 0, -1, withscores=True)}
        case "string":
            value = _text(client.get(key))
        case _:
            raise ValueError(f"{key!r} is a {kind}")
    return [_text(key), kind, value]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main(*sys.argv[1:])
