"""Prints the stored forms of values with sets, for `test_hash_order`: `python -m tests.model.hash_order_program`."""

import json
import sys
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from enum import Enum
from typing import Any

import msgspec
import pydantic
from pydantic.dataclasses import dataclass as pydantic_dataclass

from rexecutor import Executor, Job, UniquenessCriteria, Where
from rexecutor.jobs.schedules import cron_schedule
from rexecutor.model.job import Limits
from rexecutor.testing.expectation import UNSET, checked_expectation
from tests.model.typed_data import codec

WORDS = [f"word {number}" for number in range(20)]


class Kind(Enum):
    A = "a"
    B = "b"
    C = "c"


@dataclass(frozen=True)
class Tagged:
    name: str
    tags: frozenset[str] = frozenset(WORDS)


class Listed(msgspec.Struct, array_like=True, tag="listed"):
    tags: set[str]
    more: dict[int, frozenset[str]]


class Renamed(msgspec.Struct, rename="camel"):
    some_tags: set[str]
    by_name: dict[str, Any] = {}


class Inner(pydantic.BaseModel):
    tags: set[str] = pydantic.Field(default=set(WORDS), alias="labels")
    nested: set[frozenset[str]] = {frozenset(WORDS[:3]), frozenset(WORDS[3:6])}
    waits: set[frozenset[timedelta]] = {frozenset(timedelta(days, days) for days in range(5))}
    bytes_too: frozenset[bytes] = frozenset(word.encode() for word in WORDS)


class Outer(pydantic.BaseModel):
    inner: list[Inner] = [Inner()]
    by_name: dict[str, set[int]] = {"b": set(range(5)), "a": {3, 1, 2**40}}


class Root(pydantic.RootModel[set[str]]):
    pass


@pydantic_dataclass
class Both:
    tags: set[str] = field(default_factory=lambda: set(WORDS))
    inner: Inner = field(default_factory=Inner)


class WithSet(Executor[set[str]]):
    name = "with_set"

    async def execute(self, job: Job[set[str]]) -> None: ...


VALUES: dict[str, tuple[Any, Any]] = {
    "a set of texts": (set[str], set(WORDS)),
    "a frozenset of enums": (frozenset[Kind], frozenset(Kind)),
    "a set of sets": (set[frozenset[str]], {frozenset(WORDS[:2]), frozenset(WORDS[2:]), frozenset[str]()}),
    "a set of tuples that Python cannot compare": (set[tuple[str, int | None]], {("a", 1), ("a", None), ("b", 1)}),
    "a set of dataclasses with sets": (set[Tagged], {Tagged("a"), Tagged("b", frozenset("xyz")), Tagged("c")}),
    "a set of texts and numbers": (set[int | str | None], {*WORDS, 1, 10, 9, None}),
    "a Struct like an array": (Listed, Listed(set(WORDS), {2: frozenset(WORDS), 1: frozenset("ab")})),
    "a Struct with other names": (Renamed, Renamed(set(WORDS), {"b": 1, "a": 2})),
    "dicts in lists": (list[dict[str, set[str]]], [{"b": set(WORDS)}, {"a": set("xyz")}]),
    "a pydantic model": (Outer, Outer()),
    "a pydantic model in a dict": (dict[str, Inner | None], {"b": Inner(), "a": None}),
    "a pydantic root model": (Root, Root(set(WORDS))),
    "a pydantic dataclass": (list[Both], [Both()]),
}


def forms() -> dict[str, str]:
    """Return the stored form of each value, and of what it is compared by."""
    texts = {f"stored: {what}": codec(kind).encode(value) for what, (kind, value) in VALUES.items()}
    texts |= {f"asked: {what}": repr(Where.data_equals(value)) for what, (_, value) in VALUES.items()}
    texts |= {f"metadata: {what}": repr(Where.metadata_equals(value)) for what, (_, value) in VALUES.items()}
    texts |= {f"key: {what}": str(UniquenessCriteria.by_key(value).key) for what, (_, value) in VALUES.items()}
    builder = WithSet.builder().with_data(set(WORDS))
    schedule = cron_schedule(
        builder, "@daily", limits=Limits(), timezone=UTC, schedule_id=None, catch_up="skip", window=timedelta(minutes=1)
    )
    texts["a schedule's identity"] = schedule.id
    for executor in (None, WithSet):
        given: Any = checked_expectation(
            "assert_enqueued",
            Limits(),
            executor,
            data=set(WORDS),
            metadata=UNSET,
            tags=(),
            at=None,
            after=None,
            before=None,
        )
        texts[f"assert_enqueued for {executor and executor.name}"] = str(given.where)
    return texts


if __name__ == "__main__":
    sys.stdout.write(json.dumps(forms()))
