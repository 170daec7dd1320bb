"""ONNX Runtime with telemetry disabled.

The official Linux builds assign an id to each account (`~/.cache/Microsoft`), and report their use to Microsoft from
their import on.
"""

import os

__all__ = ["ort"]

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort  # reads the environment on import
