"""Django's settings and connections for tests, without a project. A process configures Django only once."""

import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from django.apps import apps
from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import ConnectionHandler
from django.test.utils import override_settings
from psycopg.conninfo import conninfo_to_dict

from tests.postgres import server_url

ALIAS = "jobs"


def configure() -> None:
    """Configure Django, unless another test has done it; the tests set what they need with `override_settings`."""
    if not settings.configured:
        settings.configure(USE_TZ=True)
        apps.populate(settings.INSTALLED_APPS)


def postgres(**settings: Any) -> dict[str, Any]:
    """Return the settings of a database on the run's server."""
    known = conninfo_to_dict(server_url())
    named = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host", "PORT": "port"}
    where = {key: str(known.get(word) or "") for key, word in named.items()}
    return {"ENGINE": "django.db.backends.postgresql", **where, **settings}


def sqlite(path: Path | str, **settings: Any) -> dict[str, Any]:
    """Return the settings of a database in a file."""
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(path), **settings}


@contextmanager
def local_zone(name: str | None) -> Generator[None]:
    """Let this be the zone of the process, which Django changes with its setting; None for the present one."""
    before = os.environ.get("TZ")
    if name is not None:
        os.environ["TZ"] = name
        time.tzset()
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("TZ", None)
        else:
            os.environ["TZ"] = before
        time.tzset()


@contextmanager
def connected(database: dict[str, Any], alias: str = ALIAS, **overridden: Any) -> Generator[BaseDatabaseWrapper]:
    """Make `connections[alias]` of this thread a new connection to the database; close it in the end.

    Args:
        database: Its settings; those left out have Django's defaults.
        alias: The name under which `transaction.atomic(alias)` finds it.
        overridden: Settings of Django that hold meanwhile.
    """
    configure()
    with local_zone(None), override_settings(**overridden):
        handler = ConnectionHandler({"default": sqlite(":memory:"), alias: database})
        made = handler[alias]
        connections[alias] = made
        try:
            yield made
        finally:
            made.close()
            if getattr(made, "pool", None):
                cast("Any", made).close_pool()
            del connections[alias]
