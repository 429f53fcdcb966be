"""The headers of a job: texts by name, which middleware sends along with it."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from rexecutor.errors import DecodeError, EncodeError, InvalidJobError
from rexecutor.model.checks import mistake
from rexecutor.model.job import Limits, is_storable

_DECODER: Final = msgspec.json.Decoder(dict[str, str])


def encoded_headers(headers: Mapping[Any, Any], limits: Limits) -> str | None:
    """Return the headers as JSON text; None if there are none.

    Raises:
        InvalidJobError: A name or a value is not a str, or no store accepts it.
        EncodeError: Together they are larger than `Limits.headers`.
    """
    if not headers:
        return None
    for name, value in headers.items():
        for what, text in (("each name", name), (f"{name!r}", value)):
            if not isinstance(text, str):
                raise mistake(f"headers: {what}", "a str", text, error=InvalidJobError)
            if not is_storable(text):
                raise InvalidJobError(f"headers: {what} contains a NUL or a lone surrogate, which no store accepts")
    encoded = msgspec.json.encode(headers)
    if len(encoded) > limits.headers:
        raise EncodeError(f"headers: {len(encoded):,} bytes of JSON, at most {limits.headers:,} are allowed")
    return encoded.decode()


def decoded_headers(text: str, executor: str) -> dict[str, str]:
    """Return the headers of a job of this executor.

    Raises:
        DecodeError: The text is not a JSON object of texts.
    """
    try:
        return _DECODER.decode(text)
    except (msgspec.MsgspecError, UnicodeError, TypeError):
        raise DecodeError(f"{executor}: headers: an object of texts expected") from None
