"""Time spans as SQL stores keep them: a JSON list of pairs."""

from collections.abc import Sequence

import msgspec

from rexecutor.model.schedules import Span

_SPANS = msgspec.json.Decoder(tuple[Span, ...])


def spans_text(spans: Sequence[Span]) -> str:
    """Return the spans as JSON text."""
    return msgspec.json.encode(spans).decode()


def spans_of(text: str) -> tuple[Span, ...]:
    """Return the spans of a JSON text; empty if the text is invalid."""
    try:
        return _SPANS.decode(text)
    except (msgspec.MsgspecError, UnicodeError):
        return ()
