"""Hides passwords in error messages."""

import re
from typing import Final

_PASSWORD: Final = re.compile(r"((?:pass\w*|pwd)\s*=\s*).*", re.IGNORECASE | re.DOTALL)
_LONGEST: Final = 80
"""Maximum number of characters of a URL in a message."""


def masked(text: str) -> str:
    """Return the text with `…` in place of passwords, and of the user names before them in URLs."""
    return _PASSWORD.sub(r"\1…", re.sub(r"://[^@/\s]*@", "://…@", text))


def masked_url(url: str) -> str:
    """Return a URL, or a connection string, that may be malformed: without user, password and options; not too long.

    Everything before the last @ is hidden: a password may contain an @, a / or a ? that should have been escaped.
    """
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*://)?", url)
    start = scheme.group() if scheme else ""
    user, at, rest = url[len(start) :].rpartition("@")
    if _PASSWORD.search(user):  # in an option `password=`, the rest may be part of it
        rest = ""
    rest = _PASSWORD.sub(r"\1…", re.split(r"[?#]", rest, maxsplit=1)[0])
    shown = start + ("…@" if at else "") + rest
    return shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"
