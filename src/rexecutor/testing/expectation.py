"""`Expectation`: the checked criteria of `assert_enqueued` and `refute_enqueued`."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import msgspec

from rexecutor.jobs.executor import ExecutorLike, executor_class
from rexecutor.jobs.types import Codecs, codecs_of
from rexecutor.model.checks import checked_moment, checked_tags
from rexecutor.model.codec import Codec, canonical, compared
from rexecutor.model.job import JobRecord, Limits
from rexecutor.model.where import DataEquals, Everything, ExecutorIn, MetadataEquals, Where
from rexecutor.testing.differences import shortened, value_differences

UNSET: Final = msgspec.UNSET
"""Default of arguments that were not given, where None has a meaning."""

_WITHOUT: Final = "null"
_NONE: Final = timedelta(0)
_AT_BOUND: Final = "exactly the bound, which does not count"


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """Which jobs a test expects, or expects not. A criterion that was not given is None, or an empty tuple for tags."""

    what: str
    """Name of the public function that was called, for messages."""
    executor: str | None
    codecs: Codecs[Any, Any, Any]
    data: str | None
    """Data, as JSON text."""
    metadata: str | None
    """Metadata, as JSON text; `null` for jobs without metadata."""
    tags: tuple[str, ...]
    at: datetime | None
    after: datetime | None
    before: datetime | None

    @property
    def of_executor(self) -> Where:
        """The expression for all jobs of the executor, or for all jobs if no executor was given."""
        return Everything() if self.executor is None else ExecutorIn(frozenset({self.executor}))

    @property
    def where(self) -> Where:
        """The expression for the jobs that meet all criteria."""
        where = self.of_executor
        if self.data is not None:
            where &= DataEquals(canonical(self.data))
        if self.metadata is not None:
            where &= MetadataEquals(canonical(self.metadata))
        if self.tags:
            where &= Where.tagged_by_all_of(*self.tags)
        if self.at is not None:
            where &= Where.scheduled_at_equals(self.at)
        if self.after is not None:
            where &= Where.scheduled_at_after(self.after)
        if self.before is not None:
            where &= Where.scheduled_at_before(self.before)
        return where

    def described(self) -> Iterator[str]:
        """Yield one line of text for each criterion."""
        yield "of any executor" if self.executor is None else f"of {self.executor}"
        if self.data is not None:
            yield f"with data {shortened(self.data)}"
        if self.metadata is not None:
            yield "without metadata" if self.metadata == _WITHOUT else f"with metadata {shortened(self.metadata)}"
        if self.tags:
            yield f"tagged with {quoted(self.tags)}"
        for word, bound in (("at", self.at), ("after", self.after), ("before", self.before)):
            if bound is not None:
                yield f"scheduled {word} {moment_text(bound)}"

    def differences(self, record: JobRecord) -> list[list[str]]:
        """Return how a job of the executor differs: a list of lines for each criterion that it does not meet."""
        return [lines for lines in self._compared(record) if lines]

    def _compared(self, record: JobRecord) -> Iterator[list[str]]:
        if self.data is not None:
            yield value_differences("data", self.data, record.data)
        if self.metadata is not None:
            yield value_differences("metadata", self.metadata, record.metadata or _WITHOUT)
        missing = [tag for tag in self.tags if tag not in record.tags]
        if missing:
            yield [f"tags: {quoted(record.tags) or 'none'}; {quoted(missing)} expected too"]
        yield self._time_differences(record.scheduled_at)

    def _time_differences(self, moment: datetime) -> list[str]:
        wrong: list[str] = []
        if self.at is not None and moment != self.at:
            late = moment - self.at
            wrong.append(f"{late} later than expected" if late > _NONE else f"{-late} earlier than expected")
        if self.after is not None and moment <= self.after:
            wrong.append(f"{self.after - moment} too early" if moment < self.after else _AT_BOUND)
        if self.before is not None and moment >= self.before:
            wrong.append(f"{moment - self.before} too late" if moment > self.before else _AT_BOUND)
        return [f"scheduled at: {moment_text(moment)}, {', '.join(wrong)}"] if wrong else []


def checked_expectation(
    what: str,
    limits: Limits,
    for_executor: ExecutorLike | None,
    *,
    data: Any,
    metadata: Any,
    tags: Collection[str],
    at: datetime | None,
    after: datetime | None,
    before: datetime | None,
) -> Expectation:
    """Check the arguments of `assert_enqueued` or `refute_enqueued` and return them as an `Expectation`.

    Raises:
        ConfigurationError: An argument cannot work.
        EncodeError: The data or the metadata is not of the executor's type.
    """
    codecs: Codecs[Any, Any, Any]
    if for_executor is None:
        name = None
        codecs = Codecs(Codec[Any](Any, owner=what, what="data"), Codec[Any](Any, owner=what, what="metadata"), None)
        as_data, as_metadata = (partial(compared, owner=what, what=field) for field in ("data", "metadata"))
    else:
        executor_cls = executor_class(f"{what}: for_executor", for_executor)
        name, codecs = executor_cls.name, codecs_of(executor_cls, limits)
        as_data, as_metadata = codecs.data.encode, codecs.metadata.encode
    return Expectation(
        what=what,
        executor=name,
        codecs=codecs,
        data=None if data is UNSET else as_data(data),
        metadata=None if metadata is UNSET else _WITHOUT if metadata is None else as_metadata(metadata),
        tags=tuple(dict.fromkeys(checked_tags(f"{what}: tagged_with", tags))),
        at=_moment(f"{what}: scheduled_at", at),
        after=_moment(f"{what}: scheduled_after", after),
        before=_moment(f"{what}: scheduled_before", before),
    )


def moment_text(moment: datetime) -> str:
    """Return the moment as readable text, in UTC."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ") + " UTC"


def quoted(texts: Collection[str]) -> str:
    """Return the texts as JSON strings, separated by commas."""
    return ", ".join(msgspec.json.encode(text).decode() for text in texts)


def _moment(what: str, moment: datetime | None) -> datetime | None:
    return None if moment is None else checked_moment(what, moment)
