"""The Vision Transformer and its family on MindSpore: a library to run and a course to read.

The functions here are loaded at their first use: `python -m vit_ms --help` need not wait for MindSpore, and a command can
tell in one line that its version is wrong.
"""

import importlib

from vit_ms import environment

__version__ = "0.1.0"
__all__ = ["create_model", "doctor", "list_models", "load_weights"]

_HOMES = {
    "create_model": "vit_ms.registry",
    "list_models": "vit_ms.registry",
    "load_weights": "vit_ms.weights",
    "doctor": "vit_ms.checkup",
}

environment.prepare()


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'vit_ms' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
