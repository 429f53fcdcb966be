"""Stored values as HTML. All of it is escaped, because the values of a job may come from anywhere."""

import json
from typing import Any, Final, cast

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from rexecutor.django.fields import Unreadable

MOST_SHOWN: Final = 20_000
"""Maximum number of characters of a value that are shown."""


def shown(value: Any) -> SafeString | str:
    """Return a JSON value as HTML, at most `MOST_SHOWN` characters of it; `-` for None."""
    if value is None:
        return "-"
    if isinstance(value, Unreadable):
        return format_html("<p>This cannot be read, because it is not JSON:</p>{}", _block(str(value)))
    return _block(_json(value))


def _json(value: Any) -> str:
    """Return the JSON value as indented text, at least the part of it that is shown.

    The indents of deeply nested values would take a hundred times the memory of the value.
    """
    parts: list[str] = []
    length = 0
    for part in json.JSONEncoder(indent=2, ensure_ascii=False, default=str).iterencode(value):
        parts.append(part)
        length += len(part)
        if length > MOST_SHOWN:
            break
    return "".join(parts)


def _shown_error(error: Any) -> tuple[str, SafeString | str]:
    """Return the heading of an error, and its details."""
    if not isinstance(error, dict):
        return "unreadable", shown(error)
    known = cast("dict[str, Any]", error)
    head = ", ".join(str(known.get(name, "?")) for name in ("kind", "type_name", "recorded_at"))
    return _encodable(f"attempt {known.get('attempt', '?')}: {head}"), _block(str(known.get("details", "")))


def _block(text: str) -> SafeString:
    """Return the text as a block, at most `MOST_SHOWN` characters of it."""
    cut = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}\n… the rest is left out"
    return format_html('<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{}</pre>', _encodable(cut))


def _encodable(text: str) -> str:
    """Return the text with lone surrogates as their escapes: JSON may hold them, and no page of HTML can."""
    return text.encode(errors="backslashreplace").decode()


def shown_errors(errors: Any) -> SafeString | str:
    """Return the errors of a job as HTML, the last one first; `-` if there are none."""
    if not isinstance(errors, list):
        return shown(errors)
    newest_first = reversed(cast("list[Any]", errors))
    return format_html_join("", "<p><strong>{}</strong></p>{}", map(_shown_error, newest_first)) or "-"
