"""The examples for clouds: their form, and that the chart takes the values they say. Providers are not to be had."""

import re
import shutil
import string
import subprocess
from pathlib import Path

import pytest
from charts import HELM, objects

FOLDER = Path(__file__).parents[2] / "deploy" / "tofu"
CLOUDS = ("aws", "google")
HCLFMT = shutil.which("hclfmt") or shutil.which("hclfmt", path=str(FOLDER.parents[1] / ".tools" / "bin"))
TEMPLATE = string.Template((FOLDER / "values.yaml.tftpl").read_text())

EXAMPLE = {
    "image": "registry.example.org/encore", "kafka_servers": "b-1.example.org:9096,b-2.example.org:9096",
    "kafka_mechanism": "SCRAM-SHA-512", "partitions": "4", "redis_host": "redis.example.org", "redis_port": "6379",
    "redis_cluster": "true", "redis_ca": "true", "redis_replicas": "1", "certificates": "encore-certificates",
    "storage": "s3://bucket/encore?region=eu-central-1", "api_replicas": "2", "workers": "1",
}  # fmt: skip


@pytest.mark.integration
@pytest.mark.skipif(HCLFMT is None, reason="no hclfmt here; `make cloud` builds it where there is Go")
@pytest.mark.parametrize("file", sorted(FOLDER.rglob("*.tf")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_files_are_in_hclfmts_form(file: Path) -> None:
    done = subprocess.run([str(HCLFMT), str(file)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, file.read_text()), done.stderr


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_cloud_fills_in_every_value(cloud: str) -> None:
    outputs = (FOLDER / cloud / "outputs.tf").read_text()
    (filled,) = re.findall(
        r'templatefile\("\$\{path.module\}/../values.yaml.tftpl", \{\n(.*?)\n  \}\)', outputs, re.DOTALL
    )
    assert set(re.findall(r"^ {4}(\w+) +=", filled, re.MULTILINE)) == set(TEMPLATE.get_identifiers())


@pytest.mark.integration
@pytest.mark.skipif(HELM is None, reason="no helm here; `make chart` builds it where there is Go")
def test_the_chart_takes_the_values(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(TEMPLATE.substitute(EXAMPLE))
    made = objects("--values", values)
    (settings,) = (one["data"] for one in made if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", "shop"))
    assert settings["ENCORE_STORAGE"] == EXAMPLE["storage"]
    assert settings["KAFKA_SERVERS"] == EXAMPLE["kafka_servers"]
    assert settings["REDIS_CLUSTER"] == "true"
    assert settings["REDIS_CA"] == "/certificates/redis-ca.crt"


@pytest.mark.parametrize("cloud", CLOUDS)
def test_what_is_used_is_declared(cloud: str) -> None:
    text = "\n".join(path.read_text() for path in (FOLDER / cloud).glob("*.tf"))
    declared = set(re.findall(r'^variable "(\w+)"', text, re.MULTILINE))
    assert set(re.findall(r"\bvar\.(\w+)", text)) == declared
    made = {".".join(pair) for pair in re.findall(r'^resource "(\w+)" "(\w+)"', text, re.MULTILINE)}
    named = set(re.findall(rf"(?<![\w.])((?:{cloud}|random)_\w+\.\w+)", text))
    assert {name for name in named if f"data.{name}" not in text} <= made
