"""notebooks/build.py as a module."""

import importlib.util
from pathlib import Path

_spec = importlib.util.spec_from_file_location(
    "notebooks_build", Path(__file__).resolve().parents[1] / "notebooks/build.py"
)
build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(build)
