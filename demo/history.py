"""A file in which workers record what they did, one line each, to compare with the store."""

import os
from pathlib import Path
from typing import TypeAlias

import msgspec

from demo.findings import Findings


class Started(msgspec.Struct, frozen=True, tag="started"):
    """A worker started an attempt of a job."""

    id: int
    attempt: int
    pid: int


class Ended(msgspec.Struct, frozen=True, tag="ended"):
    """An attempt of a job ended, with these findings."""

    id: int
    findings: Findings


Entry: TypeAlias = Started | Ended

_ENCODER = msgspec.json.Encoder()
_DECODER: msgspec.json.Decoder[Entry] = msgspec.json.Decoder(Entry)


class History:
    """A file that several processes and threads append to. Each line is a single write, so lines never mix."""

    def __init__(self, path: Path) -> None:
        """Open the file, and create it if it is missing."""
        self._path = path
        self._descriptor = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600)

    def write(self, entry: Entry) -> None:
        """Append an entry. Any thread may call it."""
        os.write(self._descriptor, _ENCODER.encode(entry) + b"\n")

    def read(self) -> list[Entry]:
        """Return all entries so far, in the order in which they were written."""
        return _DECODER.decode_lines(self._path.read_bytes())

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
