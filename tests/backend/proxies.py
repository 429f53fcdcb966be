"""What tracing libraries put around the connections of an application."""

from typing import Any


class Proxy:
    """Passes everything on to what it wraps, as `wrapt.ObjectProxy` does: only its type tells that it is a proxy."""

    __slots__ = ("__wrapped__",)
    __wrapped__: Any

    def __init__(self, wrapped: Any) -> None:
        object.__setattr__(self, "__wrapped__", wrapped)

    @property
    def __class__(self) -> Any:
        return self.__wrapped__.__class__

    @__class__.setter
    def __class__(self, kind: Any) -> None:
        self.__wrapped__.__class__ = kind

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__wrapped__, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.__wrapped__, name, value)


class LocalProxy:
    """Finds its object at each use, as werkzeug's does; `__wrapped__` is what finds it, not the object."""

    __module__ = "werkzeug.local"

    def __init__(self, find: Any) -> None:
        self.__wrapped__ = find
        self._get_current_object = find

    def __getattr__(self, name: str) -> Any:
        return getattr(self._get_current_object(), name)


def made_of(name: str) -> Any:
    """Return an object of a class of that full name, which has whatever attribute and method it is asked for."""
    module, _, kind = name.rpartition(".")
    return type(kind, (_Anything,), {"__module__": module})()


class _Anything:
    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, *arguments: object) -> Any:
        return self
