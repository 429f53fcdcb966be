"""Spans of time as SQL stores keep them: a list of pairs in JSON."""

from collections.abc import Sequence

import msgspec

from rexecutor.model.schedules import Span

_SPANS = msgspec.json.Decoder(tuple[Span, ...])


def spans_text(spans: Sequence[Span]) -> str:
    """Answer the spans as text."""
    return msgspec.json.encode(spans).decode()


def spans_of(text: str) -> tuple[Span, ...]:
    """Answer the spans of a text; none where somebody has spoilt it."""
    try:
        return _SPANS.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        return ()
