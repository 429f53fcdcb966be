"""Stored values for people, as HTML. All that a job holds is escaped: others have written it."""

import json
from typing import Any, Final, cast

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from rexecutor.django.fields import Unreadable

MOST_SHOWN: Final = 20_000
"""How many characters of a value are shown at most."""


def shown(value: Any) -> SafeString | str:
    """Return a JSON value for people; all of it is escaped."""
    if value is None:
        return "-"
    is_unreadable = isinstance(value, Unreadable)
    text = str(value) if is_unreadable else json.dumps(value, indent=2, ensure_ascii=False, default=str)
    block = _block(text)
    return format_html("<p>This cannot be read, because it is not JSON:</p>{}", block) if is_unreadable else block


def _shown_error(error: Any) -> tuple[str, SafeString | str]:
    """Return the head line of an error, and its details."""
    if not isinstance(error, dict):
        return "unreadable", shown(error)
    known = cast("dict[str, Any]", error)
    head = ", ".join(str(known.get(name, "?")) for name in ("kind", "type_name", "recorded_at"))
    return f"attempt {known.get('attempt', '?')}: {head}", _block(str(known.get("details", "")))


def _block(text: str) -> SafeString:
    """Return the text as it is, at most `MOST_SHOWN` characters of it."""
    cut = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}\n… {len(text) - MOST_SHOWN:,} characters left out"
    return format_html('<pre style="white-space: pre-wrap; overflow-wrap: anywhere">{}</pre>', cut)


def shown_errors(errors: Any) -> SafeString | str:
    """Return the errors of a job, the last one first."""
    if not isinstance(errors, list):
        return shown(errors)
    newest_first = reversed(cast("list[Any]", errors))
    return format_html_join("", "<p><strong>{}</strong></p>{}", map(_shown_error, newest_first)) or "-"
