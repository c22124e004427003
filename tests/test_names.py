"""docs/names.md has every public name of webdataset, wids and the ancestor, and every name of ours in it is there."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import streamwds

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "names.md").read_text(encoding="utf-8")
ANCESTOR = ROOT.parent / "shared" / "seeds" / "webdataset-0.1-api.txt"

PENDING = "pending "
"""Stands before what is made elsewhere and isn't here yet: such a cell is not looked at. Take it away when it is."""


class Row(NamedTuple):
    theirs: str
    ours: str


def cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def tables() -> dict[str, list[Row]]:
    """The rows below each heading, by what the heading names: a module, `0.1 module`, or `Methods of class`."""
    found: dict[str, list[Row]] = {}
    rows: list[Row] = []
    for line in PAGE.splitlines():
        if line.startswith("### "):
            heading = line[4:].replace("`", "")
            assert heading not in found, f"{heading} is there twice"
            rows = found[heading] = []
        elif line.startswith("| `"):
            theirs, ours, _ = cells(line)
            rows.append(Row(theirs.strip("`"), ours))
    return found


TABLES = tables()

# ---- theirs


def parsed(module: str) -> ast.Module:
    spec = find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse(Path(spec.origin).read_text(encoding="utf-8"))


def defined(body: Sequence[ast.stmt]) -> Iterator[str]:
    """The names that statements at the top of a module define, all but those that they import."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Assign, ast.AnnAssign)):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name))
        elif isinstance(node, ast.If) and "__name__" not in ast.dump(node.test):
            yield from defined([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from defined([*node.body, *(statement for handler in node.handlers for statement in handler.body)])


def public(names: Iterator[str]) -> set[str]:
    return {name for name in names if not name.startswith("_")}


def methods(qualname: str) -> set[str]:
    module, _, name = qualname.rpartition(".")
    (found,) = (node for node in parsed(module).body if isinstance(node, ast.ClassDef) and node.name == name)
    return public(defined(found.body))


def installed() -> dict[str, set[str]]:
    """The public names of each module of webdataset and wids, but of those that have none."""
    found: dict[str, set[str]] = {}
    for package in ("webdataset", "wids"):
        spec = find_spec(package)
        assert spec is not None
        for folder in spec.submodule_search_locations or ():
            for path in sorted(Path(folder).glob("*.py")):
                if path.stem != "__init__" and (names := public(defined(parsed(f"{package}.{path.stem}").body))):
                    found[f"{package}.{path.stem}"] = names
    return found


def ancestor() -> dict[str, set[str]]:
    """The names that the ancestor's API text shows for each module; a name that it cuts off ends in "..."."""
    found: dict[str, set[str]] = {}
    for part in re.split(r"^# Module ", ANCESTOR.read_text(encoding="utf-8"), flags=re.M)[1:]:
        names = {
            *re.findall(r"^    class (\w+)\(", part, re.M),
            *re.findall(r"^    (?!class )(\w+)\(", part, re.M),
            *(name for name in re.findall(r"^    (\w+) = ", part, re.M) if not name.startswith("_")),
        }
        for listed in re.findall(r"^    __all__ = \[(.*)$", part, re.M):
            names.update(re.findall(r"'([\w.]+)", listed))
        if names:
            found[part[1 : part.index("`", 1)]] = names
    return found


def check_all_there(rows: Sequence[Row], names: set[str], where: str) -> None:
    listed = [row.theirs for row in rows]
    assert len(set(listed)) == len(listed), f"{where}: a name is listed twice"
    missing = {name for name in names if name not in listed and not name.endswith("...")}
    cut = [name.removesuffix("...") for name in names if name.endswith("...")]
    missing.update(name for name in cut if not any(found.startswith(name) for found in listed))
    assert not missing, f"{where} has names that the table has not"
    more = {name for name in listed if name not in names and not any(name.startswith(start) for start in cut)}
    assert not more, f"{where} has no such names"


def test_every_name_of_the_installed_packages_is_listed() -> None:
    found = installed()
    assert len(found) > 25
    modules = {heading for heading in TABLES if not heading.startswith(("0.1 ", "Methods of "))}
    assert modules == found.keys()
    for module, names in found.items():
        check_all_there(TABLES[module], names, module)
    assert "expand_urls" in found["webdataset.shardlists"]


@pytest.mark.parametrize("name", [heading for heading in TABLES if heading.startswith("Methods of ")])
def test_every_method_of_their_pipelines_is_listed(name: str) -> None:
    check_all_there(TABLES[name], methods(name.removeprefix("Methods of ")), name)


@pytest.mark.needs("../shared")
def test_every_name_of_the_ancestor_is_listed() -> None:
    found = ancestor()
    assert {f"0.1 {module}" for module in found} == {heading for heading in TABLES if heading.startswith("0.1 ")}
    for module, names in found.items():
        check_all_there(TABLES[f"0.1 {module}"], names, module)


# ---- ours


def looked_up(dotted: str) -> Any:
    """What a dotted name of ours is."""
    parts = dotted.split(".")
    module, rest = parts[0], parts[1:]
    found: Any = import_module(module)
    for part in rest:
        module = f"{module}.{part}"
        found = getattr(found, part) if hasattr(found, part) else import_module(module)
    return found


@functools.cache
def commands() -> set[str]:
    """The words on the command line's page of help."""
    done = subprocess.run([sys.executable, "-m", "streamwds", "--help"], capture_output=True, text=True, check=True)
    return set(re.findall(r"\w+", done.stdout))


@pytest.mark.parametrize("heading", TABLES)
def test_what_is_ours_is_there(heading: str) -> None:
    for theirs, ours in TABLES[heading]:
        if ours.startswith("left out: "):
            assert len(ours) > len("left out: because"), f"{heading}: {theirs} is left out without a reason"
            continue
        if ours.startswith(PENDING):
            continue
        match = re.fullmatch(r"`([^`]+)`", ours)
        assert match is not None, f"{heading}: {theirs} is neither a name, nor code, nor left out: {ours!r}"
        if re.fullmatch(r"streamwds(\.\w+)+", match[1]):
            assert looked_up(match[1]) is not None
        elif command := re.fullmatch(r"streamwds (\w+)", match[1]):
            assert command[1] in commands()
        else:
            ast.parse(match[1], mode="eval")


def called(code: str) -> set[str]:
    """The names that are called in an idiom."""
    calls = (node.func for node in ast.walk(ast.parse(code, mode="eval")) if isinstance(node, ast.Call))
    return {function.id for function in calls if isinstance(function, ast.Name)}


def test_idioms_call_what_is_there() -> None:
    theirs_or_yours = {"DataLoader", "accumulate", "watched"}
    builtins: Mapping[str, Any] = vars(import_module("builtins"))
    for rows in TABLES.values():
        for row in rows:
            if (match := re.fullmatch(r"`([^`]+)`", row.ours)) and not match[1].startswith("streamwds"):
                unknown = called(match[1]) - set(streamwds.__all__) - theirs_or_yours - builtins.keys()
                assert not unknown, f"{row.theirs}: {match[1]}"
