from pathlib import Path

import pytest

from rexecutor.backend.memory import InMemoryBackend
from rexecutor.backend.sqlite import SQLiteBackend
from rexecutor.errors import ConfigurationError
from rexecutor.url import connect


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
def test_postgresql_is_said_to_be_missing_from_this_version(scheme: str) -> None:
    with pytest.raises(ConfigurationError, match="PostgreSQL is not in this version yet"):
        connect(f"{scheme}://host/jobs")


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
        "postgresql://bob:secret@host/jobs",
        "postgres://bob:sec@ret@host/jobs",
        "postgresql://bob:se?secret@host/jobs",
        "postgresql://host/jobs?user=bob&password=secret",
        "postgress://bob:secret@host/jobs",
        "mysql://bob:secret@host",
        "bob:secret@host/jobs",
        "sqlite://bob:secret@host/jobs",
        "host=here password=secret",
        "host=here Password = 'my secret'",
    ],
)
def test_a_refused_url_is_shown_without_its_user_and_password(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        connect(url)

    assert "bob" not in str(caught.value)
    assert "sec" not in str(caught.value)


def test_a_refused_url_is_shown_with_what_is_no_secret() -> None:
    with pytest.raises(ConfigurationError, match="postgresql://host:5432/jobs"):
        connect("postgresql://bob:secret@host:5432/jobs?sslmode=require")


def test_a_very_long_url_is_cut_in_the_message() -> None:
    with pytest.raises(ConfigurationError) as caught:
        connect("x" * 100_000)

    assert len(str(caught.value)) < 300
