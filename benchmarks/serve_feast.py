"""Make a Feast repository as its docs do: plain values in Feast's Redis store, and a forest in scikit-learn.

    python benchmarks/serve_feast.py FOLDER      over the home and the Redis of the environment

The values are those of Encore's states at the time of making, so that both serve the same features.
"""

import pickle
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from feast import Entity, FeatureStore, FeatureView, Field, FileSource
from feast.types import Float64, String
from sklearn.ensemble import RandomForestClassifier

from data.clock import wall_clock
from data.default_shop import SHOP
from features.plan.cache import load_plan
from features.state.online.states import OnlineStates
from features.state.states import EntityKey
from features.state.values import EntityValues
from server.redis.connections import connect_redis
from server.settings import read_settings


def make(repo: Path) -> None:
    settings = read_settings()
    repo.mkdir()
    (repo / "feature_store.yaml").write_text(
        f"project: plain\nprovider: local\nregistry: {repo}/registry.db\nentity_key_serialization_version: 3\n"
        f"online_store:\n  type: redis\n  connection_string: 127.0.0.1:{settings.redis_port}\n"
        "offline_store:\n  type: file\n"
    )
    plan, states, now = load_plan(settings.plan), OnlineStates(connect_redis(settings, timeout_s=60)), wall_clock()
    store = FeatureStore(repo_path=str(repo))
    names, tables = [], {}
    for entity in SHOP.asked:  # the entities that a question names
        values = EntityValues(plan.of(entity.name))
        ids = entity_ids(states, entity.name, len(entity.join_keys))
        stored = states.read([EntityKey(entity.name, key) for key in ids])
        rows = [values.get(values.algebra.decode(state.state), now) for state in stored]
        table = pd.DataFrame(rows, columns=list(values.names), dtype="float64")
        for place, key in enumerate(entity.join_keys):
            table[key] = [key_values[place] for key_values in ids]
        table["event_timestamp"] = pd.Timestamp.now("UTC")
        table.to_parquet(repo / f"{entity.name}.parquet")
        keys = [Entity(name=key, join_keys=[key]) for key in entity.join_keys]
        view = FeatureView(
            name=entity.name,
            entities=keys,
            schema=[*(Field(name=key, dtype=String) for key in entity.join_keys)]
            + [Field(name=name, dtype=Float64) for name in values.names],
            source=FileSource(path=str(repo / f"{entity.name}.parquet"), timestamp_field="event_timestamp"),
            ttl=None,
        )
        store.apply([*keys, view])
        store.write_to_online_store(entity.name, df=table)
        names += [f"{entity.name}:{name}" for name in values.names]
        tables[entity.name] = table
    joined = tables["user_product"].merge(tables["user"], on="user_id").merge(tables["product"], on="product_id")
    examples = joined.sample(min(len(joined), 20_000), random_state=0)
    columns = [name.partition(":")[2] for name in names]
    label = (examples["user_product_purchase_count"] + np.random.default_rng(0).normal(0, 1, len(examples))) > 1
    # As large as the forest that Encore trains.
    forest = RandomForestClassifier(200, min_samples_leaf=20, max_leaf_nodes=256, max_features=0.2, random_state=0)
    forest.fit(examples[columns], label)
    (repo / "model.pickle").write_bytes(pickle.dumps(forest))
    (repo / "features.txt").write_text("\n".join(names))


def entity_ids(states: Any, entity: str, width: int) -> list[tuple[str, ...]]:
    """Return the join keys of every state, read from Redis' own keys."""
    ids = []
    for key in states.redis_keys(entity):
        at, parts = 4, []
        for _ in range(2 * width):
            size = struct.unpack_from("<I", key, at + 4)[0]
            parts.append(key[at + 8 : at + 8 + size].decode())
            at += 8 + size
        ids.append(tuple(parts[width:]))
    return ids


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    make(Path(sys.argv[1]))
