"""Options as values: what functions are called, when two are the same, what can be pickled, what positions know."""

from __future__ import annotations

import copy
import dataclasses
import functools
import itertools
import json
import operator
import os
import pickle
import re
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest

import streamwds as wds
from streamwds import Stage, Stream, batched, select, shuffle, skip_at_most, stage, take, tarsamples, to_tuple
from streamwds.errors import CompositionError
from streamwds.values import FrozenMapping, fingerprint, freeze


class Plain:
    """A callable with the repr that every object has: an address."""

    def __call__(self, item: Any) -> Any:
        return item

    def method(self, item: Any) -> Any:
        return item

    @classmethod
    def of_class(cls, item: Any) -> Any:
        return item

    @staticmethod
    def of_none(item: Any) -> Any:
        return item


@dataclasses.dataclass
class Resize:
    """A callable that Python won't hash."""

    size: int

    def __call__(self, item: Any) -> Any:
        return (self.size, item)

    def method(self, item: Any) -> Any:
        return [self.size, item]


def identical(item: Any) -> Any:
    return item


def add(item: int, more: int) -> int:
    return item + more


def with_fields(item: Any, *, fields: Iterable[str]) -> Any:
    return (item, sorted(fields))


@functools.lru_cache
def cached(item: Any) -> Any:
    return item


@stage
def every(items: Iterable[Any], *, of: int = 2, names: Any = ()) -> Iterator[Any]:
    for item in items:
        if item % of == 0:
            yield item


def undecorated(items: Iterable[Any], *, more: int = 1) -> Iterator[Any]:
    for item in items:
        yield item + more


decorated_elsewhere = stage(undecorated)
pairs = stage(buffers=True)(undecorated)
wild: Any = lambda xs: iter(xs)  # noqa: E731


def named(*functions: Callable[..., Any]) -> list[Any]:
    return list(functions)


IMPORTABLE: list[tuple[Stage[Any, Any], str]] = [
    (wds.map(len), "map(len)"),
    (wds.map(str.upper), "map(str.upper)"),
    (wds.map(float), "map(float)"),
    (wds.map(np.float32), "map(numpy.float32)"),
    (wds.map(np.sqrt), "map(numpy.sqrt)"),
    (wds.map(identical), f"map({__name__}.identical)"),
    (wds.map(cached), f"map({__name__}.cached)"),
    (wds.map(Plain.of_class), f"map({__name__}.Plain.of_class)"),
    (wds.map(Plain.of_none), f"map({__name__}.Plain.of_none)"),
    (wds.map(Plain), f"map({__name__}.Plain)"),  # type: ignore[arg-type]
    (wds.map(Path), f"map({Path.__module__}.Path)"),
    (wds.map(functools.partial(add, more=1)), f"map(functools.partial({__name__}.add, more=1))"),
    (
        wds.map(functools.partial(functools.partial(add), more=1)),
        f"map(functools.partial({__name__}.add, more=1))",
    ),
    (
        wds.map(functools.partial(with_fields, fields=["b", "a"])),
        f"map(functools.partial({__name__}.with_fields, fields=['b', 'a']))",
    ),
    (wds.map(operator.itemgetter("a", 1)), "map(operator.itemgetter('a', 1))"),
    (wds.map(operator.attrgetter("a.b")), "map(operator.attrgetter('a.b'))"),
    (wds.map(operator.methodcaller("split", ",", maxsplit=1)), "map(operator.methodcaller('split', ',', maxsplit=1))"),
    (select(bool, handler=skip_at_most(0.5)), "select(bool, handler=skip_at_most(0.5))"),
    (to_tuple("a", "b;c"), "to_tuple('a', 'b;c')"),
    (tarsamples(eof="lenient"), "tarsamples(eof='lenient')"),
    (batched(2, collate=list, partial=False), "batched(2, collate=list, partial=False)"),
    (every, f"{__name__}.every"),
    (every(of=3), f"{__name__}.every(of=3)"),
    (every(names=["a"]), f"{__name__}.every(names=('a',))"),
    (every(names={"b": {1}, "a": None}), f"{__name__}.every(names={{'a': None, 'b': {{1}}}})"),
    (decorated_elsewhere, f"stage({__name__}.undecorated)"),
    (decorated_elsewhere(more=2), f"stage({__name__}.undecorated)(more=2)"),
    (pairs, f"stage({__name__}.undecorated, buffers=True)"),
]

NAMES: dict[str, Any] = {
    **{name: getattr(wds, name) for name in wds.__all__},
    **{module.__name__: module for module in (functools, operator, np)},
    "_operator": operator,
}
for _name in {__name__, Path.__module__}:
    root, _, rest = _name.partition(".")
    NAMES[root] = __import__(root)


@pytest.mark.parametrize(("made", "code"), IMPORTABLE, ids=[code for _, code in IMPORTABLE])
def test_functions_that_can_be_imported_make_values(made: Stage[Any, Any], code: str) -> None:
    assert repr(made) == code
    for same in (eval(code, dict(NAMES)), pickle.loads(pickle.dumps(made)), copy.copy(made), copy.deepcopy(made)):
        assert same == made
        assert hash(same) == hash(made)
        assert repr(same) == code


def test_different_options_make_different_stages() -> None:
    for (a, _), (b, _) in itertools.combinations(IMPORTABLE, 2):
        assert a != b or repr(a) == repr(b)
    assert stage(undecorated) != stage(undecorated, buffers=True)  # type: ignore[call-overload]


# ---- functions without a name


def test_lambdas_and_closures_show_where_they_stand() -> None:
    def closure(item: Any) -> Any:
        return item

    line = closure.__code__.co_firstlineno
    assert repr(wds.map(closure)) == (
        f"map(<test_lambdas_and_closures_show_where_they_stand.<locals>.closure at test_values.py:{line}>)"
    )
    assert re.search(r"map\(<.*<lambda> at test_values\.py:\d+>\)", repr(wds.map(lambda item: item)))
    assert re.search(
        r"partial\(<.*<lambda> at test_values\.py:\d+>, 1\)", repr(select(functools.partial(lambda a, b: a, 1)))
    )
    assert wds.map(closure) == wds.map(closure) != wds.map(lambda item: item)
    assert hash(wds.map(closure)) == hash(wds.map(closure))


def local_class() -> Any:
    class Local:
        def __call__(self, item: Any) -> Any:
            return item

        def method(self, item: Any) -> Any:
            return item

    return Local()


def local_stage() -> Stage[Any, Any]:
    @stage
    def mine(items: Iterable[Any]) -> Iterator[Any]:
        yield from items

    return mine


NOT_PICKLED: list[tuple[Stage[Any, Any], str]] = [
    (wds.map(lambda item: item), r"map: <<lambda> at test_values\.py:\d+> can't be pickled"),
    (select(lambda item: item), r"select: <<lambda> at test_values\.py:\d+>"),
    (batched(2, collate=lambda items: items), r"batched: <<lambda> at"),
    (wds.map(identical, handler=lambda error: True), r"map: <<lambda> at"),
    (wds.map(functools.partial(lambda a, b: a, 1)), r"map: <<lambda> at"),
    (wds.map(functools.partial(functools.partial, lambda a: a)), r"map: <<lambda> at"),
    (wds.map(local_class()), r"map: .*local_class\.<locals>\.Local"),
    (wds.map(local_class().method), r"map: .*local_class\.<locals>\.Local"),
    (wds.map(type(local_class())), r"map: .*local_class\.<locals>\.Local"),
    (every(names=[1, (lambda item: item,)]), r"every: <<lambda> at"),
    (every(names={"a": lambda item: item}), r"every: <<lambda> at"),
    (local_stage(), r"mine: <local_stage\.<locals>\.mine at test_values\.py:\d+>"),
    (stage(wild), r"<lambda>: <<lambda> at test_values\.py:\d+>"),
    (stage(Plain().method), r"method: <.*Plain object at .*>\.method can't be pickled"),
]


@pytest.mark.parametrize(("made", "message"), NOT_PICKLED)
def test_what_cannot_be_pickled_is_named(made: Stage[Any, Any], message: str) -> None:
    for thing in (made, take(2) | made, range(3) | made):
        with pytest.raises(pickle.PicklingError, match=message) as caught:
            pickle.dumps(thing)
        assert "it has no name that another process could import; define it at the top of a module" in str(caught.value)


# ---- methods and callable objects


def test_methods_are_as_good_as_their_object() -> None:
    one, other = Plain(), Plain()
    assert wds.map(one.method) == wds.map(one.method) != wds.map(other.method)
    assert wds.map(one) == wds.map(one) != wds.map(other)
    assert wds.map(Resize(2)) == wds.map(Resize(2)) != wds.map(Resize(3))
    assert wds.map(Resize(2).method) == wds.map(Resize(2).method) != wds.map(Resize(3).method)
    assert hash(wds.map(Resize(2))) == hash(wds.map(Resize(2)))
    assert hash(wds.map(Resize(2).method)) == hash(wds.map(Resize(2).method))
    assert len({wds.map(Resize(2)), wds.map(Resize(3)), wds.map(Resize(2))}) == 2
    assert repr(wds.map(Resize(2).method)) == "map(Resize(size=2).method)"
    assert repr(wds.map({"a": 1}.get)) == "map({'a': 1}.get)"
    assert repr(wds.map(", ".join)) == "map(', '.join)"
    assert repr(select(re.compile("a").match)) == "select(re.compile('a').match)"
    for made in (wds.map(Resize(2)), wds.map(Resize(2).method)):
        assert pickle.loads(pickle.dumps(made)) == made
    assert list(["a"] | wds.map(Resize(2)) | wds.map(Resize(3).method)) == [[3, (2, "a")]]


# ---- options are brought into one form


def test_options_are_frozen() -> None:
    names = ["b", {"k": [1, 2]}]
    made = every(names=names)
    names.append("later")
    assert made == every(names=("b", {"k": (1, 2)})) != every(names=names)
    assert every(names={"b": 1, "a": 2}) == every(names={"a": 2, "b": 1})
    assert every(names={1, 2}) == every(names=frozenset({2, 1}))
    assert freeze({"a": [{1}]}) == FrozenMapping(a=(frozenset({1}),))
    Pair = namedtuple("Pair", "a b")
    assert freeze(Pair(1, 2)) == Pair(1, 2)
    with pytest.raises(AttributeError, match="can't be changed"):
        freeze({"a": 1})._items = {}
    assert FrozenMapping(a=1) != FrozenMapping(a=2)
    assert FrozenMapping(a=1) != 3
    assert hash(FrozenMapping(a=[1])) == hash(FrozenMapping(a=(1,)))
    mixed = freeze({2: "two", "a": 1, None: 0, 1: "one"})
    assert mixed == freeze({None: 0, 1: "one", "a": 1, 2: "two"})
    assert repr(mixed) == "{'a': 1, 1: 'one', 2: 'two', None: 0}"


def test_numbers_of_numpy_are_numbers() -> None:
    assert take(np.int64(3)) == take(3)
    assert repr(shuffle(np.int32(3), seed=np.uint8(7))) == "shuffle(3, seed=7)"
    assert batched(3, partial=np.True_) == batched(3)  # type: ignore[call-overload]
    assert every(of=np.float32(0.5)) == every(of=0.5)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "build",
    [
        lambda array: every(names=array),
        lambda array: every(names=[1, {"a": array}]),
        lambda array: wds.map(functools.partial(add, more=array)),
        lambda array: wds.map(functools.partial(add, array)),
        lambda array: take(array),
        lambda array: shuffle(3, seed=array),
    ],
)
def test_arrays_are_refused(build: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=r"an array can't be an option of a stage \(ndarray of shape \(3,\)\)"):
        build(np.zeros(3))


def test_stages_and_streams_are_frozen() -> None:
    stream: Any = (range(3) | take(2)).within(epoch=1)
    for thing, name in ((take(3), "steps"), (take(3).steps[0], "n"), (every, "steps"), (stream, "steps")):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(thing, name, ())
    with pytest.raises(TypeError):
        stream.fixed["epoch"] = 2


# ---- in positions


def head(stream: Stream[Any]) -> Any:
    return next(stream.tracked())[1][0]


def stages_of(*made: Stage[Any, Any]) -> list[Any]:
    return [head(range(3) | one)["stages"] for one in made]


def test_positions_know_functions_by_name_only() -> None:
    """Not by their address, nor by the line where they stand: the same script, edited or run again, can resume."""
    assert fingerprint(Plain()) == fingerprint(Plain()) != fingerprint(identical)
    assert fingerprint(Plain().method) == fingerprint(Plain().method) != fingerprint(Plain())
    assert fingerprint(lambda item: item) == fingerprint(lambda item: (item, item))
    assert fingerprint(functools.partial(Plain(), 1)) == fingerprint(functools.partial(Plain(), 1))
    assert fingerprint({"a": 1}.get) == fingerprint({"a": 1}.get)
    assert fingerprint(("at 0x12", " at 0x12>")) != fingerprint(("at 0x13", "at 0x12"))
    first, second = stages_of(wds.map(Plain()), wds.map(Plain()))
    assert first == second


def test_positions_know_options_that_decide_and_no_others() -> None:
    a, b, c, d = stages_of(shuffle(2), shuffle(3), shuffle(2, initial=1), shuffle(2, seed=1))
    assert len({str(found) for found in (a, b, c, d)}) == 4
    plain, handled, other = stages_of(select(float), select(float, handler=wds.ignore_and_stop), select(str))
    assert plain == handled != other
    assert len({str(found) for found in stages_of(every, every(of=3), every(names="a"))}) == 3


SCRIPT = """
import json, multiprocessing, pickle, sys
from collections.abc import Iterable, Iterator
from streamwds import *

class Augment:
    def __call__(self, item): return item

def keep(item): return item % 3

@stage
def mine(items: Iterable[int], *, more: int = 0) -> Iterator[int]:
    for item in items:
        yield item + more

stream = range(40) | select(keep) | map(Augment()) | map(Augment().__call__) | mine(more=1) | shuffle(5) | batched(2)

def account(stream):
    return [repr(stream), list(stream), [position for _, position in stream.tracked()]]

def resumed(stream, position):
    return list(stream.at(position))

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        theirs = pool.apply(account, [stream])
        ours = account(stream)
        position = theirs[2][3]
        rest = pool.apply(resumed, [stream, ours[2][3]])
    same = [ours[1:] == theirs[1:], list(stream.at(position)) == ours[1][4:] == rest]
    print(json.dumps([same, "__mp_main__" in theirs[0].replace("<__mp_main__.Augment", "")]))
"""


def test_positions_of_a_script_hold_in_the_processes_that_it_spawns(tmp_path: Path) -> None:
    """(There its functions are those of `__mp_main__`.)"""
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(wds.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    assert json.loads(done.stdout) == [[True, True], False]


def run(stream: Stream[Any]) -> tuple[str, list[Any]]:
    return repr(stream), list(stream)


def test_stages_pickle_under_spawn() -> None:
    streams = [
        range(9) | every(of=3) | wds.map(functools.partial(add, more=1)) | shuffle(2, seed=5) | batched(2),
        range(9) | decorated_elsewhere(more=2) | wds.map(Resize(3)) | wds.map(operator.itemgetter(1)),
        (["a.tar", "b.tar"] | wds.split_by_worker).within(worker=1, workers=2),
    ]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(run, streams)) == [run(stream) for stream in streams]


# ---- what @stage takes


def test_what_is_no_function_is_no_stage() -> None:
    for wrong in (functools.partial(undecorated), take(2), take, 3, list, Plain(), "undecorated"):
        with pytest.raises(CompositionError, match=r"@stage takes a function \(def\) Iterable -> Iterator, not "):
            stage(wrong)  # type: ignore[arg-type]


def test_a_stage_has_the_name_and_words_of_its_function() -> None:
    untyped: Any = every
    assert (untyped.__name__, untyped.__qualname__, untyped.__module__) == ("every", "every", __name__)
    assert list(untyped.__wrapped__(range(5), of=4)) == [0, 4]
    with pytest.raises(TypeError, match="'off'"):
        untyped(off=3)
    with pytest.raises(CompositionError, match="every takes data or options, not both"):
        untyped(range(3), of=3)
