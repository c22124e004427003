"""Looking at pipelines: describe, profile and progress; what they show, and that they change nothing."""

from __future__ import annotations

import io
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from streamwds import (
    TarWriter,
    batched,
    cache_samples,
    decode,
    everywhere,
    interleave,
    map,
    progress,
    repeat,
    shuffle,
    split_by_worker,
    stage,
    tarsamples,
    tee,
    to_tuple,
    urls,
)
from streamwds.errors import CacheError
from streamwds.tables import html_table, text_table
from streamwds.testing import check_resume, same_items


@pytest.fixture
def shards(tmp_path: Path) -> str:
    for shard in range(3):
        with TarWriter(tmp_path / f"{shard}.tar") as writer:
            for n in range(4):
                writer.write({"__key__": f"{shard}{n}", "txt": f"text {n}", "cls": n})
    return f"{tmp_path}/{{0..2}}.tar"


@stage(buffers=True)
def sorted_all(items: Any) -> Any:
    yield from sorted(items)


class Cells(HTMLParser):
    """The rows of a table, as lists of their cells' texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.inside: list[str] = []
        self.feed(text)
        self.close()
        assert not self.inside

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.inside.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.inside.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.inside and self.inside[-1] in ("td", "th"):
            self.rows[-1][-1] += data


# ---- tables


def test_tables_say_the_same_in_both_ways() -> None:
    rows = [("<b>&", "1"), ("x", "20")]
    assert text_table(("a", "b"), rows, right=[1]) == "a      b\n----  --\n<b>&   1\nx     20"
    assert Cells(html_table(("a", "b"), rows, right=[1])).rows == [["a", "b"], *[list(row) for row in rows]]


def test_bars_are_relative_to_the_longest() -> None:
    lines = text_table(("a",), [("x",), ("y",), ("z",)], bars=[2.0, 1.0, 0.0]).splitlines()
    assert [line.count("█") for line in lines] == [0, 0, 24, 12, 0]
    assert text_table(("a",), [("x",)], bars=[0.0]) == "a\n-\nx"
    assert html_table(("a",), [("x",), ("y",)], bars=[2.0, 1.0]).count("width: 100px") == 1


def test_a_row_of_a_text_is_one_line_and_not_endless() -> None:
    long = "0123456789" * 30
    lines = text_table(("a", "b"), [("x\n  y", "1"), (long, "2")]).splitlines()
    assert lines[2:] == [f"{'x y':100}  1", f"{long[:70]} … {long[-27:]}  2"]
    assert Cells(html_table(("a",), [(long,)])).rows[1] == [long]


# ---- describe


def test_describe_shows_stages_types_and_what_is_remembered(shards: str) -> None:
    stream = urls(shards) | split_by_worker | tarsamples | shuffle(100) | decode("rgb") | batched(2) | map(len)
    found = [(row.stage, row.gives, row.remembers) for row in stream.describe().rows]
    assert found == [
        (f"urls({shards!r})", "str", "how many it gave"),
        ("split_by_worker", "str", "passed"),
        ("tarsamples", "Sample", "offset"),
        ("shuffle(100)", "Sample", "block, given, mark"),
        ("decode('rgb')", "Sample", ""),
        ("batched(2)", "Batch", ""),
        ("map(len)", "", ""),
    ]


def test_describe_runs_nothing() -> None:
    text = str((["no such file.tar"] | tarsamples | sorted_all).describe())
    assert "resuming behind it is refused" in text
    assert text.splitlines()[2].split()[:6] == ["0", "['no", "such", "file.tar']", "str", "how"]


def test_in_a_notebook_a_stream_shows_its_description(shards: str) -> None:
    stream = urls(shards) | tarsamples | map(lambda sample: sample)
    assert "&lt;lambda" in stream._repr_html_()
    rows = Cells(stream._repr_html_()).rows
    assert rows[0] == ["", "stage", "gives", "remembers"]
    assert [row[1] for row in rows[1:]] == [row.stage for row in stream.describe().rows]


# ---- profile


def test_profile_counts_what_each_stage_gave(shards: str) -> None:
    stream = urls(shards) | split_by_worker | tarsamples | decode() | map(same) | batched(5)
    profile = stream.profile()
    assert [(row.stage, row.items) for row in profile.rows] == [
        (f"urls({shards!r})", 3),
        ("split_by_worker", 3),
        ("tarsamples", 12),
        ("decode()", 12),
        (repr(map(same)), 12),
        ("batched(5)", 3),
    ]
    assert profile.items == 3


def same(item: Any) -> Any:
    return item


def slow(item: Any) -> Any:
    time.sleep(0.005)
    return item


def test_profile_charges_the_stage_that_takes_the_time() -> None:
    profile = (range(20) | map(str) | map(slow) | batched(4)).profile(4)
    spent = [row.seconds for row in profile.rows]
    assert profile.items == 4
    assert spent[2] >= 16 * 0.005
    assert sum(spent) <= profile.seconds  # (nothing is counted twice)
    assert profile.slowest == profile.rows[2]
    assert "█" * 24 in str(profile).splitlines()[4]


def test_profile_of_stages_that_read_again(shards: str) -> None:
    stream = urls(shards) | tarsamples | repeat(2) | shuffle(5)
    assert [row.items for row in stream.profile().rows] == [6, 24, 24, 24]


def test_profile_counts_what_runs_in_threads_where_it_runs(shards: str) -> None:
    for stream in (urls(shards) | tarsamples(prefetch=2) | decode(threads=2), urls(shards) | interleave(tarsamples, 2)):
        profile = stream.profile()
        assert profile.items == profile.rows[-1].items == 12
        assert all(row.seconds >= 0 for row in profile.rows)


def test_profile_shows_as_one_what_runs_as_one(tmp_path: Path) -> None:
    from PIL import Image

    with TarWriter(tmp_path / "a.tar") as writer:
        for n in range(4):
            writer.write({"__key__": str(n), "jpg": Image.new("RGB", (8, 8))})
    for threads in (1, 2):
        decoding = decode("rgb", threads=threads) | to_tuple("jpg") | batched(2)
        stream = urls(tmp_path / "a.tar") | tarsamples | decoding
        assert [row.stage for row in stream.profile().rows][2:] == [repr(decoding)]


def test_profile_and_a_cache_behind_what_runs_as_one(tmp_path: Path) -> None:
    from PIL import Image

    with TarWriter(tmp_path / "a.tar") as writer:
        for n in range(4):
            writer.write({"__key__": str(n), "jpg": Image.new("RGB", (8, 8))})
    stream = urls(tmp_path / "a.tar") | tarsamples | decode("rgb") | batched(2)
    cached = stream | cache_samples(tmp_path / "a.db", 10)
    assert [row.items for row in cached.profile().rows] == [1, 4, 2, 2]
    assert same_items(list(cached), list(stream))  # (what the profile kept is what the stream keeps)
    assert cached.profile().items == 2
    with pytest.raises(CacheError, match=r"another pipeline \(urls \| tarsamples \| decode \| batched\)"):
        list(range(3) | cache_samples(tmp_path / "a.db", 10))


@pytest.mark.parametrize("n", [-1, 2.5])
def test_profile_wants_a_number_of_items(n: Any) -> None:
    with pytest.raises(ValueError, match="a number of items"):
        (range(3) | batched(2)).profile(n)


def test_profile_goes_on_from_a_position(shards: str) -> None:
    stream = urls(shards) | tarsamples
    (_, position), *_ = [pair for _, pair in zip(range(5), stream.tracked())][4:]
    assert stream.at(position).profile().items == 7


def test_profile_of_an_iterator_that_runs_once() -> None:
    assert (iter(range(5)) | batched(2)).profile().items == 3


def test_profile_of_an_endless_stream_wants_a_number() -> None:
    with pytest.raises(ValueError, match=r"never ends: say how many items to run, profile\(n\)"):
        (range(3) | repeat()).profile()
    assert (range(3) | repeat()).profile(7).items == 7


def test_profile_changes_nothing(shards: str, tmp_path: Path) -> None:
    stream = urls(shards) | tarsamples | tee(f"{tmp_path}/copy-%d.tar")
    assert stream.profile().items == 12
    assert list(urls(f"{tmp_path}/copy-0.tar") | tarsamples | to_tuple("cls")) == list(
        urls(shards) | tarsamples | to_tuple("cls")
    )


def test_profile_in_a_notebook() -> None:
    rows = Cells((range(4) | batched(2)).profile()._repr_html_()).rows
    assert [row[:2] for row in rows] == [["stage", "items"], ["range(0, 4)", "4"], ["batched(2)", "2"]]


def test_profile_of_nothing() -> None:
    profile = ([] | batched(2)).profile()
    assert [row.items for row in profile.rows] == [0, 0]
    assert "0 items" in str(profile)


# ---- progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_shows_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert list(range(7) | progress("train", total=7, unit="batches")) == list(range(7))
    last = terminal.getvalue().rstrip().split("\r")[-1]
    assert last.startswith("train: 100%|")
    assert "7/7" in last
    assert " batches/s" in last


def test_progress_is_quiet_elsewhere(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(range(7) | progress("train")) == list(range(7))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("who", [{"worker": 1, "workers": 2}, {"rank": 1, "world_size": 2}])
def test_progress_is_shown_by_the_first_worker_and_rank(who: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    stream = range(7) | everywhere | progress("train")
    assert list(stream.within(**who)) == list(range(7))
    assert terminal.getvalue() == ""
    first = {name: 0 if name in ("worker", "rank") else count for name, count in who.items()}
    assert list(stream.within(**first)) == list(range(7))
    assert "7items" in terminal.getvalue().replace(" ", "")


def test_progress_that_is_stopped_closes_its_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    for item in range(7) | progress("train"):
        if item == 3:
            break
    assert terminal.getvalue().endswith("\n")


def test_progress_resumes() -> None:
    check_resume(progress("train", total=3) | batched(2), range(7))


@pytest.mark.parametrize("make", [lambda: progress(total=-1), lambda: progress(total="3")])  # type: ignore[arg-type]
def test_progress_wants_a_number(make: Any) -> None:
    with pytest.raises(ValueError, match="a number of items"):
        make()


def test_a_label_is_a_text() -> None:
    with pytest.raises(TypeError, match=r"as total=…, not 1000"):
        progress(1000)  # type: ignore[arg-type]


def test_progress_does_not_change_positions() -> None:
    with_bar, without = range(7) | progress() | batched(2), range(7) | batched(2)
    (_, position) = next(with_bar.tracked())
    assert list(without.at(position)) == [[2, 3], [4, 5], [6]]
