"""The files of a new project, from a draft of its schema and mapping."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data.drafts.names import name_of
from data.drafts.shop import BUYING, ShopDraft
from data.printable import printable
from data.project import PROJECT_FILE, VERSION
from data.schema import Entity, EventType, Measure, Schema
from data.units import DAY_US

__all__ = ["project_files"]

_MOST_TYPES = 4
"""How many event types, the most frequent ones, the first features cover: each makes every state larger."""

_OLD_US = 30 * DAY_US
"""If the newest event is older than this, the clock is the newest event's time: by the system's clock, windows such as
the last day would be empty."""


def project_files(name: str, draft: ShopDraft, now_us: int) -> dict[str, str]:
    """Return the texts of a project's files by file name; `name` is the name of the project."""
    schema = draft.schema
    types: dict[str, str] = {}
    for event_type in schema.types[:_MOST_TYPES]:
        types[event_type.name] = name_of(event_type.name, types.values(), instead="type")
    main = next((kind for kind in types if any(word in kind.lower() for word in BUYING)), next(iter(types)))
    money = next(iter(schema.asked_measures), None)
    words = {
        "name": name,
        "file": re.sub(r"[^\w. -]", "_", Path(draft.file).name),
        "types": "\n".join(f"    {_text(kind)}: {_text(alias)}," for kind, alias in types.items()),
        "targets": _targets(main, types[main], draft),
        "shop": _schema_source(schema),
        "question": "&".join([f"{key}=..." for key in schema.asked_keys] + ([f"{money.name}=1"] if money else [])),
        "import": shlex.quote(printable(draft.file)),
        "event": _example(schema),
    }
    is_old = now_us - draft.newest_us > _OLD_US
    return {
        PROJECT_FILE: _filled(_SETTINGS, words) + (_OLD if is_old else _NEW),
        "schema.py": _filled(_SCHEMA, words),
        "features.py": _filled(_FEATURES, words) + (_filled(_OF_MONEY, {"money": money.name}) if money else _NO_MONEY),
        "targets.py": _filled(_TARGETS, words),
        "mapping.toml": draft.mapping,
        "README.md": _filled(_README, words),
    }


def _targets(main: str, main_name: str, draft: ShopDraft) -> str:
    """Return the source of the targets: another event of the entity with several keys, and of the first entity."""
    first = draft.schema.asked[0]
    pair = next((entity for entity in draft.schema.asked if len(entity.join_keys) > 1), first)
    entities = {"again": pair} if pair is first else {"again": pair, "soon": first}
    return "".join(
        _filled(
            _TARGET,
            {
                "name": f"{main_name}_{how}",
                "main": _text(main),
                "days": str(draft.horizon_days),
                "meaning": _text(f"there is another {main} of the {entity.name}"),
                "entity": entity.name,
            },
        )
        for how, entity in entities.items()
    )


def _filled(template: str, words: Mapping[str, str]) -> str:
    """Replace each `«name»` of a template by its text in `words`."""
    return re.sub("«([a-z_]+)»", lambda match: words[match[1]], template)


def _text(text: str) -> str:
    """Return a text as Python source, between double quotes."""
    plain = repr(text)
    return f'"{plain[1:-1]}"' if plain.startswith("'") and '"' not in text and "\\'" not in plain else plain


def _texts(texts: tuple[str, ...]) -> str:
    return f"({', '.join(map(_text, texts))}{',' if len(texts) == 1 else ''})"


def _listed(lines: list[str]) -> str:
    return "(" + "".join(f"\n        {line}," for line in lines) + "\n    )"


def _schema_source(schema: Schema) -> str:
    parts = {
        "types": _listed([_type_source(event_type) for event_type in schema.types]),
        "keys": _texts(schema.keys),
        "labels": _texts(schema.labels),
        "measures": _listed([_measure_source(measure) for measure in schema.measures]) if schema.measures else "()",
        "ordered_by": _text(schema.ordered_by),
        "entities": _listed([_entity_source(entity) for entity in schema.entities]),
        "asks": _texts(schema.asks),
    }
    return "SHOP = Schema(\n" + "".join(f"    {name}={source},\n" for name, source in parts.items()) + ")\n"


def _type_source(event_type: EventType) -> str:
    return f"EventType({', '.join(map(_text, filter(None, [event_type.name, event_type.plural])))})"


def _measure_source(measure: Measure) -> str:
    fields = {"decimals": measure.decimals, "least": measure.least, "most": measure.most, "default": measure.default}
    plain = Measure(measure.name)
    arguments = [f"{name}={_number(value)}" for name, value in fields.items() if value != getattr(plain, name)]
    return f"Measure({', '.join([_text(measure.name), *arguments])})"


def _number(value: Any) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def _entity_source(entity: Entity) -> str:
    return f"Entity({_text(entity.name)}, {_texts(entity.join_keys)}, {_text(entity.description)})"


def _example(schema: Schema) -> str:
    """Return an example event as a line of JSON."""
    fields = {"event_id": "e1", "event_type": schema.types[0].name, "timestamp": "2026-11-21T03:04:05Z"}
    fields |= dict.fromkeys(schema.keys, "...")
    texts = [f"{_json(name)}: {_json(value)}" for name, value in fields.items()]
    texts += [f"{_json(measure.name)}: {_number(max(1, measure.least))}" for measure in schema.measures]
    return "{" + ", ".join(texts) + "}"


def _json(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


_SETTINGS = f"""\
version = {VERSION}
name = "«name»"  # part of keys, topics and groups

[settings]  # what the environment does not say; secrets belong there
"""

_OLD = """\
ENCORE_CLOCK = "events"  # now is the newest event's time: what was imported is old
"""

_NEW = """\
# API_PORT = 8000
"""

_SCHEMA = '''\
"""What the events of «name» are, drafted from «file»: correct it before you import."""

from data.schema import Entity, EventType, Measure, Schema

«shop»'''

_FEATURES = '''\
"""Every feature of «name», once, in Featuretools' own terms; `encore features --plan` says what each costs."""

from pathlib import Path
from typing import Any

import featuretools as ft
from featuretools import primitives

from features.primitives import NumUnique, Rate

from .schema import SHOP

WINDOWS = {
    "1d": ("1 day", "1 hour"),
    "7d": ("7 days", "1 hour"),
    "30d": ("30 days", "1 day"),
}
"""Windows by short name: length, and hop (the width of a tile; a window moves by whole tiles)."""

TYPES = {
«types»
}
"""The event types that features are of, and what they are called in the names of features."""


def define(shop: ft.EntitySet) -> list[Any]:
    """Return the features over an entity set with the frames `events`, `requests`, and one an entity."""
    features: dict[str, Any] = {}
    for entity in SHOP.entities:
        features |= {f"{entity.name}_{name}": feature for name, feature in _of(shop, entity).items()}
    features |= _of_request(shop, features)
    return [feature.rename(name) for name, feature in features.items()]


def _of(shop: ft.EntitySet, entity: Any) -> dict[str, Any]:
    event = shop["events"].ww
    kind = ft.Feature(event["event_type"])

    def over(column: str, primitive: Any, **options: Any) -> Any:
        return ft.Feature(event[column], parent_dataframe_name=entity.frame, primitive=primitive, **options)

    features = {"days_since_first_event": over("timestamp", primitives.TimeSinceFirst(unit="days"))}
    for event_type, name in TYPES.items():
        happened = kind == event_type
        features[f"{name}_count"] = over("event_id", primitives.Count, where=happened)
        features[f"days_since_last_{name}"] = over("timestamp", primitives.TimeSinceLast(unit="days"), where=happened)
        for window, (length, _) in WINDOWS.items():
            features[f"{name}_count_{window}"] = over(
                "event_id", primitives.Count, where=happened, use_previous=length
            )
        for measure in SHOP.measures:
            features[f"{name}_sum_{measure.name}"] = over(measure.name, primitives.Sum, where=happened)
            features[f"{name}_mean_{measure.name}"] = over(measure.name, primitives.Mean, where=happened)
    if entity.join_keys == (SHOP.ordered_by,):
        for key in SHOP.keys:
            if key != SHOP.ordered_by:
                features[f"distinct_{key}"] = over(key, NumUnique)
    return features


def _of_request(shop: ft.EntitySet, of: dict[str, Any]) -> dict[str, Any]:
    """Return the features that are known only when a question is asked."""
    request = shop["requests"].ww
    asked_at = ft.Feature(request["timestamp"])
    features = {
        "hour_of_day": ft.Feature(asked_at, primitive=primitives.Hour),
        "day_of_week": ft.Feature(asked_at, primitive=primitives.Weekday),
    }
'''

_OF_MONEY = """\
    stake = ft.Feature(request["request_«money»"])
    usual = ft.DirectFeature(of[f"{SHOP.asked[0].name}_{next(iter(TYPES.values()))}_mean_«money»"], "requests")
    features["request_«money»"] = stake
    features["«money»_vs_usual"] = ft.Feature([stake, usual], primitive=Rate)
    return features
"""

_NO_MONEY = """\
    return features
"""

_TARGETS = '''\
"""The questions of «name»: which events raise them, which event answers them, and within which time."""

from data.units import DAY_US
from model.targets import Target

TARGETS = (
«targets»)
"""The first is what `encore train` trains, and what `/predict` answers, where none is named."""
'''

_TARGET = """\
    Target(
        name="«name»",
        trigger=(«main»,),
        label=«main»,
        horizon_us=«days» * DAY_US,
        meaning=«meaning»,
        entity="«entity»",
    ),
"""

_README = """\
# «name»

A project of Encore, drafted from `«file»`. What it declares:

| file | says |
|---|---|
| `encore.toml` | its name, and settings |
| `schema.py` | event types, keys, labels, measures and entities; what a question names (`asks`) |
| `features.py` | the features, in Featuretools' terms |
| `targets.py` | the questions that models answer |
| `mapping.toml` | how the rows of your file become events |

Read these, and correct what was guessed: which column is what, and the zone of times without one. Then, in the folder
beside this one (Encore's own state goes to `«name»/.encore`):

```sh
export ENCORE_PROJECT=«name»
encore import «import» --map «name»/mapping.toml   # your history, all or nothing
encore up                                          # features, model, states, worker, API; Ctrl-C ends it
```

In another terminal:

```sh
export ENCORE_PROJECT=«name»
curl 'http://127.0.0.1:8000/predict?«question»'
encore produce --mode file --input live.jsonl      # events while they happen, a line each
encore verify                                      # every feature by every path, compared with the oracle
encore status
```

A live event is a message of the topic `«name»-events`, with the key that orders events as its key:

```json
«event»
```

After a change of `features.py`: `encore features --plan` says what it means, then `encore rebuild` and `encore train`.
"""
