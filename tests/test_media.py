"""Sound and films, beside what soundfile and PyAV say of them."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray

from streamwds import decode, numpy_audio, numpy_video, torch_audio, torch_video
from streamwds.codecs import CODECS, encoder
from streamwds.errors import DecodeError, EncodeError

RATE = 48000
TONE: NDArray[np.float32] = (np.sin(np.arange(RATE) / 20) * 0.5).astype("f4")
STEREO = np.stack([TONE, TONE[::-1]])
GRAYS = (0, 40, 80, 120, 160)


def decoded(field: str, data: bytes, *decoders: Any, **options: Any) -> Any:
    (sample,) = [{field: data}] | decode(*decoders, **options) | list
    return sample[field]


def encode(field: str, value: Any) -> bytes:
    function = encoder(field)
    assert function is not None
    return function(value)


def film(container: str, video: str, audio: str | None) -> bytes:
    """Five frames of 64 × 48, at 10 frames per second, each of one gray, and half a second of sound."""
    stream = io.BytesIO()
    with av.open(stream, "w", format=container) as file:
        pictures: Any = file.add_stream(video, rate=10)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuvj420p" if video == "mjpeg" else "yuv420p"
        sound: Any = None if audio is None else file.add_stream(audio, rate=RATE)
        for gray in GRAYS:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), gray, np.uint8), format="rgb24")
            file.mux(pictures.encode(frame))
        file.mux(pictures.encode(None))
        if sound is not None:
            half = av.AudioFrame.from_ndarray(TONE[None, : RATE // 2], format="fltp", layout="mono")
            half.rate = RATE
            file.mux(sound.encode(half))
            file.mux(sound.encode(None))
    return stream.getvalue()


# ---- sound


@pytest.mark.parametrize(
    ("extension", "loss"), [("wav", 0), ("flac", 2**-23), ("ogg", 0.05), ("mp3", 0.05), ("opus", 0.05)]
)
def test_sound_goes_round(extension: str, loss: float) -> None:
    data = encode(extension, (STEREO, RATE))
    samples, rate = decoded(extension, data, numpy_audio)
    assert (samples.dtype, rate, type(rate)) == (np.float32, RATE, int)
    assert samples.shape == STEREO.shape
    assert np.abs(samples - STEREO)[:, RATE // 4 : -RATE // 4].max() <= loss


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "FLOAT", "ULAW"])
def test_wav_of_every_kind_is_what_soundfile_says(subtype: str) -> None:
    stream = io.BytesIO()
    soundfile.write(stream, STEREO.T, 8000, format="WAV", subtype=subtype)
    samples, rate = decoded("wav", stream.getvalue(), numpy_audio)
    stream.seek(0)
    expected, _ = soundfile.read(stream, dtype="float32", always_2d=True)
    np.testing.assert_array_equal(samples, expected.T)
    assert rate == 8000


def test_sound_as_tensors() -> None:
    data = encode("wav", (torch.from_numpy(TONE), 8000))
    samples, rate = decoded("a.wav", data, torch_audio)
    assert isinstance(samples, torch.Tensor)
    torch.testing.assert_close(samples, torch.from_numpy(TONE[None]), rtol=0, atol=0)
    assert rate == 8000


def test_sound_without_samples() -> None:
    samples, rate = decoded("wav", encode("wav", (np.zeros((2, 0)), 8000)), numpy_audio)
    assert (samples.shape, rate) == ((2, 0), 8000)


def test_only_wav_holds_no_samples() -> None:
    for extension in ("flac", "ogg", "opus", "mp3"):
        with pytest.raises(EncodeError, match="without frames"):
            encode(extension, (np.zeros((2, 0)), 8000))


@pytest.mark.parametrize(
    "value",
    [
        TONE,
        (TONE, RATE, 1),
        (list(TONE[:3]), RATE),
        ((TONE * 9999).astype("i2"), RATE),
        (TONE * 3, RATE),
        (TONE * np.nan, RATE),
        (TONE[None, None], RATE),
        (TONE, 0),
        (TONE, "fast"),
        (np.zeros((0, 3)), RATE),
    ],
    ids=lambda value: "",
)
@pytest.mark.parametrize("extension", ["wav", "mp3"])
def test_what_is_no_sound_is_not_written(value: Any, extension: str) -> None:
    with pytest.raises(EncodeError, match=r"expected sound|must be in -1..1|can't be written as"):
        encode(extension, value)


@pytest.mark.parametrize(
    ("extension", "container", "codec"), [("m4a", "mp4", "aac"), ("wma", "asf", "mp2"), ("aac", "mp4", "aac")]
)
def test_sound_that_ffmpeg_reads(extension: str, container: str, codec: str) -> None:
    samples, rate = decoded(extension, film(container, "mpeg4", codec), numpy_audio)
    assert (rate, samples.dtype) == (RATE, np.float32)
    assert np.abs(samples[0, 4096 : RATE // 2 - 4096]).max() == pytest.approx(0.5, abs=0.3)
    with pytest.raises(DecodeError, match="there is no sound"):
        decoded(extension, film(container, "mpeg4", None), numpy_audio)


@pytest.mark.parametrize(("extension", "container", "codec"), [("aac", "adts", "aac"), ("sox", "sox", "pcm_s32le")])
def test_sound_alone(extension: str, container: str, codec: str) -> None:
    samples, rate = decoded(extension, _sound_only(container, codec), numpy_audio)
    assert (rate, samples.dtype) == (RATE, np.float32)
    assert samples.shape[1] == pytest.approx(RATE // 2, abs=4096)


# ---- films


@pytest.mark.parametrize(
    ("extension", "container", "video", "audio"),
    [
        ("mp4", "mp4", "mpeg4", "aac"),
        ("mov", "mov", "mpeg4", "aac"),
        ("avi", "avi", "mpeg4", "mp2"),
        ("mkv", "matroska", "mpeg4", "libopus"),
        ("webm", "webm", "libvpx", "libopus"),
        ("wmv", "asf", "wmv2", "mp2"),
        ("mpg", "mpeg", "mpeg2video", "mp2"),
        ("mjpeg", "mjpeg", "mjpeg", None),
    ],
)
def test_films(extension: str, container: str, video: str, audio: str | None) -> None:
    data = film(container, video, audio)
    frames, samples, rates = decoded(extension, data, numpy_video)
    assert (frames.shape, frames.dtype) == ((5, 48, 64, 3), np.uint8)
    assert [abs(int(frame.mean()) - gray) < 6 for frame, gray in zip(frames, GRAYS)] == [True] * 5
    assert samples.dtype == np.float32
    if audio is None:
        assert samples.shape == (0, 0)
        assert "audio_fps" not in rates
    else:
        assert samples.shape[1] == pytest.approx(RATE // 2, abs=4096)
        assert rates == {"video_fps": 10.0, "audio_fps": RATE}


def test_films_as_tensors() -> None:
    data = film("mp4", "mpeg4", "aac")
    ours, arrays = decoded("mp4", data, torch_video), decoded("mp4", data, numpy_video)
    assert isinstance(ours[0], torch.Tensor)
    assert isinstance(ours[1], torch.Tensor)
    np.testing.assert_array_equal(ours[0].numpy(), arrays[0])
    np.testing.assert_array_equal(ours[1].numpy(), arrays[1])
    assert ours[2] == arrays[2]


def test_a_film_is_held_to_its_size() -> None:
    data = film("mp4", "mpeg4", "aac")
    frame = 64 * 48 * 3
    with pytest.raises(DecodeError, match="one picture of the film takes more than"):
        decoded("mp4", data, numpy_video, max_bytes=frame - 1)
    with pytest.raises(DecodeError, match=r"the (film|sound) takes more than"):
        decoded("mp4", data, numpy_video, max_bytes=5 * frame - 1)
    with pytest.raises(DecodeError, match=r"the (film|sound) takes more than"):
        decoded("mp4", data, numpy_video, max_bytes=5 * frame + 1000)
    with pytest.raises(DecodeError, match="there is no picture"):
        decoded("mkv", _sound_only("matroska", "libopus"), numpy_video)


def _sound_only(container: str, codec: str) -> bytes:
    stream = io.BytesIO()
    with av.open(stream, "w", format=container) as file:
        sound: Any = file.add_stream(codec, rate=RATE)
        half = av.AudioFrame.from_ndarray(TONE[None, : RATE // 2], format="fltp", layout="mono")
        half.rate = RATE
        file.mux(sound.encode(half))
        file.mux(sound.encode(None))
    return stream.getvalue()


# ---- what FFmpeg may open


@pytest.mark.parametrize("extension", [e for e, codec in CODECS.items() if codec.asked])
def test_no_file_makes_others_be_opened(extension: str, tmp_path: Any) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(film("mp4", "mpeg4", "aac"))
    lists = [
        f"ffconcat version 1.0\nfile '{secret}'\n",
        f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{secret}\n#EXT-X-ENDLIST\n",
        f"#EXTM3U\n#EXTINF:1,\n{secret}\n",
    ]
    with av.open(io.BytesIO(lists[0].encode()), options={"safe": "0", "protocol_whitelist": "file"}) as careless:
        assert careless.streams.video  # (the list is a good one)
    for text in lists:
        with pytest.raises(DecodeError):
            decoded(extension, text.encode(), numpy_audio, numpy_video)
