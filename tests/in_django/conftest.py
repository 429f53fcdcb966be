"""Django is set up once a process. Each test that needs a database asks for one by a fixture."""

import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import django
import pytest

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.in_django.settings"  # before the modules of the tests are imported
django.setup()
del os.environ["DJANGO_SETTINGS_MODULE"]  # other tests start programs with settings of their own

from tests.in_django import databases  # noqa: E402 - as above

if django.VERSION >= (6,):  # made by the settings as they stand now, not by those of a test
    import_module("tests.in_django.shop.tasks")


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file that Django has migrated."""
    return databases.migrated_sqlite(tmp_path_factory.mktemp("django") / "template.sqlite3")


@pytest.fixture(scope="session")
def postgres_template() -> Iterator[str]:
    """The name of a PostgreSQL database that Django has migrated."""
    with databases.migrated_postgres(databases.new_name()) as name:
        yield name


@pytest.fixture
def sqlite_database(sqlite_template: Path, tmp_path: Path) -> Iterator[str]:
    """Django's alias of a migrated SQLite file of the test's own."""
    with databases.sqlite(sqlite_template, tmp_path / "db.sqlite3") as alias:
        yield alias


@pytest.fixture
def postgres_database(postgres_template: str) -> Iterator[str]:
    """Django's alias of a migrated PostgreSQL database of the test's own, which is dropped at its end."""
    with databases.postgres(postgres_template, databases.new_name()) as alias:
        yield alias


@pytest.fixture(params=["sqlite", "pg"])  # not "postgres": what the quick tier leaves out (tests/other_versions.py)
def database(request: pytest.FixtureRequest) -> str:
    """Django's alias of a migrated database of the test's own. The test runs once on each kind."""
    name = {"sqlite": "sqlite_database", "pg": "postgres_database"}[request.param]
    alias: str = request.getfixturevalue(name)
    return alias


@pytest.fixture(scope="session")
def shared_postgres(postgres_template: str) -> Iterator[str]:
    """The name of a PostgreSQL database for all tests that only write rows."""
    with databases.copied_postgres(postgres_template, databases.new_name()) as name:
        yield name


@pytest.fixture(params=["sqlite", "pg"])
def jobs(request: pytest.FixtureRequest) -> Iterator[str]:
    """Django's alias of a database that holds the jobs, for tests that only write rows: empty, on each kind."""
    if request.param == "sqlite":
        request.getfixturevalue("sqlite_database")
        with databases.jobs_in("default"):
            yield "default"
    else:
        with databases.emptied_postgres(request.getfixturevalue("shared_postgres")), databases.jobs_in("postgres"):
            yield "postgres"
