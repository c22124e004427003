"""http: what a server or a network does wrong, against a server of ours that does it when told."""

from __future__ import annotations

import gzip
import logging
import multiprocessing
import os
import random
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any, Literal

import pytest

from streamwds import Gopen, StreamwdsError, gopen, ignore_and_continue, open_shards, tarsamples, urls
from streamwds.errors import ChangedError, OpenError, SkippedWarning, TarError, UnreachableError, WriteError
from streamwds.shards import web
from streamwds.tar.members import tarfiles
from streamwds.tar.samples import group_by_keys
from streamwds.testing import check_resume
from tests.archives import archive
from tests.faults import Fault, Faults, Request
from tests.processes import forked

DEEP = os.environ.get("STREAMWDS_PROFILE") == "deep"
QUICK = Gopen(timeout=5, retries=4, patience=0.02)  # (waits next to nothing between tries)


def shard(seed: int, samples: int = 300, most: int = 3000) -> bytes:
    rng = random.Random(seed)
    return archive([(b"%05d.bin" % n, rng.randbytes(rng.randint(1, most))) for n in range(samples)])


DATA = shard(1)
OTHER = shard(2)[: len(DATA)].ljust(len(DATA), b"\0")  # another object of the same length


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield
    web.forget_connections()


@pytest.fixture
def rng() -> random.Random:
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    return random.Random(seed)


def bins(samples: Any) -> list[tuple[str, bytes]]:
    return [(sample["__key__"], sample["bin"]) for sample in samples]


def read(server: Faults, opener: Gopen = QUICK, path: str = "/a.tar") -> list[tuple[str, bytes]]:
    return bins([server.url + path] | tarsamples(opener=opener))


def in_parts(opener: Gopen, handler: Any = None) -> Any:
    """The long way from URLs to samples."""
    options = {} if handler is None else {"handler": handler}
    return open_shards(opener=opener) | tarfiles(**options) | group_by_keys(**options)


def content(server: Faults, opener: Gopen = QUICK, offset: int = 0) -> bytes:
    with opener(server.url + "/a.tar", offset) as file:
        return file.read()


def whole(data: bytes = DATA) -> list[tuple[str, bytes]]:
    with Faults({"/a.tar": data}) as server:
        found = read(server)
    assert len(found) == 300
    return found


# ---- connections that are cut


def test_a_whole_shard_is_one_request() -> None:
    with Faults({"/a.tar": DATA}) as server:
        assert content(server) == DATA
        assert server.ranges_asked() == [None]
        assert server.requests[0].headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("offset", [1, 512, len(DATA) - 1, len(DATA), len(DATA) + 1, 2**40])
@pytest.mark.parametrize("ranges", [True, False])
def test_offsets(offset: int, ranges: bool) -> None:
    with Faults({"/a.tar": DATA}, ranges=ranges) as server:
        assert content(server, offset=offset) == DATA[offset:]
        assert server.ranges_asked() == [offset]


def test_cut_anywhere_and_resumed_there(rng: random.Random) -> None:
    expected = whole()
    edges = [0, 1, 512, len(DATA) - 1]
    for turn in range(200 if DEEP else 20):
        cut, reset = edges[turn] if turn < len(edges) else rng.randrange(len(DATA)), rng.random() < 0.5
        faults = {0: Fault(cut=cut, reset=reset)}
        with Faults({"/a.tar": DATA}, lambda request, faults=faults: faults.get(request.number)) as server:  # type: ignore[misc]
            server.validators = rng.choice(["etag", "modified"])
            assert read(server) == expected
            start, again = server.ranges_asked()
        assert start is None
        if reset:
            assert (again or 0) <= cut  # (what was on its way is lost)
        else:
            assert (again or 0) == cut


def test_every_connection_is_cut(rng: random.Random) -> None:
    expected = whole()
    for _ in range(50 if DEEP else 5):
        with Faults({"/a.tar": DATA}, lambda request: Fault(cut=rng.randint(1, len(DATA) // 4))) as server:
            assert read(server) == expected
            asked = [start or 0 for start in server.ranges_asked()]
        assert asked == sorted(set(asked))  # each goes on behind the one before
        assert len(asked) >= 4


@pytest.mark.parametrize("validators", ["etag", "modified", "weak", "none"])
@pytest.mark.parametrize("ranges", [True, False])
def test_the_same_bytes_whatever_a_server_tells(
    validators: Literal["etag", "modified", "weak", "none"], ranges: bool
) -> None:
    with Faults(
        {"/a.tar": DATA},
        lambda request: Fault(cut=100_000 * (request.number + 1)) if request.number < 2 else None,
        validators=validators,
        ranges=ranges,
    ) as server:
        assert content(server, offset=1000) == DATA[1000:]
        assert len(server.requests) == 3
        known = validators in ("etag", "modified")
        assert [request.headers.get("If-Range") is not None for request in server.requests] == [False, known, known]


def test_a_chunked_body_that_is_cut() -> None:
    with Faults({"/a.tar": DATA}, lambda r: Fault(chunked=True, cut=None if r.number else 50_000)) as server:
        assert content(server) == DATA
        assert server.ranges_asked() == [None, 50_000]


def test_a_chunked_body_that_stays_cut() -> None:
    fault = Fault(chunked=True, cut=50_000)
    with Faults({"/a.tar": DATA}, lambda r: Fault(status=503) if r.number else fault) as server:
        file = QUICK(server.url + "/a.tar")
        with file, pytest.raises(UnreachableError):
            file.read()


def test_a_compressed_shard_that_is_cut() -> None:
    packed = gzip.compress(DATA, 1)
    with Faults({"/a.tar": packed}, lambda r: Fault(cut=len(packed) // 3)) as server:
        assert read(server) == whole()
        assert server.ranges_asked()[:2] == [None, len(packed) // 3]


# ---- objects that change


@pytest.mark.parametrize("validators", ["etag", "modified", "weak", "none"])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("after", [OTHER, DATA[:200_000], DATA + bytes(512)])
def test_a_changed_object_is_an_error_and_never_a_mixture(
    validators: Literal["etag", "modified", "weak", "none"], ranges: bool, after: bytes
) -> None:
    def fault(request: Request) -> Fault | None:
        if request.number:
            server.files["/a.tar"] = after
            return None
        return Fault(cut=300_000)

    expected = whole()
    for way in (tarsamples(opener=QUICK), in_parts(QUICK)):
        got: list[Any] = []
        with Faults({"/a.tar": DATA}, fault, validators=validators, ranges=ranges) as server:
            with pytest.raises(ChangedError, match="changed while it was read") as caught:
                got.extend(sample for sample in [server.url + "/a.tar"] | way)
            assert caught.value.url == server.url + "/a.tar"
        assert bins(got) == expected[: len(got)]
        assert len(got) > 100


def test_what_the_handler_lets_pass_of_a_changed_object() -> None:
    def fault(request: Request) -> Fault | None:
        if request.path == "/a.tar" and request.number:
            server.files["/a.tar"] = OTHER
        return None if request.number else Fault(cut=300_000)

    with Faults({"/a.tar": DATA, "/b.tar": DATA}, fault) as server:
        for way in (tarsamples(opener=QUICK, handler=ignore_and_continue), in_parts(QUICK, ignore_and_continue)):
            server.requests.clear()
            server.files["/a.tar"] = DATA
            with pytest.warns(SkippedWarning):
                found = bins([server.url + "/a.tar", server.url + "/b.tar"] | way)
            assert found[-300:] == whole()
            assert found[:-300] == whole()[: len(found) - 300]


def test_the_wrong_range_is_refused() -> None:
    server = Faults({"/a.tar": DATA}, lambda r: Fault(wrong_range=True))
    with server, pytest.raises(OpenError, match="gives others"):
        content(server, offset=1000)


# ---- bodies that are short, or never come


def test_a_body_that_is_shorter_than_was_said() -> None:
    size = len(DATA)
    server = Faults({"/a.tar": DATA}, lambda r: Fault(longer=1000, cut=0 if r.number else None))
    with server, pytest.raises(UnreachableError, match=f"at byte {size}"):
        content(server)
    server = Faults({"/a.tar": DATA}, lambda r: Fault(longer=1000) if not r.number else None)
    with server, pytest.raises(ChangedError, match=f"it had {size + 1000} bytes, and has {size}"):
        content(server)


def test_a_stall_times_out_and_is_resumed() -> None:
    with Faults({"/a.tar": DATA}, lambda r: Fault(stall=70_000) if not r.number else None) as server:
        assert content(server, Gopen(timeout=0.2)) == DATA
        assert server.ranges_asked() == [None, 70_000]


def test_a_server_that_never_answers() -> None:
    server = Faults({"/a.tar": DATA}, delay=30)
    with server, pytest.raises(UnreachableError, match=r"timed out.*tried 2 times"):
        content(server, Gopen(timeout=0.1, retries=1, patience=0.01))


def test_nobody_listens() -> None:
    with Faults({}) as server:
        url = server.url
    with pytest.raises(UnreachableError, match=r"refused.*tried 3 times"):
        gopen(f"{url}/a.tar", retries=2, patience=0.01).read()


# ---- how long it is tried


def test_the_budget_is_for_a_stretch_without_progress() -> None:
    def fault(request: Request) -> Fault | None:
        return Fault(status=503) if request.number % 4 else Fault(cut=60_000)

    with Faults({"/a.tar": DATA}, fault) as server:
        assert content(server, Gopen(retries=4, patience=0.001)) == DATA
        assert len(server.requests) > 4 * (len(DATA) // 60_000)
    with Faults({"/a.tar": DATA}, fault) as server:
        with pytest.raises(UnreachableError, match=r"503 Service Unavailable \(tried 3 times"):
            content(server, Gopen(retries=2, patience=0.001))
        assert len(server.requests) == 3


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
def test_answers_that_may_pass(status: int) -> None:
    with Faults({"/a.tar": DATA}, lambda r: Fault(status=status) if r.number < 3 else None) as server:
        assert content(server) == DATA
        assert len(server.requests) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 451, 501])
def test_answers_that_are_final(status: int) -> None:
    with Faults({"/a.tar": DATA}, lambda r: Fault(status=status)) as server:
        with pytest.raises(OpenError, match=f"the server answers {status}") as caught:
            content(server)
        assert type(caught.value) is OpenError
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("said", "patience", "waits"),
    [
        (lambda: "1", 5, 1.0),
        (lambda: "3600", 0.5, 0.5),
        (lambda: formatdate(0, usegmt=True), 5, 0.0),
        (lambda: formatdate(2**33, usegmt=True), 0.5, 0.5),
        (lambda: "0", 5, 0.0),
    ],
)
def test_retry_after(said: Callable[[], str], patience: float, waits: float, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "streamwds.gopen")

    def fault(request: Request) -> Fault | None:
        return Fault(status=429, headers={"Retry-After": said()}) if not request.number else None

    with Faults({"/a.tar": DATA}, fault) as server:
        assert content(server, Gopen(patience=patience)) == DATA
    waited = [record.args[2] for record in caplog.records if "trying again" in record.msg]  # type: ignore[index]
    assert waited == [waits]


# ---- what handlers are asked


@pytest.mark.parametrize("cut", [0, 300_000])
def test_what_stays_unreachable_is_no_matter_for_a_handler(cut: int) -> None:
    def fault(request: Request) -> Fault | None:
        if request.path == "/b.tar":
            return None
        return Fault(cut=cut) if request.range is None and cut else Fault(status=503)

    asked: list[Exception] = []

    def handler(error: Exception) -> bool:
        asked.append(error)
        return True

    with Faults({"/a.tar": DATA, "/b.tar": DATA}, fault) as server:
        names = [server.url + "/a.tar", server.url + "/b.tar"]
        for way in (tarsamples(opener=QUICK, handler=handler), in_parts(QUICK, handler)):
            got: list[Any] = []
            with pytest.raises(UnreachableError):
                got.extend(sample for sample in names | way)
            assert asked == []
            assert bins(got) == whole()[: len(got)]
        skipping = Gopen(retries=1, patience=0.001, skip_unreachable=True)
        for way in (tarsamples(opener=skipping, handler=handler), in_parts(skipping, handler)):
            asked.clear()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SkippedWarning)
                found = bins(names | way)
            assert {type(error) for error in asked} == {UnreachableError}
            assert found == whole()[: len(found) - 300] + whole()
            assert len(found) > 300 if cut else len(found) == 300


def test_a_missing_shard_is_a_matter_for_a_handler() -> None:
    with Faults({"/b.tar": DATA}) as server:
        names = [server.url + "/a.tar", server.url + "/b.tar"]
        with pytest.warns(SkippedWarning, match="404"):
            assert bins(names | tarsamples(opener=QUICK, handler=ignore_and_continue)) == whole()


# ---- redirects


def redirect(to: str, status: int = 302) -> Callable[[Request], Fault | None]:
    return lambda request: Fault(status=status, headers={"Location": to}) if request.path == "/old" else None


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("to", ["/a.tar", "a.tar", "./x/../a.tar", "{url}/a.tar", "//{host}/a.tar"])
def test_redirects_are_followed(status: int, to: str) -> None:
    with Faults({"/a.tar": DATA}) as server:
        server.fault = redirect(to.format(url=server.url, host=server.url.partition("//")[2]), status)
        with QUICK(server.url + "/old", 100) as file:
            assert file.read() == DATA[100:]
        assert [(request.path, request.range) for request in server.requests] == [("/old", 100), ("/a.tar", 100)]


@pytest.mark.parametrize(
    "to",
    [
        "file:///etc/passwd",
        "pipe:touch ran",
        "PIPE:touch ran",
        "local:///etc/passwd",
        "ssh://host/a.tar",
        "ftp://127.0.0.1/a.tar",
        "s3://bucket/a.tar",
        "simplecache::http://127.0.0.1/a.tar",
        "data:,x",
        "javascript:x",
        "",
        "/a\tb.tar",
    ],
)
def test_redirects_to_anything_else_are_refused(to: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with Faults({"/a.tar": DATA}, redirect(to)) as server:
        with pytest.raises(OpenError, match="redirected to"):
            Gopen(allow_pipe=True)(server.url + "/old")
        assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []


def test_redirects_in_a_circle_end() -> None:
    with Faults({}, redirect("/old")) as server:
        with pytest.raises(OpenError, match="more than 10 times"):
            QUICK(server.url + "/old")
        assert len(server.requests) == 11


def test_a_redirect_never_leads_from_https_to_http() -> None:
    with pytest.raises(OpenError, match="where anyone can listen"):
        web._redirected("https://a/b", "https://a/b", "http://a/b")  # pyright: ignore[reportPrivateUsage]


# ---- secrets


def test_credentials_are_sent_to_their_server_only() -> None:
    opener = Gopen(headers={"X-Token": "hush"})
    with Faults({"/a.tar": DATA}) as there, Faults({"/a.tar": DATA}) as here:
        url = here.url.replace("//", "//me:pass%20word@")
        here.fault = redirect("/next")
        with pytest.raises(OpenError, match="404"):
            opener(url + "/old")
        assert [request.headers["X-Token"] for request in here.requests] == ["hush", "hush"]
        assert {request.headers["Authorization"] for request in here.requests} == {"Basic bWU6cGFzcyB3b3Jk"}
        here.fault = redirect(there.url.replace("//", "//you:too@") + "/a.tar")
        with opener(url + "/old") as file:
            assert file.read() == DATA
        assert not {"X-Token", "Authorization"} & there.requests[0].headers.keys()


@pytest.mark.parametrize("status", [404, 503])
def test_secrets_are_neither_in_messages_nor_in_logs(
    status: int, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("GOPEN_VERBOSE", "1")
    opener = Gopen(
        retries=1, patience=0.001, headers={"Authorization": "Bearer s3cret"}, storage_options={"key": "s3cret"}
    )
    with Faults({}, lambda r: Fault(status=status)) as server:
        url = server.url.replace("//", "//me:s3cret@") + "/a.tar?X-Amz-Signature=s3cret&part=1"
        stream = [url] | tarsamples(opener=opener)
        with pytest.raises(OpenError) as caught:
            list(stream)
    shown = "".join(traceback.format_exception(caught.value)) + caplog.text + capsys.readouterr().err + repr(opener)
    assert "s3cret" not in shown
    assert "/a.tar?X-Amz-Signature=…&part=…" in shown
    assert caught.value.url == url


# ---- proxies


def test_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with Faults({"http://data.invalid/a.tar": DATA}) as proxy, Faults({"/a.tar": OTHER}) as server:
        monkeypatch.setenv("http_proxy", proxy.url.replace("//", "//me:word@"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with QUICK("http://data.invalid/a.tar", 512) as file:
            assert file.read() == DATA[512:]
        assert proxy.requests[0].headers["Proxy-Authorization"] == "Basic bWU6d29yZA=="
        assert content(server) == OTHER
        assert len(proxy.requests) == 1


@pytest.mark.parametrize(("port", "through_proxy"), [("", False), (":9", True)])
def test_no_proxy_may_name_a_port(port: str, through_proxy: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with Faults({}) as proxy, Faults({"/a.tar": DATA}) as server:
        proxy.files[f"{server.url}/a.tar"] = DATA
        monkeypatch.setenv("http_proxy", proxy.url.removeprefix("http://"))
        monkeypatch.setenv("no_proxy", "127.0.0.1" + (port or server.url[server.url.rindex(":") :]))
        assert content(server) == DATA
        assert bool(proxy.requests) == through_proxy


def test_a_proxy_that_is_not_known_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://me:word@127.0.0.1:9")
    with pytest.raises(OpenError, match="names a socks5: proxy") as caught:
        QUICK("http://data.invalid/a.tar")
    assert "word" not in str(caught.value)


# ---- URLs


@pytest.mark.parametrize(
    "url",
    ["http://", "http://[::1/a.tar", "http://127.0.0.1:99999/a.tar", "http://127.0.0.1:x/", "http://127.0.0.1/a\nb"],
)
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(OpenError):
        QUICK(url)


def test_odd_names() -> None:
    with Faults({"/a%20b/%C3%A4.tar": DATA}) as server, QUICK(server.url + "/a b/ä.tar#part") as file:
        assert file.read() == DATA


# ---- resuming a stream


def test_a_stream_resumes_with_one_request() -> None:
    with Faults({"/a.tar": DATA, "/b.tar": DATA}) as server:
        stream = urls(server.url + "/{a,b}.tar") | tarsamples
        positions = [position for _, position in stream.tracked()]
        for k in (0, 150, 298, 400, 598):
            server.requests.clear()
            assert bins(stream.at(positions[k])) == (whole() + whole())[k + 1 :]
            asked = server.ranges_asked()
            assert len(asked) == 1 + (k < 300)
            assert asked[0]
        server.requests.clear()
        assert list(stream.at(positions[599])) == []  # (at a shard's end, it takes a look at its start)
        assert len(server.requests) == 3


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_the_law_of_resuming(ranges: bool, pack: Callable[[bytes], bytes]) -> None:
    small = [pack(shard(n, 5, 2000)) for n in range(3)]
    with Faults({f"/{n}.tar": data for n, data in enumerate(small)}, ranges=ranges) as server:
        assert check_resume(urls(server.url + "/{0..2}.tar") | tarsamples) == 15
        assert check_resume(urls(server.url + "/{0..2}.tar") | open_shards | tarfiles | group_by_keys) == 15


@pytest.mark.parametrize("ahead", [0, 2])
def test_processes_have_connections_of_their_own(ahead: int) -> None:
    with Faults({f"/{n}.tar": shard(n, 20) for n in range(4)}) as server:
        stream = urls(server.url + "/{0..3}.tar") | tarsamples(opener=QUICK, prefetch=ahead)
        expected = bins(stream)  # (from here on, connections are kept)
        for method in ("fork", "spawn"):
            with multiprocessing.get_context(method).Pool(2) as pool:
                found = pool.map(read_again, [stream] * 4, chunksize=1)
            assert found == [expected] * 4
            assert bins(stream) == expected


def read_again(stream: Any) -> list[tuple[str, bytes]]:
    return bins(stream)


# ---- writing


def test_a_forked_process_goes_on_by_a_connection_of_its_own() -> None:
    with Faults({"/a.tar": DATA}) as server, QUICK(f"{server.url}/a.tar") as file:
        begun = file.read(100_000)

        def read_on() -> None:
            some = b"".join(file.read(10_000) for _ in range(10))
            assert DATA[len(begun) :].startswith(some)

        assert forked(read_on) == 0
        assert begun + file.read() == DATA
        assert server.ranges_asked() == [None, len(begun)]  # (the child's)


def test_putting_a_file() -> None:
    with Faults({}, lambda r: Fault(status=503) if r.number < 2 else None) as server:
        with gopen(server.url + "/a.tar", "wb", patience=0.01) as file:
            file.write(DATA[:1000])
            file.write(DATA[1000:])
            assert server.requests == []  # it comes whole
        assert server.files == {"/a.tar": DATA}
        assert content(server) == DATA


@pytest.mark.parametrize(("status", "followed"), [(302, True), (307, True), (303, False)])
def test_what_is_put_may_be_sent_elsewhere(status: int, followed: bool) -> None:
    def fault(request: Request) -> Fault | None:
        return None if request.path == "/there" else Fault(status, {"Location": "/there"})

    with Faults({}, fault) as server:
        target = gopen(f"{server.url}/here", "wb", retries=0)
        target.write(DATA)
        if followed:
            target.close()
            assert server.files == {"/there": DATA}
        else:
            with pytest.raises(WriteError, match="answers 303"):
                target.close()
            assert server.files == {}


def test_what_fails_is_not_put() -> None:
    with Faults({}) as server:
        with pytest.raises(ZeroDivisionError), gopen(server.url + "/a.tar", "wb") as file:
            file.write(DATA[: 1 // 0])
        assert server.requests == []
        server.fault = lambda request: Fault(status=403)
        with pytest.raises(WriteError, match="403"), gopen(server.url + "/a.tar", "wb") as file:
            file.write(DATA)


def test_errors_are_ours() -> None:
    assert issubclass(UnreachableError, StreamwdsError)
    assert issubclass(ChangedError, TarError)
