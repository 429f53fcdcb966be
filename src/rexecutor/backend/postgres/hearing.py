"""What a backend hears from the others on its schema, and whom it wakes then."""

from collections.abc import Callable
from math import inf
from typing import Final

from rexecutor.backend.postgres.listener import Listener
from rexecutor.backend.postgres.notifier import EVERYTHING
from rexecutor.backend.postgres.notifying import ANNOUNCE_SECONDS, AWAITED, CANCEL, ENDED, GIVEN_BACK
from rexecutor.backend.wakeups import Wakeups
from rexecutor.clock import Clock, unique_id

AWAITED_SECONDS: Final = 30.0
"""Seconds for which a backend notifies of ended jobs after another one has announced that somebody waits for them."""


class Hearing:
    """Listens from the first wait on, wakes those whom a notification concerns, and knows who waits elsewhere."""

    def __init__(
        self,
        conninfo: str,
        schema: str,
        *,
        listens: bool,
        clock: Clock,
        wakeups: Wakeups,
        notify_cancel: Callable[[], None],
        forget_marks: Callable[[], None],
    ) -> None:
        """Make the hearing of one backend, which is not connected yet.

        Args:
            conninfo: Connection string of the server.
            schema: The schema whose notifications it listens for.
            listens: False if it is never to listen.
            clock: The backend's clock.
            wakeups: Wakes those who wait for jobs or for their end.
            notify_cancel: Called if the cancel of a running job may have been requested.
            forget_marks: Called if jobs may be due again before the low marks.
        """
        self.listener: Listener | None = Listener(conninfo, schema, self.hear) if listens else None
        self.token: Final = AWAITED + unique_id()
        """Payload of this backend's announcements that somebody waits here for the end of jobs."""
        self.announced = -inf
        """When this backend last announced that, in the clock's monotonic seconds."""
        self.awaited = -inf
        """When another backend was last heard to announce that."""
        self._clock = clock
        self._wakeups = wakeups
        self._notify_cancel = notify_cancel
        self._forget_marks = forget_marks

    @property
    def must_announce(self) -> bool:
        """Whether a wait for the end of jobs has to be announced again: its notifications will be heard here."""
        is_hearing = self.listener is not None and self.listener.is_hearing
        return is_hearing and self._clock.monotonic() - self.announced >= ANNOUNCE_SECONDS

    def note_announced(self) -> None:
        """Note that the wait has been announced now."""
        self.announced = self._clock.monotonic()

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for the end of jobs at another backend."""
        return self._clock.monotonic() - self.awaited < AWAITED_SECONDS

    def start(self) -> None:
        """Start to listen; does nothing if it listens already. Call it in the event loop."""
        if self.listener is not None:
            self.listener.start()

    async def stop(self) -> None:
        """Stop listening."""
        if self.listener is not None:
            await self.listener.stop()

    def forget(self) -> None:
        """Drop what is left of listening in an event loop that has ended."""
        if self.listener is not None:
            self.listener.forget()

    def hear(self, payload: str | None) -> None:
        """Wake those who wait. The payload is None if notifications may have been missed."""
        if payload is not None and payload.startswith(AWAITED):
            if payload != self.token:
                self.awaited = self._clock.monotonic()
            self._wakeups.notify(is_end=True)
            return
        if payload in {None, GIVEN_BACK, EVERYTHING}:
            self._forget_marks()
        if payload in {None, CANCEL, EVERYTHING}:
            self._notify_cancel()
        if payload != CANCEL:
            self._wakeups.notify(is_end=payload == ENDED)
