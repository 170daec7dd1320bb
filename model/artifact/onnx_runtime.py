"""ONNX Runtime, told to send nothing.

Its own builds for Linux give each account an id (`~/.cache/Microsoft`) and tell Microsoft how they are used, from the
moment that they are imported.
"""

import os

__all__ = ["ort"]

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort  # it looks at the environment when it is imported
