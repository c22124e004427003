"""Codecs of sound and of films, which are decoded only where `decode` is asked to (`torch_audio`, `torch_video` …).

Sound is a pair: float32 samples of the shape channels × frames, in −1..1, and the rate in Hz. A film is a triple: its
frames, uint8, frames × height × width × 3 (RGB); its sound, as above, with no channels and no frames if it has none;
and a dict with `video_fps`, in frames per second, and `audio_fps`, in Hz, as far as there is picture or sound.

libsndfile reads and writes flac, mp3, ogg, opus and wav; FFmpeg (through PyAV) reads everything else. Whatever the
file says of itself, FFmpeg opens only containers that the extension allows: among the others are playlists, which name
files and addresses for it to open.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from streamwds.codecs.codec import Codec, Decode, Encode, Rules, describe, library, to_array
from streamwds.errors import EncodeError

__all__ = [
    "AUDIO",
    "CODECS",
    "VIDEO",
    "Film",
    "Sound",
    "as_tensors",
    "decode_audio",
    "decode_sound",
    "decode_video",
    "encode_audio",
]

Sound: TypeAlias = "tuple[NDArray[np.float32], int]"
Film: TypeAlias = "tuple[NDArray[np.uint8], NDArray[np.float32], dict[str, float]]"


# ---- sound


def decode_audio(data: bytes, rules: Rules) -> Sound:
    """The sound of a flac, mp3, ogg, opus or wav file; needs the extra `audio`.

    Raises `ValueError` for what is none, and if it takes more than `rules.max_bytes`.
    """
    soundfile = library("soundfile", "audio")
    try:
        opened = soundfile.SoundFile(io.BytesIO(data))
    except soundfile.LibsndfileError as error:  # (its message shows the address of the stream)
        raise ValueError(f"libsndfile can't read it: {error.error_string}") from error
    with opened as file:
        pieces: list[NDArray[np.float32]] = []
        size = 0
        # (piece by piece, since the number of frames is only what the header claims)
        while len(piece := file.read(1 + (1 << 18) // file.channels, dtype="float32", always_2d=True)):
            size += piece.nbytes
            rules.check_bytes(size, "the sound")
            pieces.append(piece.T)
        empty = np.zeros((file.channels, 0), np.float32)
        return np.concatenate([empty, *pieces], axis=1), int(file.samplerate)


_SUBTYPES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "wav": ("WAV", "FLOAT"),
        "flac": ("FLAC", "PCM_24"),
        "ogg": ("OGG", "VORBIS"),
        "opus": ("OGG", "OPUS"),
        "mp3": ("MP3", "MPEG_LAYER_III"),
    }
)


def encode_audio(value: Any, extension: str) -> bytes:
    """A pair (samples, rate in Hz) as a file of `extension`: wav flac ogg opus mp3; needs the extra `audio`.

    Samples are floats in −1..1, an array or tensor channels × frames, or of the frames alone (one channel). wav keeps
    every float32, flac rounds to 24 bits; ogg, opus and mp3 lose what one hardly hears. opus has the rates 8000, 12000,
    16000, 24000 and 48000 only. Sound without frames can be written as wav only.
    """
    if isinstance(value, bytes):
        return value
    samples = to_array(value[0]) if isinstance(value, tuple) and len(value) == 2 else None
    if samples is None or samples.dtype.kind != "f" or samples.ndim not in (1, 2) or not samples.shape[0]:
        raise EncodeError(
            "expected sound: a pair of float samples, channels × frames, and their rate in Hz (or bytes, already "
            f"encoded), got {describe(value) if samples is None else describe(samples)}"
        )
    if samples.size and not float(np.abs(samples).max()) <= 1:  # (so written, NaN is refused too)
        raise EncodeError("samples of sound must be in -1..1")
    if not samples.size and extension != "wav":  # (libsndfile would write what it can't read)
        raise EncodeError(f"sound without frames can't be written as {extension}")
    soundfile = library("soundfile", "audio")
    container, subtype = _SUBTYPES[extension]
    stream = io.BytesIO()
    try:
        soundfile.write(stream, samples.T.astype(np.float32), value[1], format=container, subtype=subtype)
    except (soundfile.SoundFileError, TypeError, ValueError) as error:
        raise EncodeError(
            f"{describe(samples)} at the rate {value[1]!r} can't be written as {extension}: {error}"
        ) from error
    return stream.getvalue()


# ---- what FFmpeg reads

_ASF, _MATROSKA, _MPEG, _MP4, _OGG = "asf", "matroska,webm", "mpeg,mpegts,mpegvideo", "mov,mp4,m4a,3gp,3g2,mj2", "ogg"
_CONTAINERS: Mapping[str, str] = MappingProxyType(
    {
        "m4a": _MP4,
        "aac": f"aac,{_MP4}",
        "wma": _ASF,
        "sox": "sox",
        "mp4": _MP4,
        "mov": _MP4,
        "mjpeg": "mjpeg",
        "avi": "avi",
        "h264": "h264",
        "mpg": _MPEG,
        "ogv": _OGG,
        "webm": _MATROSKA,
        "mkv": _MATROSKA,
        "wmv": _ASF,
    }
)
"""FFmpeg's names of the containers that an extension allows."""


def _opened(data: bytes, rules: Rules, extension: str) -> Any:
    options = {"format_whitelist": _CONTAINERS[extension], "protocol_whitelist": "", "max_pixels": _max_pixels(rules)}
    av = library("av", "video")
    try:
        return av.open(io.BytesIO(data), options=options)
    except av.error.FFmpegError as error:
        raise ValueError(
            f"FFmpeg can't read it as one of {_CONTAINERS[extension]}, which .{extension} may be: {error.strerror}"
        ) from error


def _max_pixels(rules: Rules) -> str:
    """The largest picture that FFmpeg may make room for: twice what is let by, since it counts edges that it adds."""
    return str(2 * rules.max_bytes // 3 + (1 << 16))


def _read(container: Any, streams: list[Any], rules: Rules) -> tuple[list[NDArray[np.uint8]], NDArray[np.float32]]:
    """The pictures and the samples of some streams of a container."""
    av = library("av", "video")
    resampler = av.AudioResampler(format="fltp")
    pictures: list[NDArray[np.uint8]] = []
    pieces: list[NDArray[np.float32]] = []
    size = 0
    for frame in container.decode(streams):
        if isinstance(frame, av.VideoFrame):
            size += 3 * frame.width * frame.height
            rules.check_bytes(size, "the film")
            pictures.append(frame.to_ndarray(format="rgb24"))
        else:
            for even in resampler.resample(frame):
                pieces.append(even.to_ndarray())
                size += pieces[-1].nbytes
                rules.check_bytes(size, "the sound")
    return pictures, np.concatenate(pieces, axis=1) if pieces else np.zeros((0, 0), np.float32)


def decode_sound(data: bytes, rules: Rules, extension: str) -> Sound:
    """The sound of an m4a, aac, wma or sox file; needs the extra `audio`.

    Raises `ValueError` for what FFmpeg can't read, if there is no sound, and if it takes more than `rules.max_bytes`;
    `av.error.FFmpegError` (mostly a ValueError, too) for what turns out to be damaged.
    """
    with _opened(data, rules, extension) as container:
        if not container.streams.audio:
            raise ValueError("there is no sound in the file")
        sound = container.streams.audio[0]
        _, samples = _read(container, [sound], rules)
        return samples, int(sound.rate)


# ---- films


def decode_video(data: bytes, rules: Rules, extension: str) -> Film:
    """A film: frames, sound, and the rates of both; needs the extra `video`.

    Raises as `decode_sound`; `rules.max_bytes` holds for pictures and sound together (43 frames of 1920×1080, unless
    you allow more).
    """
    with _opened(data, rules, extension) as container:
        if not container.streams.video:
            raise ValueError("there is no picture in the file")
        video, sound = container.streams.video[0], container.streams.audio[:1]
        rules.check_bytes(3 * video.width * video.height, "one picture of the film")
        video.codec_context.options = {"max_pixels": _max_pixels(rules)}  # (they may grow on the way)
        pictures, samples = _read(container, [video, *sound], rules)
        rates = {} if video.average_rate is None else {"video_fps": float(video.average_rate)}
        if sound:
            rates["audio_fps"] = int(sound[0].rate)
    return np.stack(pictures) if pictures else np.zeros((0, 0, 0, 3), np.uint8), samples, rates


def as_tensors(data: bytes, decode: Decode) -> tuple[Any, ...]:
    """What `decode` gives, its arrays as torch tensors over the same memory."""
    torch = library("torch", "torch")
    return tuple(torch.from_numpy(part) if isinstance(part, np.ndarray) else part for part in decode(data))


AUDIO = ("flac", "mp3", "ogg", "opus", "wav", "m4a", "aac", "wma", "sox")
VIDEO = ("mp4", "ogv", "mjpeg", "avi", "mov", "h264", "mpg", "webm", "wmv", "mkv")


def _codec(extension: str) -> Codec:
    decode: Any = decode_audio
    encode: Encode | None = None
    if extension in _SUBTYPES:
        encode = functools.partial(encode_audio, extension=extension)
    else:
        decode = functools.partial(decode_sound if extension in AUDIO else decode_video, extension=extension)
    return Codec((extension,), decode, encode, ruled=True, asked=True)


CODECS = tuple(map(_codec, (*AUDIO, *VIDEO)))
