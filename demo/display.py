"""What is seen while the demo runs: a live bar on a terminal, a few plain lines elsewhere."""

import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Protocol, Self

EVERY: Final = 2.0
"""Without a terminal, there is a line on the progress every so many seconds."""


@dataclass(frozen=True, slots=True)
class Tally:
    """How far the jobs are."""

    enqueued: int
    scheduled: int
    executing: int
    retryable: int
    complete: int
    discarded: int
    cancelled: int
    seconds: float
    """Since they were enqueued."""

    @property
    def ended(self) -> int:
        """How many nothing will happen to any more."""
        return self.complete + self.discarded + self.cancelled

    def __str__(self) -> str:
        """Answer the words beside the bar."""
        rate = self.ended / self.seconds if self.seconds else 0.0
        return (
            f"scheduled {self.scheduled}  executing {self.executing}  retryable {self.retryable}"
            f"  complete {self.complete}  {rate:.0f}/s"
        )


class Display(Protocol):
    """Shows how it goes; a context manager."""

    def show(self, tally: Tally) -> None:
        """Show how far the jobs are."""
        ...

    def say(self, text: str) -> None:
        """Tell of something that happened."""
        ...

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        ...


class LiveBar:
    """A progress bar that moves, on standard output."""

    def __init__(self) -> None:
        """Prepare the bar."""
        from rich.console import Console  # only a terminal needs these
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._progress = Progress(
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("{task.description}", markup=False),
            console=Console(soft_wrap=True),
        )
        self._task = self._progress.add_task("", total=None)

    def show(self, tally: Tally) -> None:
        """Move the bar."""
        self._progress.update(self._task, total=tally.enqueued, completed=tally.ended, description=str(tally))

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(text, markup=False, highlight=False)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it is."""
        self._progress.stop()


class PlainLines:
    """Lines without control characters, on standard error: standard output is for the figures."""

    def __init__(self) -> None:
        """Begin with nothing shown."""
        self._shown = 0.0

    def show(self, tally: Tally) -> None:
        """Print a line, now and then."""
        if tally.seconds >= self._shown + EVERY:
            self._shown = tally.seconds
            self.say(f"{tally.ended}/{tally.enqueued}  {tally}")

    def say(self, text: str) -> None:
        """Print a line."""
        sys.stderr.write(text + "\n")

    def __enter__(self) -> Self:
        """Do nothing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""
