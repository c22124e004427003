"""The stage decode: which decoder decodes what, in which order; its options as values; its errors."""

from __future__ import annotations

import gzip
import pickle
import re
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toolz import pipe
from webdataset import autodecode

import streamwds
from streamwds import (
    Context,
    Continue,
    Sample,
    TarWriter,
    batched,
    by_table,
    decode,
    decompress,
    handle_extension,
    ignore_and_continue,
    iterators,
    map,
    numpy_audio,
    numpy_video,
    shuffle,
    shuffle_shards,
    split_by_node,
    split_by_worker,
    tarsamples,
    torch_audio,
    torch_video,
    unbatched,
    urls,
)
from streamwds.codecs.images import encode_image
from streamwds.errors import DecodeError, FunctionError, MissingFieldError, SkippedWarning, UntrustedDataError
from streamwds.stages.chance import sample_generator
from streamwds.stages.decoding import Decode
from streamwds.testing import check_resume

PNG = encode_image(np.full((2, 3, 3), 77, np.uint8), "png")


def decoded(sample: dict[str, Any], *decoders: Any, **options: Any) -> dict[str, Any]:
    (result,) = [sample] | decode(*decoders, **options) | list
    return result


def lower(key: str, data: bytes) -> Any:
    return data.lower() if key.endswith(".up") else None


def shout(data: bytes) -> bytes:
    return data.upper()


def everything(key: str, data: bytes) -> Any:
    return (key, data)


# ---- which decoder


def test_dicts_and_handle_extension_are_the_same() -> None:
    sample = {"xml": b"a", "b.xml": b"a", "seg.png": b"a", "axml": b"a", "png": PNG}
    expected = {**sample, "xml": b"A", "b.xml": b"A", "seg.png": b"A"}
    assert decoded(sample, {"xml": shout, "seg.png": shout}) == expected
    assert decoded(sample, handle_extension("xml  seg.png", shout)) == expected
    assert decode(handle_extension("xml seg.png", shout)) == decode({"seg.png": shout, "xml": shout})
    assert decoded(sample, {".XML": shout})["xml"] == b"A"


@pytest.mark.parametrize("extensions", ["", "  ", ["png"], None])
def test_handle_extension_takes_extensions(extensions: Any) -> None:
    with pytest.raises(ValueError, match="extensions are separated by spaces"):
        handle_extension(extensions, shout)


@pytest.mark.parametrize("user_first", [True, False])
def test_the_longest_extension_wins_whatever_the_order(user_first: bool) -> None:
    own = {"seg.png": len, "left.seg.png": shout}
    decoders: tuple[Any, ...] = (own, "rgb8") if user_first else ("rgb8", own)
    sample = decoded({"png": PNG, "seg.png": PNG, "left.seg.png": b"a", "aseg.png": PNG}, *decoders)
    assert sample["seg.png"] == len(PNG)
    assert sample["left.seg.png"] == b"A"
    assert sample["png"].shape == sample["aseg.png"].shape == (2, 3, 3)


def test_of_equals_the_first_and_the_users_before_the_table() -> None:
    assert decoded({"txt": b"a"}, {"txt": shout}, {"txt": len}) == {"txt": b"A"}
    assert decoded({"txt": b"a"}, {"txt": len}, {"txt": shout}) == {"txt": 1}
    assert decoded({"png": b"a"}, {"png": len}, "rgb") == {"png": 1}
    assert decoded({"gz": b"a", "txt.gz": b"a"}, {"gz": len}) == {"gz": 1, "txt.gz": 1}
    assert decoded({"txt.gz": gzip.compress(b"a")}, {"txt": shout}) == {"txt.gz": b"A"}


def test_functions_are_asked_in_their_place() -> None:
    sample = {"up": b"A", "cls": b"7", "a.up": b"B", "?": b"C"}
    assert decoded(sample, lower) == {"up": b"a", "cls": 7, "a.up": b"b", "?": b"C"}
    assert decoded(sample, lower, everything)["?"] == (".?", b"C")
    assert decoded(sample, {"up": shout}, everything) == {
        "up": b"A",
        "cls": (".cls", b"7"),
        "a.up": b"B",
        "?": (".?", b"C"),
    }
    assert decoded(sample, everything, {"up": shout})["up"] == (".up", b"A")
    assert decoded({"png": PNG}, "rgb8", everything)["png"].shape == (2, 3, 3)


def test_a_function_of_an_extension_has_the_last_word() -> None:
    assert decoded({"txt": b"a"}, {"txt": lambda data: None}) == {"txt": None}
    assert decoded({"txt": b"a"}, lambda key, data: None) == {"txt": "a"}


def test_names_are_compared_in_lower_case() -> None:
    assert decoded({"A.TXT": b"a", "SEG.Png": b"a"}, {"seg.png": len}) == {"A.TXT": "a", "SEG.Png": 1}


def test_webdatasets_own_handlers_work_here() -> None:
    sample = decoded({"png": PNG, "x": b"a"}, autodecode.imagehandler("rgb8"), autodecode.handle_extension("x", len))
    assert sample["png"].shape == (2, 3, 3)
    assert sample["x"] == 1


# ---- Continue


def unwrapped(key: str, data: bytes) -> Continue | None:
    return Continue(key.removesuffix(".rev"), data[::-1]) if key.endswith(".rev") else None


def test_a_wrapper_is_taken_off_and_decoding_goes_on() -> None:
    sample = {"cls.rev": b"21", "a.seg.rev": b"ba", "rev": b"ba", "png.rev": PNG[::-1], "?.rev": b"ba"}
    found = decoded(sample, unwrapped, "rgb8", {"seg": shout})
    assert found.pop("png.rev").shape == (2, 3, 3)
    assert found == {"cls.rev": 12, "a.seg.rev": b"AB", "rev": b"ab", "?.rev": b"ab"}


def test_those_after_it_go_on() -> None:
    assert decoded({"cls.rev": b"21"}, {"cls": shout}, unwrapped) == {"cls.rev": 12}
    assert decoded({"cls.rev.rev": b"21"}, unwrapped) == {"cls.rev.rev": b"12"}
    assert decoded({"cls.rev.rev": b"21"}, unwrapped, unwrapped) == {"cls.rev.rev": 21}
    assert decoded({"txt.gz.rev": gzip.compress(b"a")[::-1]}, pre=[unwrapped, decompress]) == {"txt.gz.rev": "a"}


def test_functions_of_an_extension_may_continue_too() -> None:
    assert decoded({"cls.rev": b"21"}, {"rev": lambda data: Continue("cls", data[::-1])}) == {"cls.rev": 12}
    assert decoded({"seg": b"21"}, {"seg": lambda data: Continue(".Cls", data)}) == {"seg": 21}


def test_any_key_can_be_continued_with() -> None:
    for n in range(5000):  # (more than are remembered)
        assert decoded({"a": b"7"}, lambda key, data, n=n: Continue(f"k{n}.cls", data)) == {"a": 7}


# ---- pre, post, only, partial


def test_pre_and_post_replace_the_usual() -> None:
    packed = gzip.compress(b"7")
    sample = {"cls.gz": packed, "cls": b"7"}
    assert decoded(sample) == {"cls.gz": 7, "cls": 7}
    assert decoded(sample, pre=[]) == {"cls.gz": packed, "cls": 7}
    assert decoded(sample, post=[]) == {"cls.gz": b"7", "cls": b"7"}
    assert decoded(sample, pre=[everything]) == {"cls.gz": (".cls.gz", packed), "cls": (".cls", b"7")}
    assert decoded(sample, post=[everything]) == {"cls.gz": (".cls", b"7"), "cls": (".cls", b"7")}
    assert decoded(sample, post=[by_table, everything]) == decoded(sample)
    assert decoded({"png": PNG, "cls": b"7"}, post=["rgb8"])["cls"] == b"7"


@pytest.mark.parametrize("only", [{"cls", "a.txt"}, ["cls", "a.txt"], "cls a.txt", ("a.txt", "cls")])
def test_only_names_whole_fields(only: Any) -> None:
    sample = {"cls": b"7", "txt": b"a", "a.txt": b"a", "b.cls": b"7", "pkl": b"."}
    assert decoded(sample, only=only) == {**sample, "cls": 7, "a.txt": "a"}
    assert decode(only=only) == decode(only={"cls", "a.txt"})


def test_only_may_be_empty() -> None:
    assert decoded({"cls": b"7"}, only=()) == {"cls": b"7"}


def test_values_that_are_no_bytes() -> None:
    sample = {"cls": 7, "txt": "a", "xyz": None, "__key__": "k", "_x": 3}
    assert decoded(sample) == decoded(sample, partial=True) == sample
    assert decoded({"xyz": None, "__key__": "k", "_x.cls": 3}, partial=False) == {
        "xyz": None,
        "__key__": "k",
        "_x.cls": 3,
    }
    with pytest.raises(DecodeError, match="key 'k', field 'cls': a int can't be decoded: it is decoded already"):
        decoded(sample, partial=False)


def test_meta_fields_are_left_alone() -> None:
    sample = {"__key__": "k", "__url__": b"a", "_meta.cls": b"7"}
    assert decoded(sample, everything) == sample


# ---- errors


def test_errors_name_the_place_and_keep_the_cause() -> None:
    def broken(data: bytes) -> Any:
        raise LookupError("nothing there")

    with pytest.raises(DecodeError) as caught:
        decoded({"__url__": "a.tar", "__key__": "k", "x.seg": b"123"}, {"seg": broken})
    error = caught.value
    assert (error.url, error.key, error.field) == ("a.tar", "k", "x.seg")
    assert isinstance(error.__cause__, LookupError)
    assert str(error) == "a.tar, key 'k', field 'x.seg': 3 bytes can't be decoded: LookupError: nothing there"


@pytest.mark.parametrize("data", [b"", b"cat", b"1.0", b"1_0"])
def test_an_integer_that_is_none_is_an_error(data: bytes) -> None:
    for field in ("cls", "a.index", "id"):
        with pytest.raises(DecodeError, match="not a decimal integer"):
            decoded({field: data})


def test_errors_within_wrappings_name_the_field() -> None:
    with pytest.raises(DecodeError, match=r"field 'cls.gz': \d+ bytes can't be decoded: ValueError: not a decimal"):
        decoded({"cls.gz": gzip.compress(b"cat")})
    with pytest.raises(UntrustedDataError, match=r"field 'pkl.gz': \d+ bytes can't be decoded: reading a pickle can"):
        decoded({"pkl.gz": gzip.compress(pickle.dumps(1))})
    assert decoded({"pkl.gz": gzip.compress(pickle.dumps(1))}, trust={"pickle"}) == {"pkl.gz": 1}


def test_a_handler_skips_the_sample() -> None:
    seen: list[Exception] = []

    def handler(error: Exception) -> bool:
        seen.append(error)
        return True

    stream = [{"cls": b"1"}, {"cls": b"x"}, {"cls": b"3"}] | decode(handler=handler)
    with pytest.warns(SkippedWarning):
        found = list(stream)
    assert found == [{"cls": 1}, {"cls": 3}]
    assert stream.skipped == {"DecodeError": 1}
    assert [type(error) for error in seen] == [DecodeError]


@pytest.mark.parametrize("item", [7, None, "text", ["a"], b"bytes"])
def test_what_is_no_sample_is_an_error(item: Any) -> None:
    with pytest.raises(DecodeError, match="decode takes samples"):
        list(Decode().plain(streamwds.steps.Run(), iter([item])))


@pytest.mark.parametrize(
    ("decoders", "message"),
    [
        ((3,), "a decoder is an image spec"),
        ((["rgb"],), "a decoder is an image spec"),
        ((b"rgb",), "a decoder is an image spec"),
        ((shuffle(3),), "shuffle(3) decodes nothing; join stages with `|`"),
        ((shuffle,), "<stage maker shuffle> decodes nothing"),
        (({"png": 3},), "a dict of decoders has functions by extension, not 'png': 3"),
        (({3: len},), "a dict of decoders has functions by extension, not 3"),
        (("rgb7",), "no image spec is called 'rgb7'"),
        (("rgb", "l"), "decode takes one image spec, not 'rgb' and 'l'"),
        (("rgb", "rgb"), "decode takes one image spec"),
    ],
)
def test_what_decodes_nothing_is_refused_at_once(decoders: tuple[Any, ...], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        decode(*decoders)
    with pytest.raises((TypeError, ValueError), match=re.escape(message)):
        decode(pre=list(decoders))


# ---- a generator for each sample


def drawn(key: str, data: bytes, rng: np.random.Generator) -> Any:
    return (key, data, *rng.integers(1000, size=2).tolist()) if key.endswith(".x") else None


def drawn_for(data: bytes, rng: np.random.Generator) -> list[int]:
    return [int(n) for n in rng.integers(1000, size=2)]


def mine(sample: Sample, rng: np.random.Generator) -> list[int]:
    return drawn_for(b"", rng)


@pytest.fixture
def shards(tmp_path: Path) -> str:
    for number in range(4):
        with TarWriter(tmp_path / f"{number}.tar") as writer:
            for n in range(7):
                writer.write({"__key__": f"{n}", "x": b"a", "y": b"b", "cls": n})
    return str(tmp_path / "{0..3}.tar")


def by_name(samples: Iterable[Any]) -> dict[tuple[str, str], Any]:
    return {(sample["__url__"], sample["__key__"]): sample for sample in samples}


def test_all_functions_draw_the_same_for_a_sample(shards: str) -> None:
    stream = urls(shards) | tarsamples | decode(drawn, {"y": drawn_for}, rng=True, seed=3)
    samples = list(stream)
    for sample in samples:
        expected = drawn_for(b"", sample_generator(Context(), "decode", 3, sample))
        assert sample["x"] == (".x", b"a", *expected)
        assert sample["y"] == expected
        assert sample["cls"] == int(sample["__key__"])
    assert len({tuple(sample["y"]) for sample in samples}) == 28
    alone = urls(shards) | tarsamples | decode({"y": drawn_for}, only="y", rng=True, seed=3)
    assert [sample["y"] for sample in alone] == [sample["y"] for sample in samples]
    for other in (stream.within(epoch=1), stream.within(seed=1), alone | map(mine, rng=True, seed=3)):
        found = [sample["y"] if isinstance(sample, dict) else sample for sample in other]
        assert not {tuple(y) for y in found} & {tuple(sample["y"]) for sample in samples}


def test_the_draws_are_the_same_however_it_is_read(shards: str) -> None:
    shuffled = urls(shards) | shuffle_shards | split_by_node | split_by_worker | tarsamples | shuffle(5)
    alone = by_name(shuffled | decode(drawn, {"y": drawn_for}, rng=True))
    for threads in (1, 3):
        stream = shuffled | decode(drawn, {"y": drawn_for}, rng=True, threads=threads)
        for ranks, workers in ((1, 1), (2, 1), (1, 3), (2, 2)):
            readers = [(rank, worker) for rank in range(ranks) for worker in range(workers)]
            found: dict[Any, Any] = {}
            for rank, worker in readers:
                own = stream.within(rank=rank, world_size=ranks, worker=worker, workers=workers)
                found |= by_name(own)
            assert found == alone
        assert check_resume(stream) == 28
        batches = stream | batched(4)
        assert check_resume(batches) == 7
        assert by_name(batches | unbatched) == alone


def test_what_a_wrapper_held_draws_too() -> None:
    def unwrapping(key: str, data: bytes, rng: np.random.Generator) -> Continue | None:
        return Continue(key.removesuffix(".rev"), data[::-1]) if key.endswith(".rev") else None

    sample = {"__key__": "a", "y.rev": b"21", "cls.rev": b"21", "y.gz": gzip.compress(b"b"), "?.rev": b"21"}
    found = decoded(sample, unwrapping, {"y": drawn_for}, rng=True)
    expected = drawn_for(b"", sample_generator(Context(), "decode", 0, sample))
    assert found == {"__key__": "a", "y.rev": expected, "cls.rev": 12, "y.gz": expected, "?.rev": b"12"}
    assert decoded(sample, unwrapping, rng=True, pre=[drawn, decompress], post=[])["y.gz"] == b"b"


def test_a_sample_without_a_key_draws_nothing() -> None:
    samples: list[Sample] = [{"y": b"a"}, {"__key__": "b", "y": b"a"}, {"cls": b"7"}]
    for threads in (1, 2):
        stage = decode({"y": drawn_for}, rng=True, threads=threads)
        with pytest.raises(MissingFieldError, match=r"field '__key__'.*this has none"):
            list(samples | stage)
        stream = samples | decode({"y": drawn_for}, rng=True, threads=threads, handler=ignore_and_continue)
        with pytest.warns(SkippedWarning, match="this has none"):
            assert [sample.get("__key__") for sample in stream] == ["b", None]
        assert stream.skipped == {"MissingFieldError": 1}


def test_a_function_that_takes_no_generator_is_an_error_that_says_so() -> None:
    with pytest.raises(DecodeError, match=r"key 'a', field 'x': .*TypeError: .*takes 2 positional arguments but 3"):
        decoded({"__key__": "a", "x": b"a"}, lower, rng=True)
    with pytest.raises(DecodeError, match=r"TypeError: .*missing 1 required positional argument: 'rng'"):
        decoded({"__key__": "a", "x": b"a"}, drawn)


def test_seeds_of_none_are_drawn_once() -> None:
    stages = [decode({"y": drawn_for}, rng=True, seed=None) for _ in range(9)]
    assert len({repr(stage) for stage in stages}) > 1
    with pytest.raises(ValueError, match="a seed is an integer"):
        decode(seed="1")  # type: ignore[arg-type]


# ---- as a value


STAGES = [
    decode(),
    decode(None),
    decode("rgb"),
    decode("rgb", lower, {"xml": len, "seg.png": shout}, torch_audio),
    decode(handle_extension("a b", len), numpy_audio, numpy_video, torch_video),
    decode(pre=[lower, decompress], post=[by_table, everything]),
    decode(pre=[], post=()),
    decode(only={"a", "b"}, partial=False),
    decode(drawn, {"y": drawn_for}, rng=True, seed=7),
    decode("pil", trust={"pickle", "torch"}, max_bytes=99, max_pixels=7, handler=ignore_and_continue),
]


@pytest.mark.parametrize("stage", STAGES, ids=repr)
def test_stages_are_values(stage: Any) -> None:
    assert pickle.loads(pickle.dumps(stage)) == stage
    names = {
        **vars(streamwds),
        "drawn": drawn,
        "drawn_for": drawn_for,
        "lower": lower,
        "shout": shout,
        "everything": everything,
    }
    again = eval(repr(stage).replace(f"{__name__}.", ""), names)
    assert again == stage
    assert hash(again) == hash(stage)
    assert sum(stage == other for other in STAGES) == (2 if repr(stage) == "decode()" else 1)


def test_what_is_not_default_shows() -> None:
    assert repr(decode(None)) == "decode()"
    assert repr(STAGES[3]).startswith("decode('rgb', ")
    assert repr(decode("rgb", torch_audio, trust={"torch"})) == "decode('rgb', torch_audio, trust={'torch'})"
    assert repr(decode(pre=[], only="b a")) == "decode(pre=(), only={'a', 'b'})"


def test_options_do_not_change_with_what_made_them() -> None:
    own: dict[str, Any] = {"xml": len}
    only = ["xml"]
    stage = decode(own, only=only)
    own["xml"] = shout
    only.append("cls")
    assert [{"xml": b"a", "cls": b"7"}] | stage | list == [{"xml": 1, "cls": b"7"}]


def test_positions_do_not_depend_on_how_fields_are_decoded() -> None:
    stream = [{"cls": b"1"}, {"cls": b"2"}, {"cls": b"3"}] | decode()
    _, position = next(stream.tracked())
    other = [{"cls": b"1"}, {"cls": b"2"}, {"cls": b"3"}] | decode("rgb", everything)
    assert list(other.at(position)) == [{"cls": (".cls", b"2")}, {"cls": (".cls", b"3")}]


def test_samples_are_not_changed() -> None:
    sample = {"cls": b"7"}
    assert decoded(sample) == {"cls": 7}
    assert sample == {"cls": b"7"}


def test_any_mapping_is_a_sample() -> None:
    class Frozen(Mapping[str, Any]):
        def __getitem__(self, key: str) -> Any:
            return {"cls": b"7"}[key]

        def __iter__(self) -> Any:
            return iter(["cls"])

        def __len__(self) -> int:
            return 1

    samples: Iterator[Any] = iter([Frozen()])
    assert samples | decode() | list == [{"cls": 7}]


def test_the_plain_iterator_takes_the_same() -> None:
    samples = [{"cls": b"7", "xml": b"a"}]
    assert pipe(samples, iterators.decode(None), list) == [{"cls": 7, "xml": b"a"}]
    assert pipe(samples, iterators.decode([{"xml": len}], only={"xml"}), list) == [{"cls": b"7", "xml": 1}]


def test_one_stage_in_several_threads() -> None:
    stage = decode(unwrapped, {"seg": shout})
    results: list[Any] = []

    def run() -> None:
        samples = [{f"{n % 50}.cls.rev": b"21", f"{n % 70}.seg": b"a"} for n in range(2000)]
        results.append(samples | stage | list)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    assert all(result == results[0] for result in results)


def test_function_errors_are_not_hidden() -> None:
    with pytest.raises(DecodeError) as caught:
        decoded({"xml": b"a"}, lambda key: None)
    assert isinstance(caught.value.__cause__, TypeError)
    assert not isinstance(caught.value, FunctionError)
