"""What a strict project of a newcomer sees of our types: mypy and pyright agree on every line, right or wrong.

typing/ok.py and typing/bad.py are written by hand. Beside them stand generated files: every left of a `|` against every
right, and random pipelines in random brackets; in several orders, because mypy's caches once made its verdict on a line
depend on the lines before it. `STREAMWDS_PROFILE=deep` takes more of them.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pytest

from streamwds import Batch, Stage, batched, shuffle, take, tarsamples, unbatched
from streamwds.stage import Batching, Same, Unbatching

HERE = Path(__file__).parent
ROOT = HERE.parent
DEEP = os.environ.get("STREAMWDS_PROFILE") == "deep"

Found: TypeAlias = "dict[tuple[str, int], list[str]]"  # (file, line) -> what a checker says there


class Line(NamedTuple):
    text: str
    fits: bool


# ---- the checkers


def run(*command: str, folder: Path) -> str:
    # the package is found where installed packages are, so a checker takes of it what its annotations say
    env = {**os.environ, "PYTHONPATH": str(ROOT), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run([sys.executable, "-m", *command], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


def mypy(folder: Path, cache: Path) -> Found:
    found: Found = defaultdict(list)
    (folder / "mypy.ini").write_text("[mypy]\nstrict = true\npython_version = 3.10\nwarn_unreachable = true\n")
    for line in run("mypy", f"--cache-dir={cache}", "--output=json", ".", folder=folder).splitlines():
        said = json.loads(line)
        if said["severity"] == "error":
            found[said["file"], said["line"]].append(f"{said['message']} [{said['code']}]")
    return found


def pyright(folder: Path, cache: Path) -> Found:
    found: Found = defaultdict(list)
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.10", "enableTypeIgnoreComments": False}
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    said = json.loads(run("pyright", "--outputjson", "--pythonpath", sys.executable, folder=folder))
    for one in said["generalDiagnostics"]:
        place = Path(one["file"]).name, one["range"]["start"]["line"] + 1
        found[place].append(f"{one['message']} ({one.get('rule')})")
    return found


def refused(said: list[str]) -> bool:
    """Whether a line is an error in itself: that a type is unknown only follows from one."""
    return any("(reportUnknown" not in one for one in said)


# ---- the lines


def by_hand(name: str) -> list[Line]:
    """The lines of a file; those in a function `wrong` are wrong."""
    lines: list[Line] = []
    wrong = False
    for text in (HERE / "typing" / name).read_text().splitlines():
        lines.append(Line(text, not wrong or not text or text.lstrip().startswith("#")))
        wrong = wrong or text.startswith("def wrong(")
    return lines


HEAD = """
from __future__ import annotations
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar
from typing_extensions import assert_type
from streamwds import Batch, Member, Sample, Shard, Stage, Stream
from streamwds import batched, decode, group_by_keys, identity, map, open_shards, select, shuffle, split_by_worker
from streamwds import stage, take, tarfiles, tarsamples, to_tuple, unbatched, urls
T = TypeVar("T")
def size(s: Sample) -> int: return 0
def untyped(x: int) -> Any: return x
def width(b: Batch) -> int: return 0
def stack(s: list[Sample]) -> int: return 0
def ints(xs: Iterable[int]) -> list[int]: return []
def any_of_ints(xs: Iterable[int]) -> Any: return 0
def keys(xs: Iterable[Sample]) -> list[str]: return []
class Ints:
    def __call__(self, xs: Iterable[int], /) -> list[Any]: return []
class AnyOfInts:
    def __call__(self, xs: Iterable[int], /) -> Any: return 0
class Numbered(Stage[Any, tuple[int, Any]]):
    def __call__(self, xs: Iterable[T], /) -> Stream[tuple[int, T]]: return super().__call__(xs)
    def __ror__(self, xs: Iterable[T], /) -> Stream[tuple[int, T]]: return super().__ror__(xs)
@stage
def evens(xs: Iterable[int], *, of: int = 2) -> Iterator[int]: return iter(xs)
str_int: Stage[str, int] = Stage(())
str_str: Stage[str, str] = Stage(())
str_strs: Stage[str, list[str]] = Stage(())
str_any: Stage[str, Any] = Stage(())
int_int: Stage[int, int] = Stage(())
int_any: Stage[int, Any] = Stage(())
any_any: Stage[Any, Any] = Stage(())
anys: list[Any] = []
samples: list[Sample] = []
def lines() -> None:
""".strip()

# code -> the item that comes out of it
STREAMS = {
    "urls('a')": "str",
    "(urls('a') | split_by_worker)": "str",
    "(urls('a') | open_shards)": "Shard",
    "(urls('a') | open_shards | tarfiles)": "Member",
    "(urls('a') | tarsamples)": "Sample",
    "(urls('a') | tarsamples | batched(2))": "Batch",
    "(urls('a') | tarsamples | to_tuple('jpg'))": "tuple",
    "(urls('a') | batched(2))": "list",
    "(urls('a') | map(len))": "int",
    "(urls('a') | map(lambda u: len(u)))": "int",
    "(anys | identity)": "Any",
}
STAGES = {
    "str_str": "str",
    "str_int": "int",
    "str_strs": "list",
    "str_any": "Any",
    "open_shards": "Shard",
    "(open_shards | tarfiles)": "Member",
    "tarsamples": "Sample",
    "tarsamples(eof='lenient')": "Sample",
    "(tarsamples | shuffle(2))": "Sample",
    "(tarsamples | (batched(2) | unbatched))": "Sample",
    "(tarsamples | to_tuple('jpg'))": "tuple",
    "(tarsamples | batched(2))": "Batch",
    "(str_str | batched(2))": "list",
    "(split_by_worker | str_str)": "str",
    "(shuffle(2) | str_int)": "int",
}
ITERABLES = {"'a'": "str", "['a']": "str", "[1]": "int", "[['a']]": "list", "samples": "Sample", "anys": "Any"}

# code -> the items that it takes
ALL = {"str", "Shard", "Member", "Sample", "Batch", "tuple", "list", "int"}
BATCHES = {"Batch", "tuple", "list"}
RIGHTS = {
    "str_str": {"str"},
    "str_any": {"str"},
    "int_int": {"int"},
    "int_any": {"int"},
    "any_any": ALL,
    "tarsamples": {"str"},
    "tarsamples(handler=lambda error: False)": {"str"},
    "open_shards": {"str"},
    "tarfiles": {"Shard"},
    "group_by_keys": {"Member"},
    "decode('rgb')": {"Sample"},
    "to_tuple('jpg')": {"Sample"},
    "evens": {"int"},
    "evens(of=3)": {"int"},
    "map(size)": {"Sample"},
    "map(untyped)": {"int"},
    "map(width)": {"Batch"},
    "map(len)": ALL - {"int", "Shard", "Member"},
    "map(str)": ALL,
    "map(lambda x: [x])": ALL,
    "select(lambda x: True)": ALL,
    "shuffle(2)": ALL,
    "identity": ALL,
    "Numbered()": ALL,
    "batched(2)": ALL,
    "batched(2, collate=stack)": {"Sample"},
    "batched(2, collate=lambda xs: xs[0])": ALL,
    "unbatched": BATCHES,
    "(shuffle(2) | decode('rgb'))": {"Sample"},
    "(shuffle(2) | int_any)": {"int"},
    "(shuffle(2) | tarsamples)": {"str"},
    "(shuffle(2) | unbatched)": BATCHES,
    "(shuffle(2) | batched(2))": ALL,
    "(shuffle(2) | map(untyped))": {"int"},
    "(batched(2) | shuffle(2))": ALL,
    "(batched(2) | unbatched)": ALL,
    "(batched(2) | map(len))": ALL,
    "(unbatched | take(2))": BATCHES,
    "(decode() | to_tuple('jpg'))": {"Sample"},
    "(decode() | shuffle(2) | map(size))": {"Sample"},
    "(decode() | batched(2))": {"Sample"},
    "(int_int | int_any)": {"int"},
    "(open_shards | tarfiles)": {"str"},
}
FUNCTIONS = {
    "ints": {"int"},
    "any_of_ints": {"int"},
    "keys": {"Sample"},
    "Ints()": {"int"},
    "AnyOfInts()": {"int"},
    "''.join": {"str"},
}


def pairs() -> Iterator[Line]:
    """Every left with every right."""
    for left, gives in {**STREAMS, **STAGES, **ITERABLES}.items():
        for right, takes in RIGHTS.items():
            yield Line(f"_ = {left} | {right}", gives == "Any" or gives in takes)
        for right, takes in FUNCTIONS.items():
            yield Line(f"_ = {left} | {right}", left in STREAMS and (gives == "Any" or gives in takes))


# item -> what may come next, and the item that it gives
NEXT = {
    "str": {"tarsamples": "Sample", "open_shards": "Shard", "batched(2)": "list[str]", "map(len)": "int"},
    "Shard": {"tarfiles": "Member"},
    "Member": {"group_by_keys": "Sample"},
    "Sample": {
        "decode('rgb')": "Sample",
        "to_tuple('jpg', 'cls')": "tuple[Any, ...]",
        "batched(2)": "Batch",
        "map(size)": "int",
        "map(lambda s: s['txt'])": "Any",
    },
    "Batch": {"unbatched": "Sample", "map(width)": "int"},
    "tuple[Any, ...]": {"batched(2)": "tuple[Any, ...]", "unbatched": "tuple[Any, ...]", "map(str)": "str"},
    "int": {"evens": "int", "batched(2)": "list[int]", "map(str)": "str", "map(float)": "float"},
    "float": {"map(int)": "int", "batched(2)": "list[float]"},
    "list[str]": {"unbatched": "str", "map(len)": "int"},
    "list[int]": {"unbatched": "int", "map(len)": "int"},
    "list[float]": {"unbatched": "float", "map(len)": "int"},
    "Any": {"batched(2)": "Any", "map(len)": "int", "decode()": "Sample"},
}
SAME = ("shuffle(2)", "take(2)", "select(lambda x: True)", "split_by_worker")


def brackets(draw: random.Random, stages: list[str]) -> str:
    """The stages joined, in random brackets."""
    if len(stages) == 1:
        return stages[0]
    cut = draw.randrange(1, len(stages))
    left, right = brackets(draw, stages[:cut]), brackets(draw, stages[cut:])
    return f"{left} | ({right})" if cut < len(stages) - 1 else f"{left} | {right}"


def pipelines(draw: random.Random, count: int) -> Iterator[Line]:
    """Random pipelines that fit, bound and not, in random brackets, with the type that comes out."""
    for _ in range(count):
        item, stages = "str", list[str]()
        for _ in range(draw.randrange(1, 8)):
            following = {**NEXT[item], **dict.fromkeys(SAME, item)}
            stages.append(draw.choice(sorted(following)))
            item = following[stages[-1]]
        in_a_row = " | ".join(stages)
        yield Line(f"assert_type(urls('a') | {in_a_row}, Stream[{item}])", True)
        if len(stages) > 1 and stages[0] in ("tarsamples", "open_shards"):
            yield Line(f"assert_type({in_a_row}, Stage[str, {item}])", True)
        # (a join that begins with an open kind may forget what comes out, so here no more is asked than that it fits)
        yield Line("_ = " + brackets(draw, ["urls('a')", *stages]), True)


def generated(seed: int) -> list[Line]:
    draw = random.Random(seed)
    lines = [*pairs(), *pipelines(draw, 300)]
    draw.shuffle(lines)
    head = [Line(text, True) for text in HEAD.splitlines()]
    return head + [Line(f"    {text}", fits) for text, fits in (lines if DEEP else lines[:400])]


@pytest.mark.parametrize("checker", [mypy, pyright])
def test_the_checkers_verdicts(
    checker: Callable[[Path, Path], Found], tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    orders = 2 if not DEEP or checker is pyright else 6
    files = {name: by_hand(name) for name in ("ok.py", "bad.py")}
    files |= {f"generated_{seed}.py": generated(seed) for seed in range(orders)}
    for name, lines in files.items():
        (tmp_path / name).write_text("".join(f"{line.text}\n" for line in lines))
    assert pytestconfig.cache is not None
    found = checker(tmp_path, pytestconfig.cache.mkdir("mypy"))

    wrong: list[str] = []
    for name, lines in files.items():
        for number, line in enumerate(lines, 1):
            said = found.pop((name, number), [])
            if line.fits and said:
                wrong.append(f"refuses {name}:{number}: {line.text.strip()}\n    {said}")
            elif not line.fits and not refused(said):
                wrong.append(f"accepts {name}:{number}: {line.text.strip()}")
    assert not wrong, f"{len(wrong)} lines\n" + "\n".join(wrong[:50])
    assert not found or all(name not in files for name, _ in found), found


@pytest.mark.parametrize(
    ("join", "kind"),
    [
        (shuffle(3) | take(2), Same),
        (shuffle(3) | batched(2), Batching),
        (shuffle(3) | unbatched, Unbatching),
        (batched(2) | shuffle(3), Batching),
        (batched(2) | unbatched, Same),
        (batched(2) | batched(2), Stage),
        (unbatched | shuffle(3), Unbatching),
        (unbatched | batched(2), Stage),
        (tarsamples | shuffle(3), Stage),
    ],
    ids=repr,
)
def test_joins_are_of_the_kind_that_their_types_say(join: Stage[Any, Any], kind: type[Stage[Any, Any]]) -> None:
    assert type(join) is kind


def test_a_batch_is_a_batch() -> None:
    (batch,) = [{"__key__": "a", "cls": 1}] | batched(2)
    assert type(batch) is Batch
    assert isinstance(batch, dict)
