"""Engines of SQLAlchemy that are disposed of after their use."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.engine import Engine


@contextmanager
def engine_on(url: Any) -> Generator[Engine]:
    engine = create_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()
