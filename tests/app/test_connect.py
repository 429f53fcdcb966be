from pathlib import Path

import pytest

from rexecutor.app.connect import connect
from rexecutor.backend.memory import InMemoryBackend
from rexecutor.backend.postgres import PostgresBackend
from rexecutor.backend.sqlite import SQLiteBackend
from rexecutor.errors import ConfigurationError


def test_memory_answers_a_backend_in_memory() -> None:
    assert isinstance(connect("memory:"), InMemoryBackend)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///jobs.db", "jobs.db"),
        ("sqlite:///var/jobs.db", "var/jobs.db"),
        ("sqlite:////var/lib/jobs.db", "/var/lib/jobs.db"),
        ("SQLite:///jobs.db", "jobs.db"),
        ("sqlite:///my jobs ü.db", "my jobs ü.db"),
        ("sqlite:///100%25.db", "100%25.db"),
        ("sqlite:///a#b@c.db", "a#b@c.db"),
        ("sqlite:///two\nlines.db", "two\nlines.db"),
    ],
)
def test_sqlite_takes_the_path_as_it_is_written(url: str, path: str) -> None:
    backend = connect(url)

    assert isinstance(backend, SQLiteBackend)
    assert backend.path == Path(path)


def test_what_is_answered_is_not_open_and_no_file_is_made(tmp_path: Path) -> None:
    backend = connect(f"sqlite:///{tmp_path / 'jobs.db'}")

    assert not backend.is_open
    assert not (tmp_path / "jobs.db").exists()


async def test_opening_makes_the_file_where_it_is_missing(tmp_path: Path) -> None:
    async with connect(f"sqlite:///{tmp_path / 'jobs.db'}"):
        assert (tmp_path / "jobs.db").exists()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "POSTGRESQL", "postgresql+psycopg"])
def test_postgresql_answers_a_backend_that_is_not_open(scheme: str) -> None:
    backend = connect(f"{scheme}://me:secret@host/jobs?connect_timeout=3")

    assert isinstance(backend, PostgresBackend)
    assert not backend.is_open
    assert backend.schema == "rexecutor"


def test_a_schema_is_given_beside_the_url() -> None:
    backend = connect("postgresql://me@host/jobs", schema="mine")

    assert isinstance(backend, PostgresBackend)
    assert backend.schema == "mine"


@pytest.mark.parametrize("url", ["sqlite:///jobs.db", "memory:"])
def test_a_store_without_schemas_takes_none(url: str) -> None:
    with pytest.raises(ConfigurationError, match="schema 'mine': only PostgreSQL has schemas"):
        connect(url, schema="mine")


def test_another_driver_of_postgresql_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="the driver is psycopg") as refused:
        connect("postgresql+asyncpg://me:secret@host/jobs")

    assert "secret" not in str(refused.value)


def test_a_url_of_postgresql_that_libpq_cannot_read_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="not a URL of PostgreSQL") as refused:
        connect("postgresql://me:secret@host/jobs?nonsense=1")

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "jobs.db",
        "memory",
        "memory://",
        "sqlite:",
        "sqlite:jobs.db",
        "sqlite://",
        "sqlite://jobs.db",
        "sqlite:///",
        "sqlite:////",
        "sqlite:///:memory:",
        "sqlite:///jobs.db?mode=ro",
        "sqlite:///jobs\0.db",
        "mysql://host/jobs",
        "redis://host",
        "\n",
        None,
        7,
    ],
)
def test_what_names_no_store_is_refused_with_what_is_accepted(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"memory:|question mark") as caught:
        connect(url)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://bob:secret@host/jobs",
        "mysql://bob:sec@ret@host/jobs",
        "mysql://bob:se?secret@host/jobs",
        "mysql://host/jobs?user=bob&password=secret",
        "mysql://host/jobs?password=my@secret",
        "postgress://bob:secret@host/jobs",
        "mysql://bob:secret@host",
        "bob:secret@host/jobs",
        "sqlite://bob:secret@host/jobs",
        "host=here password=secret",
        "host=here Password = 'my secret'",
        "host=here password=my@secret",
    ],
)
def test_a_refused_url_is_shown_without_its_user_and_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        connect(url)

    assert "bob" not in str(caught.value)
    assert "sec" not in str(caught.value)


def test_a_refused_url_is_shown_with_what_is_no_secret() -> None:
    with pytest.raises(ConfigurationError, match="mysql://…@host:5432/jobs"):
        connect("mysql://bob:secret@host:5432/jobs?sslmode=require")


def test_a_very_long_url_is_cut_in_the_message() -> None:
    with pytest.raises(ConfigurationError) as caught:
        connect("x" * 100_000)

    assert len(str(caught.value)) < 300
