"""Wall clocks that are wrong, and step, for one process or for all: by libfaketime, on the machine's real ones."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

_PLACES: Final = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")


def library() -> Path | None:
    """Return the path of libfaketime; None if it is not installed."""
    return next((found for place in _PLACES for found in Path("/").glob(place.lstrip("/"))), None)


def lacks() -> str | None:
    """Return what this machine lacks for it."""
    return None if library() is not None else "libfaketime is not installed (Debian: faketime)"


class WrongClock:
    """One that may be set while processes read it; their monotonic clock stays as it is."""

    def __init__(self, file: Path, offset: timedelta) -> None:
        """Begin so much ahead of the machine's clock, or behind it."""
        self._file = file
        self.set(offset)

    def set(self, offset: timedelta) -> None:
        """Let it step, at once."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset.total_seconds():+.0f}\n")
        new.rename(self._file)

    @property
    def environment(self) -> Mapping[str, str]:
        """What has a process read it."""
        return {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
