"""For types and values made at random: what is stored comes back the same, and equal values are stored the same."""

import dataclasses
import enum
import itertools
import math
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, NamedTuple, NotRequired, TypeAlias, cast
from zoneinfo import ZoneInfo

import msgspec
import pydantic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import TypedDict

from rexecutor.errors import DefinitionError, EncodeError
from tests.model.typed_data import codec

Drawn: TypeAlias = tuple[Any, st.SearchStrategy[Any]]
"""A type, and a strategy for its values."""


class Word(enum.Enum):
    ONE = "1"
    TWO = "two"


class Number(enum.IntEnum):
    ONE = 1
    TWO = 2


class Text(enum.StrEnum):
    ONE = "1"
    TWO = "two"


class Bit(enum.Flag):
    ONE = 1
    TWO = 2


texts = st.text(max_size=4)
ints = st.integers(-(2**70), 2**70)
floats = st.floats()
zones = st.sampled_from(
    (UTC, timezone(timedelta(hours=-3)), timezone(timedelta(seconds=90)), ZoneInfo("Europe/Prague"))
)
HASHABLE: Sequence[Drawn] = (
    (str, texts),
    (int, ints),
    (float, floats),
    (bool, st.booleans()),
    (bytes, st.binary(max_size=4)),
    (Word, st.sampled_from(Word)),
    (Number, st.sampled_from(Number)),
    (Text, st.sampled_from(Text)),
    (Bit, st.sampled_from(Bit) | st.just(Bit.ONE | Bit.TWO) | st.just(Bit(0))),
    (uuid.UUID, st.uuids()),
    (Decimal, st.decimals(allow_nan=False)),
    (date, st.dates()),
    (datetime, st.datetimes() | st.datetimes(timezones=zones)),
    (time, st.times() | st.times(timezones=zones)),
    (timedelta, st.timedeltas()),
)
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | floats
    | texts
    | st.dates()
    | st.binary(max_size=2)
    | st.sampled_from(Text),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts | st.integers(0, 3) | st.booleans(), inner, max_size=3)
        | st.tuples(inner)
        | st.frozensets(st.integers(0, 3) | texts, max_size=3)
    ),
    max_leaves=5,
)
LEAVES: Sequence[Drawn] = (
    *HASHABLE,
    (Any, anything),
    (object, anything),
    (None, st.none()),
    (bytearray, st.builds(bytearray, st.binary())),
)
_numbers = itertools.count()


def _named(prefix: str) -> str:
    return f"{prefix}{next(_numbers)}"


def _struct(parts: list[Drawn], **options: Any) -> Drawn:
    fields = [(f"field_{place}", kind) for place, (kind, _) in enumerate(parts)]
    cls: Any = msgspec.defstruct(_named("Struct"), fields, **options)
    return cls, st.builds(cls, *(values for _, values in parts))


def _dataclass(parts: list[Drawn], **options: Any) -> Drawn:
    fields = [(f"field_{place}", kind) for place, (kind, _) in enumerate(parts)]
    cls: Any = dataclasses.make_dataclass(_named("Data"), fields, **options)
    return cls, st.builds(cls, *(values for _, values in parts))


def _model(parts: list[Drawn], **options: Any) -> Drawn:
    alias: Any = pydantic.AliasGenerator(alias=str.upper) if options.pop("aliased", False) else None
    config = pydantic.ConfigDict(arbitrary_types_allowed=True, alias_generator=alias, **options)
    fields: dict[str, Any] = {f"field_{place}": (kind, ...) for place, (kind, _) in enumerate(parts)}
    cls: Any = pydantic.create_model(_named("Model"), __config__=config, **fields)

    def made(values: Sequence[Any]) -> Any:
        names = (f"FIELD_{place}" if alias else f"field_{place}" for place in range(len(values)))
        try:
            return cls(**dict(zip(names, values, strict=True)))
        except pydantic.ValidationError:  # pydantic accepts less than the strategies make
            return cls.model_construct(**dict(zip(fields, values, strict=True)))

    return cls, st.tuples(*(values for _, values in parts)).map(made)


def _named_tuple(parts: list[Drawn]) -> Drawn:
    fields = [(f"field_{place}", kind) for place, (kind, _) in enumerate(parts)]
    cls: Any = cast("Any", NamedTuple)(_named("Tuple"), fields)
    return cls, st.builds(cls, *(values for _, values in parts))


def _typed_dict(parts: list[Drawn]) -> Drawn:
    fields = {f"field_{place}": NotRequired[kind] if place % 2 else kind for place, (kind, _) in enumerate(parts)}
    cls: Any = cast("Any", TypedDict)(_named("Words"), fields)
    required = {f"field_{place}": values for place, (_, values) in enumerate(parts) if not place % 2}
    optional = {f"field_{place}": values for place, (_, values) in enumerate(parts) if place % 2}
    return cls, st.fixed_dictionaries(required, optional=optional)


def _tuple_of(*members: Any) -> Any:
    return tuple[members]


OF_SEVERAL: Sequence[Callable[[list[Drawn]], Drawn]] = (
    _struct,
    lambda parts: _struct(parts, rename="camel", omit_defaults=True, tag=True, kw_only=False, frozen=True),
    lambda parts: _struct(parts, array_like=True, forbid_unknown_fields=True),
    lambda parts: _struct(parts, array_like=True, tag=7),
    _dataclass,
    lambda parts: _dataclass(parts, frozen=True, slots=True),
    _model,
    lambda parts: _model(parts, strict=True),
    lambda parts: _model(parts, extra="forbid", aliased=True, frozen=True),
    _named_tuple,
    _typed_dict,
    lambda parts: (_tuple_of(*(kind for kind, _ in parts)), st.tuples(*(values for _, values in parts))),
)
OF_ONE: Sequence[Callable[[Drawn], Drawn]] = (
    lambda part: (list[part[0]], st.lists(part[1], max_size=3)),
    lambda part: (tuple[part[0], ...], st.lists(part[1], max_size=3).map(tuple)),
    lambda part: (part[0] | None, st.none() | part[1]) if part[0] not in (None, Any, object) else part,
    lambda part: (dict[str, part[0]], st.dictionaries(texts, part[1], max_size=3)),
    lambda part: (dict[int | str, part[0]], st.dictionaries(texts | ints, part[1], max_size=3)),
)
keyed = st.tuples(st.sampled_from(HASHABLE), st.sampled_from(HASHABLE)).map(
    lambda two: (dict[two[0][0], two[1][0]], st.dictionaries(two[0][1], two[1][1], max_size=3))
)
sets = st.sampled_from(HASHABLE).map(lambda one: (set[one[0]], st.sets(one[1], max_size=4)))
frozen = st.sampled_from(HASHABLE).map(lambda one: (frozenset[one[0]], st.frozensets(one[1], max_size=4)))
sets_of_sets = frozen.map(lambda one: (set[one[0]], st.sets(one[1], max_size=3)))
kinds: st.SearchStrategy[Drawn] = st.recursive(
    st.sampled_from(LEAVES) | keyed | sets | frozen | sets_of_sets,
    lambda inner: (
        st.tuples(st.sampled_from(OF_ONE), inner).map(lambda drawn: drawn[0](drawn[1]))
        | st.tuples(st.sampled_from(OF_SEVERAL), st.lists(inner, min_size=1, max_size=3)).map(
            lambda drawn: drawn[0](drawn[1])
        )
    ),
    max_leaves=6,
)


def fields_of(value: Any) -> Sequence[str]:
    """The names of a record's fields; none for other values."""
    if isinstance(value, pydantic.BaseModel):
        return list(type(value).model_fields)
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    return [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else ()


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same types, at any depth."""
    kind = cast("type[Any]", type(one))
    if kind is not type(other):
        return False
    names = fields_of(one)
    if names:
        return all(same(getattr(one, name), getattr(other, name)) for name in names)
    if issubclass(kind, dict):
        return len(one) == len(other) and all(any(same(its, own) for its in other.items()) for own in one.items())
    if issubclass(kind, set | frozenset):
        return len(one) == len(other) and all(any(same(its, own) for its in other) for own in one)
    if issubclass(kind, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if issubclass(kind, datetime):
        return one.replace(tzinfo=None) == other.replace(tzinfo=None) and one.utcoffset() == other.utcoffset()
    if issubclass(kind, float) and math.isnan(one):
        return math.isnan(other)
    return one == other and str(one) == str(other)


def backwards(value: Any) -> Any:
    """The same value, with the members of its dicts and sets in another order."""
    kind = cast("type[Any]", type(value))
    changed = {name: backwards(getattr(value, name)) for name in fields_of(value)}
    if issubclass(kind, pydantic.BaseModel):
        return value.model_copy(update=changed)
    if issubclass(kind, msgspec.Struct):
        return msgspec.structs.replace(value, **changed)
    if changed:
        return dataclasses.replace(value, **changed)
    if issubclass(kind, dict):
        return {key: backwards(value[key]) for key in reversed(value)}
    made: Any = kind
    if issubclass(kind, set | frozenset):
        return made(reversed([backwards(member) for member in value]))
    if issubclass(kind, tuple) and hasattr(value, "_fields"):
        return made(*map(backwards, value))
    return made(map(backwards, value)) if issubclass(kind, list | tuple) else value


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(kinds, st.data())
def test_what_is_stored_comes_back_the_same_and_in_one_form(kind: Drawn, data: st.DataObject) -> None:
    declared, values = kind
    try:
        its = codec(declared)
    except DefinitionError:
        return
    value = data.draw(values)
    try:
        text = its.encode(value)
    except EncodeError:
        return

    came = its.decode(text)

    assert same(came, value)
    assert its.encode(came) == text
    assert its.encode(backwards(value)) == text
