"""The table of content types that `/invocations` reads and writes."""

from collections.abc import Callable
from dataclasses import dataclass

from serve.formats.arrays import Floats, Numbers
from serve.formats.csv_codec import decode_csv, encode_csv
from serve.formats.json_codec import decode_json, encode_json
from serve.formats.npy_codec import decode_npy, encode_npy


@dataclass(frozen=True)
class Codec:
    """The two functions of a content type; `decode` raises a RequestError for a wrong body."""

    decode: Callable[[bytes], Numbers]
    encode: Callable[[Floats], bytes]


JSON = "application/json"
CODECS = {
    JSON: Codec(decode_json, encode_json),
    "text/csv": Codec(decode_csv, encode_csv),
    "application/x-npy": Codec(decode_npy, encode_npy),
}
"""Codecs by content type; the first is the default of replies."""
