"""Codecs of formats that can run code when they are read: Python's pickles and torch's files.

Writing them is harmless. Reading is refused until the user says `decode(trust=…)`, except for files of torch that hold
nothing but tensors and plain data.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from typing import Any

from streamwds.codecs.codec import Codec, Rules, describe, library
from streamwds.errors import EncodeError, UntrustedDataError

__all__ = ["CODECS", "decode_pickle", "decode_torch", "encode_pickle", "encode_torch"]


# ---- pyd pickle pkl


def decode_pickle(data: bytes, rules: Rules) -> Any:
    """Whatever was pickled, if `rules.trust` has "pickle": reading it runs any code that the file's author liked.

    >>> decode_pickle(pickle.dumps([1, 2]), Rules(trust={"pickle"}))
    [1, 2]
    >>> decode_pickle(pickle.dumps([1, 2]), Rules())
    Traceback (most recent call last):
    ...
    streamwds.errors.UntrustedDataError: reading a pickle can run any code; decode(trust={"pickle"}) if you know who...
    """
    if "pickle" not in rules.trust:
        raise UntrustedDataError(
            'reading a pickle can run any code; decode(trust={"pickle"}) if you know who wrote these files, or leave '
            "them undecoded with decode(only=…)"
        )
    return pickle.loads(data)


def encode_pickle(value: Any) -> bytes:
    """Any object that can be pickled, by the default protocol. Prefer json, npy or msgpack, which all may read.

    >>> pickle.loads(encode_pickle({1, 2}))
    {1, 2}
    """
    if isinstance(value, bytes):
        return value
    try:
        return pickle.dumps(value)
    except Exception as error:  # (an object may raise what it likes)
        raise EncodeError(f"expected what can be pickled (or bytes, already pickled), got {describe(value)}") from error


# ---- pth pt


def decode_torch(data: bytes, rules: Rules) -> Any:
    """What `torch.save` wrote, on the CPU, read with `weights_only=True`: tensors and plain data.

    With "torch" in `rules.trust`, anything: reading then runs any code that the file's author liked. Without it,
    raises `UntrustedDataError` for whatever holds more, and under torch before 2.6, whose check can be got round
    (CVE-2025-32434). `ValueError` for a file that is larger than `rules.max_bytes` when it is unpacked.
    """
    torch = library("torch", "torch")
    trusted = "torch" in rules.trust
    if not trusted and tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) < (2, 6):
        raise UntrustedDataError(
            f"torch {torch.__version__} does not read files from strangers safely: install 2.6 or later, or "
            'decode(trust={"torch"}) if you know who wrote them'
        )
    stream = io.BytesIO(data)
    if zipfile.is_zipfile(stream):  # (torch writes it uncompressed, but reads it compressed, too)
        with zipfile.ZipFile(stream) as archive:
            rules.check_bytes(sum(member.file_size for member in archive.infolist()), "the file, unpacked,")
    stream.seek(0)
    try:
        return torch.load(stream, map_location="cpu", weights_only=not trusted)
    except pickle.UnpicklingError as error:
        if trusted:
            raise
        reason = str(error).rpartition("WeightsUnpickler error:")[2].strip().partition("\n")[0]
        raise UntrustedDataError(
            'the file is broken, or holds more than tensors and plain data: decode(trust={"torch"}) if you know who '
            f"wrote it; {reason}"
        ) from error


def encode_torch(value: Any) -> bytes:
    """A tensor, or anything else that `torch.save` takes; with more than tensors and plain data in it, readers must
    trust it."""
    if isinstance(value, bytes):
        return value
    torch = library("torch", "torch")
    stream = io.BytesIO()
    try:
        torch.save(value, stream)
    except Exception as error:  # (an object may raise what it likes)
        raise EncodeError(f"expected what torch can save (or bytes, already saved), got {describe(value)}") from error
    return stream.getvalue()


CODECS = (
    Codec(("pyd", "pickle", "pkl"), decode_pickle, encode_pickle, ruled=True),
    Codec(("pth", "pt"), decode_torch, encode_torch, ruled=True),
)
