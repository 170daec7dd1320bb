"""Profile where an answer's time goes: sample Encore's server every millisecond of its processor time.

    python benchmarks/serve_profile.py SECONDS OUT.json      over the home and the Redis of the environment

The load is 16 connections that request `/predict` (`http_load.py`, a separate process). A sample counts for the
innermost part on the stack, so C code counts for the Python code that called it.
"""

import json
import random
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

from http_load import Load, answers, post, run_apart

from server.api.serving import serve_api
from server.settings import read_settings

WARM_S = 2.0

# The innermost frame whose file holds one of these decides.
PARTS = {
    "/onnxruntime/": "the model (ONNX)",
    "/model/": "the model (ONNX)",
    "/features/": "features from states",
    "/server/redis/pipe.py": "reading Redis",
    "/server/redis/states.py": "reading Redis",
    "/server/scoring/reader.py": "features from states",
    "/server/scoring/scoring.py": "gathering, matrix, handing answers back",
    "/server/api/schemas.py": "the answer as JSON",
    "/server/api/scoring_app.py": "checking the body, the answer as JSON",
    "/server/api/asgi/envelope.py": "request id, limits, meters",
    "/server/api/asgi/guard.py": "request id, limits, meters",
    "/prometheus_client/": "request id, limits, meters",
    "/events/": "predictions for the topic",
    "/server/scoring/prediction_messages.py": "predictions for the topic",
    "/fastapi/": "FastAPI and Starlette",
    "/starlette/": "FastAPI and Starlette",
    "/uvicorn/": "uvicorn, the loop, sockets",
    "/asyncio/": "uvicorn, the loop, sockets",
    "/server/api/asgi/patient_http.py": "uvicorn, the loop, sockets",
}


class Samples:
    """Counts by part what the main thread runs, while `open`."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.open = False

    def take(self, _number: int, frame: FrameType | None) -> None:
        """Take a sample; a signal handler."""
        if not self.open:
            return
        while frame is not None:
            file = frame.f_code.co_filename
            for name, part in PARTS.items():
                if name in file:
                    self.counts[part] += 1
                    return
            frame = frame.f_back
        self.counts["other"] += 1


def drive(port: int, seconds: float, samples: Samples, out: Path) -> None:
    """Send the load once the server answers, write the profile, and stop the server."""
    while not answers(f"http://127.0.0.1:{port}/health/ready"):
        time.sleep(0.05)
    chance = random.Random(1)
    rows = [(f"u{chance.randrange(2000):06d}", f"p{chance.randrange(400):05d}") for _ in range(2000)]
    requests = [post("/predict", {"user_id": user, "product_id": product, "amount": 12.5}) for user, product in rows]
    threading.Timer(WARM_S + 1, lambda: setattr(samples, "open", True)).start()
    load = run_apart(port, Load(requests, 16, seconds, warm_s=WARM_S), "encore")
    samples.open = False
    total = sum(samples.counts.values())
    result: dict[str, Any] = {"per_second": load["per_second"], "looks": total}
    result["parts"] = {part: round(count / total, 3) for part, count in samples.counts.most_common()}
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    signal.raise_signal(signal.SIGTERM)


def main() -> None:
    """Serve in the main thread, where signals arrive."""
    settings, samples = read_settings(), Samples()
    signal.signal(signal.SIGPROF, samples.take)
    signal.siginterrupt(signal.SIGPROF, False)
    signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)
    arguments = (settings.api_port, float(sys.argv[1]), samples, Path(sys.argv[2]))
    threading.Thread(target=drive, args=arguments).start()
    serve_api(settings)


if __name__ == "__main__":
    main()
