"""What the installed package promises as a whole: what it brings along, what it exports, how its door behaves."""

from __future__ import annotations

import ast
import pkgutil
import re
import subprocess
import sys
from importlib import import_module
from importlib.metadata import requires
from importlib.resources import files
from pathlib import Path
from types import ModuleType

import pytest

import streamwds

MODULES = sorted(module.name for module in pkgutil.walk_packages(streamwds.__path__, "streamwds.") if not module.ispkg)
RUN = "import streamwds.__main__ as door; door.main()"


def python(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *args], capture_output=True, text=True)


@pytest.mark.parametrize("package", [streamwds, streamwds.tar], ids=lambda package: package.__name__)
def test_what_type_checkers_are_told_is_what_is_found_later(package: ModuleType) -> None:
    assert package.__file__ is not None
    body = ast.parse(Path(package.__file__).read_text(encoding="utf-8")).body
    (told,) = (node.body for node in body if isinstance(node, ast.If))
    names = {alias.name: node.module for node in told if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert names.keys() <= set(package.__all__)
    for name, room in names.items():
        assert room is not None
        module = import_module(room)
        found = getattr(module, name) if hasattr(module, name) else import_module(f"{room}.{name}")
        assert getattr(package, name) is found
    with pytest.raises(AttributeError, match=f"module '{package.__name__}' has no attribute 'nothing'"):
        _ = package.nothing


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, streamwds; print(*sys.modules)"
    loaded = {name.partition(".")[0] for name in python("-c", code).stdout.split()}
    assert "numpy" in loaded
    assert not loaded & {
        "torch",
        "rich",
        "typer",
        "skimage",
        "sklearn",
        "webdataset",
        "asyncio",
        "ray",
        "urllib3",
        "fsspec",
    }


def test_needs_no_more_than_it_says() -> None:
    always = {re.split(r"[^\w-]", line)[0] for line in requires("streamwds") or [] if "extra ==" not in line}
    assert always == {"attrs", "braceexpand", "numpy", "pillow", "toolz"}


def test_is_marked_as_typed() -> None:
    assert files("streamwds").joinpath("py.typed").is_file()


@pytest.mark.parametrize("name", ["streamwds", *MODULES])
def test_exports_are_chosen_and_there(name: str) -> None:
    module = import_module(name)
    assert module.__doc__
    exported = module.__all__
    assert len(set(exported)) == len(exported)
    assert not [missing for missing in exported if not hasattr(module, missing)]


def test_the_command_line_tells_its_version() -> None:
    done = python("-m", "streamwds", "--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(r"streamwds \d+\.\d+\S*\n", done.stdout)


def test_the_command_line_lists_its_commands() -> None:
    assert "demo" in python("-m", "streamwds", "--help").stdout


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_the_command_line_says_what_is_missing(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; sys.argv[1:] = ['demo']; {RUN}"
    done = python("-c", code)
    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(r"streamwds: .*" + package + r".*pip install 'streamwds\[cli\]'\n", done.stderr)


def test_the_command_line_tells_an_error_in_one_line(tmp_path: Path) -> None:
    code = (
        "import streamwds.demo as d, sys; d.PHOTOGRAPHS = (('skimage', 'data/no.png'),);"
        f"sys.argv[1:] = ['demo', '--cache', {str(tmp_path)!r}]; {RUN}"
    )
    done = python("-c", code)
    assert done.returncode == 1
    assert re.fullmatch(r"streamwds: .*no\.png.*\n", done.stderr)


def test_the_command_line_tells_an_error_of_the_system_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = python("-m", "streamwds", "demo", "--cache", str(tmp_path / "file"))
    assert done.returncode == 1
    assert re.fullmatch(r"streamwds: .*Not a directory.*\n", done.stderr)
