"""Settings of every test: how hard hypothesis tries, and what is left out where a system package is missing.

A test that runs a program or reads data from outside the package says so, `@pytest.mark.needs("bsdtar")`, and is left
out where that isn't found. The last lines of a run say what was; `pytest --complete` refuses to leave out anything.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import streamwds

SHARED = Path(__file__).parent.parent / "shared"

# Shared machines are slow at times, so no example has a deadline.
settings.register_profile("quick", deadline=None)
settings.register_profile("deep", deadline=None, max_examples=1_000)
settings.load_profile(os.environ.get("STREAMWDS_PROFILE", "quick"))


def _is_gnu_tar() -> bool:
    tar = shutil.which("tar")
    return tar is not None and b"GNU tar" in subprocess.run([tar, "--version"], capture_output=True).stdout


NEEDS: dict[str, Callable[[], bool]] = {
    "GNU tar": _is_gnu_tar,
    "bsdtar": lambda: shutil.which("bsdtar") is not None,
    "zstd": lambda: shutil.which("zstd") is not None,
    "lz4": lambda: shutil.which("lz4") is not None,
    "nginx": lambda: shutil.which("nginx") is not None,
    "chromium": lambda: shutil.which("chromium") is not None,
    "../shared": SHARED.is_dir,
}


def _missing() -> list[str]:
    return [name for name, found in NEEDS.items() if not found()]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--complete", action="store_true", help="fail where a test would be left out")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(name, ...): leave the test out where one of these is missing")
    if config.getoption("complete") and (missing := _missing()):
        raise pytest.UsageError(f"--complete, but not found: {', '.join(missing)}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    missing = set(_missing())
    needs = {item: {name for mark in item.iter_markers("needs") for name in mark.args} for item in items}
    if unknown := set().union(*needs.values()) - NEEDS.keys():
        raise pytest.UsageError(f"@pytest.mark.needs: {', '.join(sorted(unknown))} not among {', '.join(NEEDS)}")
    left_out = [item for item in items if needs[item] & missing]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not needs[item] & missing]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    missing = _missing()
    terminalreporter.write_line(f"left out: {'tests that need ' + ', '.join(missing) if missing else 'nothing'}")
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture(autouse=True)
def _names_of_doctests(request: pytest.FixtureRequest) -> None:
    """What the examples in docstrings take for granted: the public names, and a folder to write to."""
    if isinstance(request.node, pytest.DoctestItem):
        namespace = request.getfixturevalue("doctest_namespace")
        namespace.update({name: getattr(streamwds, name) for name in streamwds.__all__})
        namespace.update(Iterable=Iterable, Iterator=Iterator, np=np, tmp_path=request.getfixturevalue("tmp_path"))
