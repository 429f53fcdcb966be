"""Typed data to JSON text and back, checked in both directions.

Every backend stores the same values: JSON without NaN, infinities, NUL characters or lone surrogates (PostgreSQL's
jsonb takes none of them). A type may be anything that msgspec knows (str, int, None, list, dict, dataclass, TypedDict,
`msgspec.Struct` …) or a pydantic model, also nested in each other.
"""

import contextlib
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from functools import lru_cache, partial
from typing import Any, Final, Generic, NoReturn, TypeVar, cast, get_origin

import msgspec
from msgspec import inspect

from rexecutor.errors import DecodeError, DefinitionError, EncodeError
from rexecutor.model.fidelity import difference
from rexecutor.model.json_form import (
    DEPTH,
    ENCODER,
    SORTING,
    PydanticModel,
    holds_set,
    in_order,
    is_too_deep,
    not_data,
    not_json,
    set_defaults,
    to_builtins,
)

T = TypeVar("T")

NUMBER: Final = re.compile("0|[1-9][0-9]*")
"""The number of an element of an array, as a step of a path."""
_ESCAPED_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_EXACT = msgspec.json.Decoder(float_hook=Decimal)
_SELF_EVIDENT: Final = (str, bool, type(None))
"""Types whose values always survive JSON unchanged."""
_SETS: Final = (inspect.CustomType, inspect.SetType, inspect.FrozenSetType)
_FLOATS: Final = (inspect.AnyType, inspect.CustomType, inspect.FloatType, inspect.DictType)
_DICTS: Final = (inspect.AnyType, inspect.CustomType, inspect.DictType, inspect.TypedDictType)

_KEY_TYPES: Final = (
    *(inspect.AnyType, inspect.CustomType, inspect.StrType, inspect.IntType, inspect.FloatType, inspect.DecimalType),
    *(inspect.EnumType, inspect.LiteralType, inspect.UUIDType, inspect.BytesType, inspect.Metadata),
    *(inspect.DateTimeType, inspect.DateType, inspect.TimeType, inspect.TimeDeltaType),
)
"""Types that a key in a JSON object, which is a text, can be decoded to."""
_KEYS: Final = "keys of a JSON object are texts, which cannot be decoded to keys of this type; use a list of pairs"
_PLACE: Final = re.compile(r" - at `\$(.*)`$")
"""How msgspec ends the message of an error with its place."""

_UNION_ADVICE: Final = (
    "; declare a pydantic model with a field of this union, or a `RootModel` of it, or msgspec Structs with `tag=True`"
)
_MIXED_MODELS: Final = (
    "a msgspec Struct together with a pydantic dataclass, whose validators msgspec would skip; make one of them a"
    " pydantic model"
)


def _from_builtins(kind: type, value: object) -> Any:
    if kind is object:  # as in `dict[str, object]`: any JSON value
        return value
    if isinstance(kind, type) and issubclass(kind, PydanticModel):  # msgspec may pass a generic alias
        # As JSON text: a strict pydantic model parses a date from a text only if it comes from JSON.
        return kind.model_validate_json(msgspec.json.encode(value), by_alias=True, by_name=True)
    raise NotImplementedError(not_json(cast("type[object]", kind)))


class Codec(Generic[T]):
    """Encodes and decodes one declared type. Thread-safe. The type is inspected once, when the codec is made."""

    def __init__(
        self, kind: Any, *, owner: str, what: str, limit: int | None = None, depth: int = DEPTH, advice: str = ""
    ) -> None:
        """Inspect the type and choose how to write and read it.

        Args:
            kind: The declared type: anything that is valid in an annotation.
            owner: The executor's name, for error messages.
            what: `"data"` or `"metadata"`, for error messages.
            limit: Maximum size of the JSON, in bytes; None for no limit.
            depth: How deep arrays and objects may be nested.
            advice: How to make a value of the type, a class, for the error message about a value of another type.

        Raises:
            DefinitionError: JSON cannot hold the type.
        """
        self.kind: Final = kind
        self.name: Final = f"{owner}: {what}"
        """The executor's name and what the codec encodes, for error messages."""
        self._type_name = _type_name(kind)
        self._is_metadata = what == "metadata"
        self._limit = limit
        self._depth = depth
        self._advice = advice and f"; {advice}"
        self._read_distinct = _reader(self.name)
        self._plain = type(None) if kind is None else kind if kind in _SELF_EVIDENT else None
        try:
            decoder: msgspec.json.Decoder[T] = msgspec.json.Decoder(kind, dec_hook=_from_builtins)
            self._write: Callable[[object], bytes] = ENCODER.encode
            self._read: Callable[[bytes | str], T] = decoder.decode
            parts = _parts([inspect.type_info(kind)])
            _check_parts(parts)
            if is_by_pydantic := any(map(_is_pydantic_dataclass, parts)):
                if any(isinstance(part, inspect.StructType) for part in parts):
                    raise TypeError(_MIXED_MODELS)  # noqa: TRY301 - reported as msgspec's own errors are
                self._write, self._read = _by_pydantic(kind)
        except Exception as error:  # pydantic has errors of its own
            advice = _UNION_ADVICE if "type union" in str(error).lower() else ""
            raise DefinitionError(
                f"{self.name}: {self._type_name} cannot be stored as JSON: {error}{advice}"
            ) from error
        self._may_lack_defaults = any(map(_has_class_defaults, parts))
        self._has_equal_numbers = any(isinstance(part, inspect.DecimalType | inspect.FloatType) for part in parts)
        self._may_hold_floats = any(isinstance(part, _FLOATS) for part in parts)
        self._may_hold_sets = any(isinstance(part, _SETS) for part in parts)
        self._is_without_keys = not any(isinstance(part, _DICTS) for part in parts)
        self._has_text_keys = not is_by_pydantic and all(map(_has_text_keys, parts))

    def encode(self, value: T) -> str:
        """Return the value as JSON text that decodes to the same value. Equal values have the same text.

        So the order of dicts and sets does not change it, and plain JSON values that are given for a value of the
        declared type are written as that value: with its defaults, for example.

        Raises:
            EncodeError: The value is of another type, too large, too deep, holds what JSON cannot, or would decode to
                something else.
        """
        try:
            if type(value) is self._plain:  # decoding never changes these: no need to read them back
                encoded = ENCODER.encode(value)
                self._check(encoded)
            else:
                if self._plain is type(None):
                    self._refuse(self._undeclared(value))
                if self._plain is str and not isinstance(value, str):  # msgspec writes dates and UUIDs as text
                    self._refuse(f"str expected, {type(value).__name__} given")
                encoded, decoded = self._checked(value)
                # Plain values, such as a dict, were given for those of the declared type. Equal numbers may be, too.
                if self._has_equal_numbers or value != decoded:
                    encoded = self._in_one_form(decoded, encoded)
        except EncodeError:
            raise
        except Exception as error:  # hooks and properties of users' types may raise anything
            why = not_data(value) or _refusal(error, self._depth)
            if self._advice and not isinstance(value, self.kind):
                why += self._advice
            raise EncodeError(f"{self.name}: {self._type_name} expected: {why}") from error
        return encoded.decode()

    def decode(self, text: str) -> T:
        """Return the value that the JSON text holds.

        Raises:
            DecodeError: The text is not JSON, not of the declared type, or nested too deeply.
        """
        try:
            _check_depth(text.encode(), self._depth)
            return self._read(text)
        except Exception as error:
            raise DecodeError(f"{self.name}: {self._type_name} expected: {_reason(error, self._depth)}") from error

    def missing(self) -> EncodeError:
        """Return the error for a job without a value."""
        return EncodeError(f"{self.name} is missing, {self._type_name} expected{self._advice}")

    def _undeclared(self, value: object) -> str:
        """Return the message for a value given to an executor that declares None."""
        kind = type(value)
        written = f"Executor[…, {kind.__name__}]" if self._is_metadata else f"Executor[{kind.__name__}]"
        return f"None expected, {kind.__name__} given; declare its type, such as `{written}`"

    def _written(self, value: T) -> bytes:
        """Return the value as JSON, with sorted keys and sorted sets.

        msgspec can sort if there are no sets and all keys are texts. Anything else is written, read again and sorted,
        which is slower.
        """
        if self._has_text_keys and not (self._may_hold_sets and holds_set(value)):
            if self._is_without_keys:
                return self._write(value)
            with contextlib.suppress(TypeError):  # a dict of any keys may hold keys that are no texts
                return SORTING.encode(value)
        encoded = self._write(value)
        _check_depth(encoded, self._depth)
        return in_order(value, encoded, self._read_distinct)

    def _in_one_form(self, decoded: T, encoded: bytes) -> bytes:
        """Return the JSON of the decoded value, which may differ from that of the equal value that was given."""
        with contextlib.suppress(EncodeError):  # for a default that cannot be stored, such as a secret
            if self._written(decoded) != encoded:
                return self._checked(decoded)[0]
        return encoded

    def _checked(self, value: T) -> tuple[bytes, T]:
        """Return the value's JSON and what it decodes to, which is the same value."""
        if self._may_lack_defaults:
            set_defaults(value)
        encoded = self._written(value)
        self._check(encoded)
        if self._may_hold_floats:
            _check_numbers(self.name, value, encoded)
        decoded = self._read(encoded)
        self._check_same(value, decoded)
        return encoded, decoded

    def _check(self, encoded: bytes) -> None:
        if self._limit is not None and len(encoded) > self._limit:
            raise EncodeError(f"{self.name} has {len(encoded):,} bytes as JSON, at most {self._limit:,} are allowed")
        # These tests stand here too, because ordinary values need no more than them.
        if b"\\u0000" in encoded:
            _check_text(self.name, encoded)
        if len(encoded) > self._depth:  # otherwise it has too few brackets
            _check_depth(encoded, self._depth)

    def _check_same(self, value: T, decoded: T) -> None:
        found = difference(value, decoded)
        if found is not None:
            place, what = found
            if place != "$":
                what = f"{place}: {what}"
            elif type(value) is not type(decoded):
                what = f"{self._type_name} expected, {what}"
            self._refuse(what)

    def _refuse(self, what: str) -> NoReturn:
        raise EncodeError(f"{self.name}: {what}")


def compared(value: object, *, owner: str, what: str) -> str:
    """Return the canonical JSON of a value that is only compared, never decoded: a unique key, or a search value.

    It may be of any type that JSON can hold, unlike data, which must be of the declared type.

    Raises:
        EncodeError: JSON cannot hold it.
    """
    name = f"{owner}: {what}"
    try:
        set_defaults(value)
        serializer = getattr(type(value), "__pydantic_serializer__", None)  # a pydantic dataclass has one too
        encoded = ENCODER.encode(value if serializer is None else _dumped(serializer.to_python, value))
        _check_depth(encoded, DEPTH)
        _check_text(name, encoded)
        _check_numbers(name, value, encoded)
        return canonical(in_order(value, encoded, _reader(name)).decode())
    except EncodeError:
        raise
    except Exception as error:  # hooks and properties of users' types may raise anything
        why = not_data(value) or _refusal(error, DEPTH)
        raise EncodeError(f"{name}: JSON cannot hold it: {why}") from error


def canonical(text: str) -> str:
    """Return the canonical form of a JSON text: equal for all texts with the same meaning.

    Keys are sorted, and numbers are compared as exact decimals, as PostgreSQL's `jsonb` does: 1, 1.0 and 1e0 have the
    same form. Text that is not JSON, or is nested deeper than an enqueue allows, is returned unchanged.
    """
    return _short(text) if len(text) <= _CACHED_LENGTH else _long(text)


def _long(text: str) -> str:
    try:
        if is_too_deep(text.encode(), DEPTH):
            return text
        return "".join(_canonical_parts(_EXACT.decode(text)))
    except (ValueError, ArithmeticError, RecursionError):
        return text


def canonical_at(text: str, path: Sequence[str]) -> str | None:
    """Return the canonical form of what a JSON text holds at the path; None if there is nothing.

    Each step is the key of a member of an object, or the decimal number of an element of an array, from 0 and without
    leading zeros. Text that is not JSON, or is nested deeper than an enqueue allows, holds nothing.
    """
    try:
        if is_too_deep(text.encode(), DEPTH):
            return None
        value: object = _EXACT.decode(text)
        for step in path:
            if isinstance(value, dict):
                value = cast("dict[str, object]", value)[step]
            elif isinstance(value, list) and NUMBER.fullmatch(step):
                value = cast("list[object]", value)[int(step)]
            else:
                return None
        return "".join(_canonical_parts(value))
    except (ValueError, LookupError, ArithmeticError, RecursionError):
        return None


_CACHED_LENGTH = 1_024
_short = lru_cache(maxsize=1_000)(_long)


def _canonical_parts(value: object) -> Iterator[str]:
    match value:
        case dict():
            members = cast("dict[str, object]", value)
            yield "{"
            for place, key in enumerate(sorted(members)):
                yield f"{',' * (place > 0)}{ENCODER.encode(key).decode()}:"
                yield from _canonical_parts(members[key])
            yield "}"
        case list():
            yield "["
            for place, item in enumerate(cast("list[object]", value)):
                yield "," * (place > 0)
                yield from _canonical_parts(item)
            yield "]"
        case bool() | None | str():
            yield ENCODER.encode(value).decode()
        case _:
            sign, digits, exponent = Decimal(cast("int | Decimal", value)).as_tuple()
            written = "".join(map(str, digits)).lstrip("0")
            significant = written.rstrip("0")
            zeros = len(written) - len(significant)
            yield f"{'-' * sign}{significant}e{int(exponent) + zeros}" if significant else "0"


def _parts(waiting: list[object]) -> list[inspect.Type]:
    """Return these types and all types nested in them."""
    seen: dict[int, inspect.Type | inspect.Field] = {}
    while waiting:
        part = waiting.pop()
        if isinstance(part, tuple):
            waiting += cast("tuple[object, ...]", part)
        elif isinstance(part, inspect.Type | inspect.Field) and id(part) not in seen:
            seen[id(part)] = part
            waiting += (getattr(part, name) for name in part.__struct_fields__)
    return [part for part in seen.values() if isinstance(part, inspect.Type)]


def _check_parts(parts: list[inspect.Type]) -> None:
    """Raise a `TypeError` for a type that JSON cannot hold, or that neither msgspec nor pydantic can decode."""
    for part in parts:
        if isinstance(part, inspect.CustomType):
            kind: Any = get_origin(part.cls) or part.cls
            if kind is not object and not issubclass(kind, PydanticModel):
                raise TypeError(not_json(kind))
        elif isinstance(part, inspect.RawType):  # its text is neither checked nor brought into order
            raise TypeError("the content of a msgspec.Raw is not checked; declare Any")
        elif isinstance(part, inspect.DictType) and not _is_key(part.key_type):
            raise TypeError(_KEYS)


def _is_key(part: inspect.Type) -> bool:
    """Whether a dict may have keys of this type, or of one member of this union."""
    members = part.types if isinstance(part, inspect.UnionType) else (part,)
    return any(isinstance(member, _KEY_TYPES) for member in members)


def _has_text_keys(part: inspect.Type) -> bool:
    """Whether msgspec can sort the keys: it sorts texts only."""
    return not isinstance(part, inspect.DictType) or isinstance(part.key_type, inspect.StrType | inspect.AnyType)


def _has_class_defaults(part: inspect.Type) -> bool:
    """Whether it is a dataclass with a default that is an attribute of the class too."""
    return isinstance(part, inspect.DataclassType) and any(hasattr(part.cls, field.name) for field in part.fields)


def _is_pydantic_dataclass(part: inspect.Type) -> bool:
    return isinstance(part, inspect.DataclassType) and hasattr(part.cls, "__pydantic_validator__")


def _by_pydantic(kind: Any) -> tuple[Callable[[object], bytes], Callable[[bytes | str], Any]]:
    """Return an encoder and a decoder for a type with a pydantic dataclass: msgspec would skip its validators."""
    from pydantic import TypeAdapter  # already loaded: the type is pydantic's

    adapter: TypeAdapter[Any] = TypeAdapter(kind)

    def write(value: object) -> bytes:
        return ENCODER.encode(_dumped(adapter.dump_python, value))

    return write, partial(adapter.validate_json, by_alias=True, by_name=True)


def _dumped(dump: Callable[..., Any], value: object) -> Any:
    return dump(value, mode="json", by_alias=False, round_trip=True, warnings=False)


def _reader(name: str) -> Callable[[str], Any]:
    """Return a JSON decoder that raises an `EncodeError` for an object with the same key twice.

    This finds mappings with different keys that JSON writes the same (`1` and `"1"`): an ordinary decoder would
    silently keep one of them.
    """

    def distinct(members: list[tuple[str, object]]) -> dict[str, object]:
        read = dict(members)
        if len(read) < len(members):
            twice = next(key for key, times in Counter(key for key, _ in members).items() if times > 1)
            key = ENCODER.encode(twice).decode()
            raise EncodeError(f"{name} holds different keys that JSON writes the same, as {key}")
        return read

    return json.JSONDecoder(object_pairs_hook=distinct).decode


def _check_depth(encoded: bytes, limit: int) -> None:
    if is_too_deep(encoded, limit):
        raise _TooDeepError


def _check_text(name: str, encoded: bytes) -> None:
    """Raise an `EncodeError` for JSON with a NUL character, which databases do not take."""
    if b"\\u0000" in encoded and _ESCAPED_NUL.search(encoded):
        raise EncodeError(f"{name} contains a NUL character, which databases do not accept")


def _check_numbers(name: str, value: object, encoded: bytes) -> None:
    """Raise an `EncodeError` for NaN and infinities.

    msgspec writes them as null, so JSON without a null cannot hold any: that is the cheap first test.
    """
    if b"null" in encoded and any(not math.isfinite(number) for number in _floats(value)):
        raise EncodeError(f"{name} contains NaN or an infinity, which JSON cannot hold")


def _floats(value: object) -> Iterator[float]:
    """Yield all floats in a value. Objects are taken apart as the encoder does it."""
    waiting: list[object] = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, float):
            yield item
        elif isinstance(item, dict):
            members = cast("dict[object, object]", item)
            waiting += members.keys()
            waiting += members.values()
        elif isinstance(item, list | tuple | set | frozenset):
            waiting += cast("list[object]", item)
        elif item is not None and not isinstance(item, str | int):
            inner = msgspec.to_builtins(item, enc_hook=to_builtins)
            if type(inner) is not type(item):
                waiting.append(inner)


class _TooDeepError(Exception):
    """Arrays and objects are nested deeper than allowed."""


def _reason(error: Exception, depth: int) -> str:
    if isinstance(error, RecursionError | _TooDeepError):
        return f"it is nested too deeply; at most {depth} levels are allowed"
    if isinstance(error, UnicodeEncodeError):
        return "it contains a lone surrogate, which is not a character"
    return _pydantic_reason(error) or str(error) or type(error).__name__


def _pydantic_reason(error: Exception) -> str | None:
    """Return the first of pydantic's errors in one line, as msgspec would write it; None if it is not pydantic's.

    Pydantic's own text has several lines, and contains the data.
    """
    inner = error if hasattr(error, "error_count") else error.__cause__
    if not hasattr(inner, "error_count"):
        return None
    first, *others = cast("Any", inner).errors(include_url=False, include_context=False, include_input=False)
    outer = _PLACE.search(str(error)) if inner is not error else None
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
    place = "".join((outer[1] if outer else "", *steps))
    more = f" (and {len(others)} more)" if others else ""
    return first["msg"] + (f" - at `${place}`" if place else "") + more


def _refusal(error: Exception, depth: int) -> str:
    """Return why a given value cannot be encoded, and what to do if it is nested too deeply."""
    found = _reason(error, depth)
    if isinstance(error, RecursionError | _TooDeepError):
        return f"{found}; make it flatter, or give the inner part as a text, such as json.dumps(part)"
    return found


def _type_name(kind: Any) -> str:
    name: str | None = None if getattr(kind, "__args__", None) else getattr(kind, "__qualname__", None)
    return "None" if kind is None or kind is type(None) else name or str(kind)
