"""Readable differences between two JSON values."""

from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec

from rexecutor.model.codec import canonical

MAX_LENGTH: Final = 200
"""Maximum number of characters shown of a value."""

_MAX_PLACES: Final = 6
_MAX_DEPTH: Final = 8


def shortened(text: str) -> str:
    """Return the text, cut after `MAX_LENGTH` characters."""
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}… ({len(text):,} characters)"


def value_differences(name: str, expected: str, actual: str) -> list[str]:
    """Return a line for each place where two JSON texts differ, or no lines if they mean the same.

    At most 6 places are listed; one more line counts those left out.

    Args:
        name: What to call the values; a place within is `name.key` or `name[0]`.
        expected: JSON text.
        actual: Any text, as a store may hold corrupt data.
    """
    if canonical(expected) == canonical(actual):
        return []
    try:
        lines = list(_walked(name, msgspec.json.decode(expected), msgspec.json.decode(actual), _MAX_DEPTH))
    except (ValueError, RecursionError):
        lines = []
    if not lines:  # not JSON, or numbers that differ only beyond the precision of a float
        return [f"{name}: {shortened(actual)}, expected {shortened(expected)}"]
    left_out = len(lines) - _MAX_PLACES
    return lines if left_out <= 0 else [*lines[:_MAX_PLACES], f"{name}: {left_out} more differences"]


def _walked(place: str, expected: Any, actual: Any, levels: int) -> Iterator[str]:
    if levels and isinstance(expected, dict) and isinstance(actual, dict):
        yield from _members(place, cast("dict[str, Any]", expected), cast("dict[str, Any]", actual), levels)
    elif levels and isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):  # pyright: ignore[reportUnknownArgumentType] - JSON
        pairs = zip(cast("list[Any]", expected), cast("list[Any]", actual), strict=True)
        for index, (wanted, found) in enumerate(pairs):
            yield from _walked(f"{place}[{index}]", wanted, found, levels - 1)
    elif canonical(_text(expected)) != canonical(_text(actual)):
        yield f"{place}: {shortened(_text(actual))}, expected {shortened(_text(expected))}"


def _members(place: str, expected: dict[str, Any], actual: dict[str, Any], levels: int) -> Iterator[str]:
    for key in [*expected, *(key for key in actual if key not in expected)]:
        inner = f"{place}.{key}"
        if key not in actual:
            yield f"{inner}: missing, expected {shortened(_text(expected[key]))}"
        elif key not in expected:
            yield f"{inner}: {shortened(_text(actual[key]))}, not expected"
        else:
            yield from _walked(inner, expected[key], actual[key], levels - 1)


def _text(value: Any) -> str:
    return msgspec.json.encode(value).decode()
