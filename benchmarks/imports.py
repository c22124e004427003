"""How long `import streamwds` takes in a fresh interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.frame import Row

__all__ = ["rows"]


def _import_of(module: str, folder: Path) -> Callable[[], float]:
    """The first round, which doesn't count, leaves bytecode in the folder, as an installed package has it."""
    cached = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(folder)}
    code = f"import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"

    def contender() -> float:
        return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=cached).stdout)

    return contender


def rows(folder: Path) -> Iterator[Row]:
    """Importing must take at most twice as long as importing numpy does, which it includes."""
    modules = ("streamwds", "numpy")
    yield Row("import", {module: _import_of(module, folder) for module in modules}, goal=("numpy", 0.5))
