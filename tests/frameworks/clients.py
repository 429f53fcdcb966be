"""The frameworks' own test clients, which run an application and its lifespan in an event loop of another thread."""

import warnings
from contextlib import AbstractContextManager
from typing import Any

from litestar import Litestar
from litestar.testing import TestClient as LitestarClient
from starlette.applications import Starlette

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Using `httpx`")  # Starlette would rather have `httpx2`, which does the same here
    from starlette.testclient import TestClient


def client_of(app: Starlette | Litestar) -> AbstractContextManager[Any]:
    """Return the test client of FastAPI, Starlette or Litestar. An error of a handler is a response of status 500."""
    if isinstance(app, Litestar):
        return LitestarClient(app, raise_server_exceptions=False)
    return TestClient(app, raise_server_exceptions=False)
