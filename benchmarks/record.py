"""Reads when the jobs of a cell were called and ran, which its processes write into files."""

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.adapters.harness import HEAD


class WrongRunsError(Exception):
    """A job was lost, or ran more often than it should."""


class Record:
    """The files of one kind, `runs` or `calls`, of all processes of a cell."""

    def __init__(self, folder: Path, kind: str, jobs: int) -> None:
        self._folder: Final = folder
        self._kind: Final = kind
        self._jobs: Final = jobs
        self._open: dict[Path, memoryview] = {}

    def _cells(self) -> list[memoryview]:
        for path in self._folder.glob(f"{self._kind}-*"):
            if path not in self._open and path.stat().st_size == 8 * (HEAD + self._jobs):
                with path.open("rb") as file:
                    self._open[path] = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)).cast("q")
        return list(self._open.values())

    def count(self) -> int:
        """Return how many times a job ran."""
        return sum(cells[0] for cells in self._cells())

    def moments(self, orders: range) -> list[int]:
        """Return when each of these jobs ran last, in nanoseconds; 0 for one that did not."""
        each: Sequence[list[int]] = [
            cells[HEAD + orders.start : HEAD + orders.stop].tolist() for cells in self._cells()
        ] or [[0] * len(orders)]
        return each[0] if len(each) == 1 else [max(moments) for moments in zip(*each, strict=True)]

    def check(self, orders: range, *, twice: int = 0) -> None:
        """Check that each of these jobs ran exactly once, except this many, which ran twice.

        Raises:
            WrongRunsError: It is not so.
        """
        files = self._cells()
        again = sum(cells[1] for cells in files)
        per_job = [sum(map(bool, moments)) for moments in zip(*([c[HEAD:].tolist() for c in files]), strict=True)]
        lost = sum(1 for order in orders if not per_job[order]) if per_job else len(orders)
        again += sum(number - 1 for number in per_job if number > 1)
        if lost or again != twice:
            raise WrongRunsError(f"of {len(orders):,} jobs {lost:,} did not run, and {again:,} runs were not the first")
