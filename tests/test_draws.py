"""The random draws, pinned: a change of any value here would change the order of everybody's training."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import blake2b
from itertools import islice
from typing import Any

import numpy as np
import pytest

from streamwds import (
    Context,
    Stream,
    draws,
    everywhere,
    mix,
    resampled,
    rsample,
    shuffle,
    shuffle_shards,
    take,
    urls,
)
from streamwds.stages.chance import sample_generator

Key = draws.Key

RAW: list[tuple[Key, list[int]]] = [
    (
        (0, "shuffle", 0, 0, 0, 0, 0),
        [10839611287921232258, 17131191865298884230, 9334553013166511168, 15484653564992196552, 13491742020220989228],
    ),
    (
        (0, "shuffle", 0, 0, 1, 0, 0),
        [11489475823684143978, 14305518962702149463, 9507416388369021030, 2474008664295852234, 11534902756005198562],
    ),
    (
        (-7, "shuffle", 2**70, 3, 0, 1, 2),
        [14210059149953127365, 18104170420193579303, 3333483358210917156, 8601168954797384601, 13183105370172313549],
    ),
    (
        (0,),
        [9524589978566994696, 12916927355362072896, 1577484857221288104, 15447904825912408737, 15043171054641738064],
    ),
    (
        ("ü",),
        [2596824848196660061, 10978732293305871304, 18206946383018506290, 2193484430276917378, 4377319997940317430],
    ),
]


@pytest.mark.parametrize(("key", "words"), RAW)
def test_raw_words(key: Key, words: list[int]) -> None:
    found = draws.raw(key, 5)
    assert found.dtype == np.uint64
    assert found.tolist() == words
    assert draws.raw(key, 2).tolist() == words[:2]
    assert draws.raw(key, 0).tolist() == []


def philox(key: Key) -> Iterator[int]:
    """The words of a key by the definition: Philox 4x64-10 (Salmon et al., SC 2011), keyed by blake2b of its JSON."""
    mask = 2**64 - 1
    digest = blake2b(json.dumps(key).encode(), digest_size=16, person=b"streamwds").digest()
    counter = 1
    while True:
        a, b, c, d = counter & mask, counter >> 64, 0, 0
        k0, k1 = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
        for _ in range(10):
            left, right = a * 0xD2E7470EE14C6C93, c * 0xCA5A826395121157
            a, b, c, d = (right >> 64) ^ b ^ k0, right & mask, (left >> 64) ^ d ^ k1, left & mask
            k0, k1 = (k0 + 0x9E3779B97F4A7C15) & mask, (k1 + 0xBB67AE8584CAA73B) & mask
        yield from (a, b, c, d)
        counter += 1


@pytest.mark.parametrize("key", [key for key, _ in RAW])
def test_raw_words_are_those_of_the_definition(key: Key) -> None:
    assert draws.raw(key, 50).tolist() == list(islice(philox(key), 50))


@pytest.mark.parametrize(
    ("key", "order"),
    [
        ((0, "shuffle", 0, 0, 0, 0, 0), [6, 5, 8, 9, 2, 0, 7, 4, 3, 1]),
        ((0, "shuffle", 0, 0, 1, 0, 0), [3, 9, 7, 8, 2, 5, 0, 4, 6, 1]),
        ((-7, "shuffle", 2**70, 3, 0, 1, 2), [8, 2, 9, 6, 3, 7, 5, 4, 0, 1]),
    ],
)
def test_permutations(key: Key, order: list[int]) -> None:
    assert draws.permutation(key, 10) == order
    assert draws.permutation(key, 1) == [0]
    assert draws.permutation(key, 0) == []


def test_keys_of_stages() -> None:
    context = Context(seed=5, epoch=2, rank=1, world_size=2, worker=3, workers=4)
    assert draws.stage_key(context, "shuffle", 7, 9, per_worker=True) == (5, "shuffle", 7, 2, 9, 1, 3)
    assert draws.stage_key(context, "shuffle_shards", 7, 9, per_worker=False) == (5, "shuffle_shards", 7, 2, 9)


@pytest.mark.parametrize(
    ("settings", "order"),
    [
        ({}, [6, 5, 2, 0, 7, 4, 3, 1, 11, 15, 10, 13, 8, 12, 14, 9]),
        ({"seed": 1}, [1, 6, 2, 5, 3, 7, 4, 0, 12, 13, 9, 10, 15, 11, 8, 14]),
        ({"seed": -1}, [2, 7, 6, 3, 5, 1, 0, 4, 8, 13, 12, 10, 9, 15, 14, 11]),
        ({"initial": 2}, [0, 1, 5, 4, 2, 3, 13, 8, 7, 9, 11, 10, 12, 6, 14, 15]),
        ({"size": 5}, [2, 0, 4, 3, 1, 8, 7, 5, 9, 6, 12, 11, 13, 14, 10, 15]),
        ({"size": 1}, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]),
        ({"within": {"seed": 12345}}, [2, 3, 5, 7, 4, 0, 1, 6, 9, 12, 11, 14, 8, 13, 10, 15]),
        ({"within": {"epoch": 1}}, [5, 1, 4, 0, 3, 2, 6, 7, 12, 15, 9, 10, 8, 11, 14, 13]),
        ({"within": {"epoch": 2}}, [2, 1, 7, 6, 5, 0, 4, 3, 14, 9, 15, 12, 11, 10, 8, 13]),
        ({"within": {"rank": 1, "world_size": 2}}, [7, 6, 2, 4, 5, 3, 0, 1, 14, 11, 9, 13, 15, 12, 10, 8]),
        ({"within": {"worker": 1, "workers": 2}}, [4, 1, 5, 3, 2, 6, 7, 0, 10, 15, 11, 8, 13, 9, 12, 14]),
        (
            {"within": {"worker": 2, "workers": 3, "rank": 3, "world_size": 4, "epoch": 7}},
            [6, 1, 5, 4, 2, 0, 3, 7, 14, 11, 9, 10, 12, 13, 8, 15],
        ),
    ],
)
def test_orders_of_shuffle(settings: dict[str, Any], order: list[int]) -> None:
    options = {"size": 8, **settings}
    context = options.pop("within", {})
    assert list((range(16) | everywhere | shuffle(**options)).within(**context)) == order


def test_the_first_block_of_a_long_shuffle() -> None:
    """It is of 64 items, unless `initial` says otherwise."""
    assert list(range(300) | shuffle(100))[:12] == [43, 6, 52, 58, 5, 8, 47, 27, 37, 55, 57, 33]


def test_a_seed_of_none_is_drawn_when_the_stage_is_built() -> None:
    stage = shuffle(100, seed=None)
    seed = int(repr(stage).partition("seed=")[2].rstrip(")"))
    assert 0 <= seed < 2**31
    assert list(range(100) | stage) == list(range(100) | stage) == list(range(100) | shuffle(100, seed=seed))
    assert len({repr(shuffle(100, seed=None)) for _ in range(20)}) > 1
    assert draws.fresh_seed(3) == 3


# ---- numbers from 0 to 1, and generators


def test_units_are_the_words_of_their_block() -> None:
    context = Context(seed=5, epoch=2, rank=1, world_size=2, worker=3, workers=4)
    units = draws.Units(context, "rsample", 7)
    for counter in (0, 1, 255, 256, 1000, 3):
        block, place = divmod(counter, 256)
        word = next(islice(philox((5, "rsample", 7, 2, block, 1, 3)), place, None))
        assert units[counter] == (word >> 11) / 2**53
    assert [units[n] for n in (0, 1000)] == [0.2078769326144101, 0.8088418630626477]


def test_a_unit_is_of_its_keys_hash() -> None:
    key: Key = ("fraction", 0, "ü")
    digest = blake2b(json.dumps(key).encode(), digest_size=16, person=b"streamwds").digest()
    assert draws.unit(key) == (int.from_bytes(digest[:8], "little") >> 11) / 2**53 == 0.0984764801997986


def test_a_generator_has_the_words_of_its_key() -> None:
    key: Key = (0, "map", 0, 0, "a.tar", "1")
    assert draws.generator(key).bit_generator.random_raw(9).tolist() == list(islice(philox(key), 9))
    assert draws.generator(key).bit_generator.random_raw(1).tolist() == [15788100997116178873]


SAMPLE = {"__key__": "1", "__url__": "https://example.org/x/a.tar?signature"}


@pytest.mark.parametrize(
    ("context", "seed", "key"),
    [
        (Context(), 0, (0, "map", 0, 0, "a.tar", "1")),
        (Context(seed=1, epoch=2, rank=1, world_size=2, worker=1, workers=3), 3, (1, "map", 3, 2, "a.tar", "1")),
    ],
)
@pytest.mark.parametrize("kind", ["map", "decode"])
def test_a_samples_generator_knows_the_sample_and_the_epoch(context: Context, seed: int, key: Key, kind: str) -> None:
    found = sample_generator(context, kind, seed, SAMPLE).bit_generator.random_raw(9)
    assert found.tolist() == list(islice(philox((key[0], kind, *key[2:])), 9))


def digits(stream: Stream[str] | Stream[int], **context: int) -> str:
    return "".join(map(str, stream.within(**context)))


URLS = urls("{0..9}") | everywhere
LISTS = [[number] * 9 for number in range(3)]
OTHERS = [{}, {"seed": 1}, {"epoch": 1}, {"rank": 1, "world_size": 2, "worker": 1, "workers": 2}]


@pytest.mark.parametrize(
    ("stream", "orders"),
    [
        (URLS | shuffle_shards, ["3765194208", "7140265938", "4219378605", "3765194208"]),
        (URLS | shuffle_shards(seed=1), ["8173456209", "8635409721", "6784913520", "8173456209"]),
        (URLS | resampled() | take(12), ["655568097047", "360277798174", "740664694468", "497988053758"]),
        (URLS | resampled(1) | take(12), ["616335277421", "763485217653", "534509334034", "714091820801"]),
        (range(10) | everywhere | rsample(0.3), ["03567", "02", "245", "39"]),
        (range(10) | everywhere | rsample(0.3, 1), ["348", "136", "49", "27"]),
        (
            mix(LISTS) | everywhere,
            [
                "000122212122111002021020011",
                "102120001111002201022202211",
                "200001102121121221010221002",
                "201121120002210210212101002",
            ],
        ),
        (
            mix(LISTS, weights=[1, 2, 3], seed=1) | everywhere,
            [
                "221002021220021122011110100",
                "211121222212122101010000000",
                "002012212002112212002011101",
                "221212101000101220100201212",
            ],
        ),
    ],
    ids=lambda value: repr(value)[-30:],
)
def test_what_is_left_to_chance(stream: Stream[Any], orders: list[str]) -> None:
    assert [digits(stream, **context) for context in OTHERS] == orders


@pytest.mark.parametrize(
    "make",
    [lambda seed: shuffle_shards(seed=seed), resampled, lambda seed: rsample(0.5, seed)],
    ids=["shuffle_shards", "resampled", "rsample"],
)
def test_seeds_of_none_are_drawn_when_the_stage_is_built(make: Any) -> None:
    seeds = {make(None).steps[0].seed for _ in range(20)}
    assert len(seeds) > 1
    assert all(repr(seed) in repr(make(seed)) for seed in seeds)
    with pytest.raises(ValueError, match="a seed is an integer"):
        make("1")
