"""Bytes to values and back, by a field's extension: one table for both directions.

A codec knows bytes and values only; samples, streams and shards may not enter here. Decoders run no code from the
data. Heavy libraries are imported with the first value that needs them.

## Where the values are not webdataset's

For every extension that webdataset 1.0.2 knows, the values here are the same and files are read by both, except:

| what | webdataset | here | why |
|---|---|---|---|
| `cls` with underscores | `1_0` is 10 | an error | it is how Python writes numbers, no one else |
| `cls` of what is no integer | True is written as `True` | an error | it could not be read back |
| `class`, `count`, `msgpack` | written, not read | read, too | one table for both directions |
| `json` null, nil in `mp`, None in `pyd` | the file's bytes | None | null is a value |
| `json` of a str | taken for a finished document | a JSON string | bytes are what is finished |
| str in a field of any name | written as UTF-8 | only into text | else it could not be read back |
| `json` as written | spaces, `\\u00fc` | compact, UTF-8 | smaller; the values are the same |
| `pyd` `pickle` `pkl` | unpickled | an `UntrustedDataError` until `trust={"pickle"}` | a pickle can run any code |
| `pth` with objects in it | unpickled | an `UntrustedDataError` until `trust={"torch"}` | the same |
| `cbor` tags | `Tag` objects | dates, decimals, sets … | cbor2 is kept up, the package cbor is not |
| `cbor` with more behind it | passed over | an error | nothing is lost in silence |
| `gz` | gzip | gz bz2 xz zst lz4, one in the other, too | |
| `gz` of bytes, as written | compressed | written as they are | what was read is written back the same |
| `gz` without end | fills the memory | an error beyond `max_bytes` | |
| `pbm`, `pgm` as written | an error | as they should be | |
| pictures of rare formats (`jp2`, `tga`, `eps` …) | opened by Pillow | bytes | some start other programs |
| pictures named as another format | opened | as `images.ALLOWED` says | the same |
| TXT | bytes | as txt | names of fields are in lower case |
| several decoders for one field | the first | the longest extension | so `decode("rgb", {"seg.png": f})` works |
| None from a function for an extension | asks the next | is the value | a function of one extension has the say |
| values that are no bytes | an error unless `partial=True` | left alone unless `partial=False` | it does no harm |
| bytes in a field like `__url__` | decoded as UTF-8 | left alone | metadata is no data |
| fields with one `_` before their names | decoded | left alone | the same |

Pictures have a list of their own, in `images`.
"""

from streamwds.codecs.codec import Codec, Rules
from streamwds.codecs.images import jpeg, png, webp
from streamwds.codecs.plan import (
    Continue,
    by_glob,
    by_table,
    decoder,
    decompress,
    handle_extension,
    must_decode,
    numpy_audio,
    numpy_video,
    torch_audio,
    torch_video,
)
from streamwds.codecs.table import CODECS, encoder

__all__ = [
    "CODECS",
    "Codec",
    "Continue",
    "Rules",
    "by_glob",
    "by_table",
    "decoder",
    "decompress",
    "encoder",
    "handle_extension",
    "jpeg",
    "must_decode",
    "numpy_audio",
    "numpy_video",
    "png",
    "torch_audio",
    "torch_video",
    "webp",
]
