"""What Kubernetes, the Prometheus operator and KEDA say of their own objects: schemas from their Go modules.

Without Go, or a way to the module proxy, there are none: `lack_of_schemas` says so.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

__all__ = ["KUBERNETES", "definitions_of_kinds", "lack_of_schemas", "wrong_in"]

KUBERNETES = "1.33.5"
_PROMETHEUS = "github.com/prometheus-operator/prometheus-operator@v0.83.0"
_KEDA = "github.com/kedacore/keda/v2@v2.17.2"
_OTHERS = {
    "PodMonitor": (_PROMETHEUS, "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml"),
    "PrometheusRule": (_PROMETHEUS, "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml"),
    "ServiceMonitor": (_PROMETHEUS, "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml"),
    "ScaledObject": (_KEDA, "config/crd/bases/keda.sh_scaledobjects.yaml"),
    "TriggerAuthentication": (_KEDA, "config/crd/bases/keda.sh_triggerauthentications.yaml"),
}
"""Kinds that others define and the chart uses, with the files that define them."""

_PREFIX = "#/definitions/"


class _Loader(yaml.CSafeLoader):
    """Where `=` is a text, as in YAML 1.2."""


_Loader.add_constructor("tag:yaml.org,2002:value", lambda _, node: str(node.value))

_TEXT_OR_NUMBER = {"oneOf": [{"type": "string"}, {"type": "number"}]}


def lack_of_schemas() -> str:
    """Why there can be no schemas here, in words; empty where they can be had."""
    return "" if shutil.which("go") else "schemas of Kubernetes come as Go modules, and there is no Go here"


@cache
def _go_module(named: str) -> Path:
    """A Go module's folder (`path@version`), downloaded where it is not yet."""
    done = subprocess.run(
        ["go", "mod", "download", "-json", named], capture_output=True, text=True, timeout=600, check=False
    )
    said = json.loads(done.stdout or "{}")
    if "Dir" not in said:
        raise RuntimeError(f"Go has no {named}: {said.get('Error') or done.stderr}")
    return Path(said["Dir"])


def wrong_in(made: Mapping[str, Any]) -> list[str]:
    """What is wrong with an object by the schema of its kind; a field that no schema knows is wrong too."""
    key = (made["apiVersion"], made["kind"])
    if key not in _schemas():
        return [f"no schema knows {made['apiVersion']} {made['kind']}"]
    return [
        f"{'.'.join(map(str, error.instance_path))}: {error.message}" for error in _validator(key).iter_errors(made)
    ]


def definitions_of_kinds() -> Iterator[dict[str, Any]]:
    """The definitions of kinds that are not Kubernetes' own, as an API server is given them."""
    for module, path in _OTHERS.values():
        yield yaml.load((_go_module(module) / path).read_text(), _Loader)


@cache
def _validator(key: tuple[str, str]) -> jsonschema_rs.Draft4Validator:
    return jsonschema_rs.Draft4Validator(_schemas()[key])


@cache
def _schemas() -> Mapping[tuple[str, str], dict[str, Any]]:
    """By an object's `apiVersion` and `kind`."""
    return dict(_each_schema())


def _each_schema() -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    swagger = _go_module(f"k8s.io/kubernetes@v{KUBERNETES}") / "api" / "openapi-spec" / "swagger.json"
    definitions = json.loads(swagger.read_text())["definitions"]
    # Numbers are written for these too, which the document cannot say.
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = _TEXT_OR_NUMBER
    definitions["io.k8s.apimachinery.pkg.util.intstr.IntOrString"] = _TEXT_OR_NUMBER
    for definition in definitions.values():
        _close(definition)
    for name, definition in definitions.items():
        kinds = definition.get("x-kubernetes-group-version-kind", ())
        if len(kinds) == 1 and {"apiVersion", "kind", "metadata"} <= definition.get("properties", {}).keys():
            group, version, kind = (kinds[0][part] for part in ("group", "version", "kind"))
            used = _reached(name, definitions)
            schema = {"$ref": _PREFIX + name, "definitions": {each: definitions[each] for each in used}}
            yield (f"{group}/{version}".lstrip("/"), kind), schema
    metadata = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    for definition in definitions_of_kinds():
        for version in definition["spec"]["versions"]:
            schema = version["schema"]["openAPIV3Schema"]
            _close(schema)
            schema["properties"]["metadata"] = {"$ref": _PREFIX + metadata}
            schema["definitions"] = {each: definitions[each] for each in _reached(metadata, definitions)}
            named = f"{definition['spec']['group']}/{version['name']}"
            yield (named, definition["spec"]["names"]["kind"]), schema


def _close(schema: dict[str, Any]) -> None:
    """Refuse fields that a schema does not name, here and below."""
    if schema.get("x-kubernetes-int-or-string"):
        schema.pop("anyOf", None)
        schema |= _TEXT_OR_NUMBER
    if "(?i)" in str(schema.get("pattern")):
        del schema["pattern"]  # such a flag is Go's
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        schema.setdefault("additionalProperties", False)
    for below in (*schema.get("properties", {}).values(), schema.get("items"), schema.get("additionalProperties")):
        if isinstance(below, dict):
            _close(below)


def _reached(name: str, definitions: Mapping[str, Any]) -> set[str]:
    """Names of the definitions that one needs, with its own."""
    reached: set[str] = set()
    waiting = [name]
    while waiting:
        here = waiting.pop()
        if here not in reached:
            reached.add(here)
            waiting += _references(definitions[here])
    return reached


def _references(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(named := schema.get("$ref"), str):
            yield named.removeprefix(_PREFIX)
        for below in schema.values():
            yield from _references(below)
    elif isinstance(schema, list):
        for below in schema:
            yield from _references(below)
