"""Jobs that no store should hold: as an application gives them, and as they are written by hand."""

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from rexecutor import JobBuilder, UniquenessCriteria
from tests.faults.programs.typed_worker import Anything, Number, Real, Text
from tests.faults.programs.typed_worker import Mapping as MappingJob

Make = Callable[[], JobBuilder[Any, Any, Any]]

MEGABYTE: Final = 1024 * 1024


def deep(levels: int) -> list[Any]:
    """Return lists in lists."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


CYCLE: Final[list[Any]] = []
CYCLE.append(CYCLE)

VALUES: Final[Mapping[str, Any]] = {
    "10 MB": "x" * 10 * MEGABYTE,
    "NUL": "a\0b",
    "lone surrogate": "a\ud800b",
    "NaN": float("nan"),
    "infinity": float("inf"),
    "minus infinity": float("-inf"),
    "an int of 10^5 digits": 10**99_999,
    "depth 10^5": deep(100_000),
    "two keys that JSON makes one": {1: 1, "1": 2},
    "an object": object(),
    "a cycle": CYCLE,
}
"""Values that must be refused, wherever they stand in a job's data, metadata or key."""

KEPT: Final[Mapping[str, Any]] = {
    "2^64": 2**64,
    "-2^63 - 1": -(2**63) - 1,
    "2^200": 2**200,
    "empty": "",
    "1e308": 1e308,
}
"""Values that must either be refused or come back as they were."""


def wrapped(value: Any, chance: random.Random) -> Any:
    """Return the value, nested somewhere in others."""
    for _ in range(chance.randrange(4)):
        value = {"key": value} if chance.random() < 0.5 else [1, value]
    return value


def given(chance: random.Random) -> dict[str, Make]:
    """Return builders that must be refused, at the latest at the enqueue, by what is wrong with them."""
    made: dict[str, Make] = {}
    for label, value in VALUES.items():
        inner = wrapped(value, chance)
        made[f"data: {label}"] = lambda inner=inner: Anything.builder().with_data(inner)
        made[f"metadata: {label}"] = lambda inner=inner: Anything.builder().with_data(1).with_metadata(inner)
        if label != "10 MB":  # of a key only the digest is stored
            made[f"key: {label}"] = lambda inner=inner: _text().unique(UniquenessCriteria.by_key(inner))
    return {**made, **_of_other_types(), **_of_other_fields()}


def kept(chance: random.Random) -> dict[str, JobBuilder[Any, Any, Any]]:
    """Return builders that may be refused, and otherwise must come back unchanged."""
    values = {label: wrapped(value, chance) for label, value in KEPT.items()}
    return {label: Anything.builder().with_data(value) for label, value in values.items()}


def _text() -> JobBuilder[Any, Any, Any]:
    return Text.builder().with_data("good")


def _of_other_types() -> dict[str, Make]:
    wrong: Any = [b"bytes", 7, None, 1.5, {"a": "b"}, datetime.now(UTC), {"a"}]
    pairs = [(kind, value) for value in wrong for kind in (Text, Number, MappingJob)]
    made: dict[str, Make] = {
        f"{kind.name}: {type(value).__name__}": lambda kind=kind, value=value: kind.builder().with_data(value)
        for kind, value in pairs
        if not (kind is Number and type(value) is int)
    }
    made["text: nothing"] = Text.builder
    for value in ("NaN", "infinity", "minus infinity"):
        made[f"real: {value}"] = lambda value=value: Real.builder().with_data(VALUES[value])
    made["mapping: a key with NUL"] = lambda: MappingJob.builder().with_data({"a\0": 1})
    made["number: 10^5 digits"] = lambda: Number.builder().with_data(10**99_999)
    return made


def _of_other_fields() -> dict[str, Make]:
    any_type: Any
    made: dict[str, Make] = {}
    for any_type in (-1, 2**64, 1.0, "1", True, None, float("nan")):
        made[f"priority: {any_type!r}"] = lambda value=any_type: _text().with_priority(value)
    for any_type in (0, -1, 2**64, 1.0, "1", True, float("inf")):
        made[f"max_attempts: {any_type!r}"] = lambda value=any_type: _text().with_max_attempts(value)
    for any_type in ("", "a\0", "\ud800", 7, None, "x" * 10 * MEGABYTE, b"tag"):
        made[f"tag: {str(any_type)[:9]!r} {type(any_type).__name__}"] = lambda value=any_type: _text().with_tags(value)
    made["tags: 33"] = lambda: _text().with_tags(*map(str, range(33)))
    for any_type in (timedelta(-1), timedelta.max, 7, None):
        made[f"schedule_in: {any_type!r}"] = lambda value=any_type: _text().schedule_in(value)
    for any_type in (datetime(2030, 1, 1), datetime.max.replace(tzinfo=UTC), 7, "now"):  # noqa: DTZ001 - that is it
        made[f"schedule_at: {any_type!r}"] = lambda value=any_type: _text().schedule_at(value)
    return made


STORED_BAD: Final[tuple[tuple[str, str, str | bytes], ...]] = (
    ("wrong type", "text", "7"),
    ("wrong type", "number", '"seven"'),
    ("wrong type", "mapping", "[]"),
    ("null", "text", "null"),
    ("empty", "text", ""),
    ("blank", "text", " "),
    ("no JSON", "text", "{"),
    ("two values", "number", "1 2"),
    ("NaN", "real", "NaN"),
    ("infinity", "real", "Infinity"),
    ("minus infinity", "real", "-Infinity"),
    ("beyond all floats", "real", "1e999"),
    ("an int of 10^5 digits", "number", "9" * 100_000),
    ("depth 10^5", "anything", "[" * 100_000 + "]" * 100_000),
    ("depth 5,000", "anything", "[" * 5_000 + "]" * 5_000),
    ("NUL", "text", '"a\0b"'),
    ("lone surrogate", "text", '"\ud800"'),
    ("lone surrogate escaped", "text", r'"\ud800"'),
    ("no UTF-8", "text", b'"\xff"'),
    ("10 MB that is no text", "text", "[" + "1," * (5 * MEGABYTE) + "1]"),
)
"""What by hand may come into a store, by label, executor and text: each must be discarded for its data."""

STORED_GOOD: Final[tuple[tuple[str, str, str], ...]] = (
    ("10 MB", "text", f'"{"x" * 10 * MEGABYTE}"'),
    ("duplicate keys", "mapping", '{"a": 1, "a": 2}'),
    ("NUL escaped", "text", r'"a\u0000b"'),
    ("2^64", "anything", str(2**64)),
    ("empty", "text", '""'),
)
"""What no enqueue would have let in, and what runs all the same: it is of its type."""
