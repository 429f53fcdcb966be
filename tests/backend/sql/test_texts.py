"""The texts of the statements, as they are sent."""

from importlib import resources

import pytest

from rexecutor.backend.postgres.statements import Statements
from rexecutor.backend.sql import statement

FILES = [
    (package, file.name.removesuffix(".sql"))
    for package in ("rexecutor.backend.postgres", "rexecutor.backend.sqlite")
    for file in resources.files(package).joinpath("sql").iterdir()
]
CACHED = 4_096
"""Most characters of a text of which psycopg keeps what it found out (`MAX_CACHED_STATEMENT_LENGTH`)."""


@pytest.mark.parametrize(("package", "name"), FILES)
def test_a_text_begins_with_its_name_and_then_the_statement(package: str, name: str) -> None:
    first, *lines = statement(package, name).splitlines()
    assert first == f"-- rexecutor: {name}"
    assert not [line for line in lines if line.lstrip().startswith("--")]


@pytest.mark.parametrize("package", ["rexecutor.backend.postgres", "rexecutor.backend.sqlite"])
def test_pages_in_both_orders_have_the_same_columns(package: str) -> None:
    assert columns_of(package, "select_jobs") == columns_of(package, "select_newest_jobs")


def test_jobs_to_change_have_the_columns_of_one_job() -> None:
    package = "rexecutor.backend.sqlite"

    assert columns_of(package, "select_chosen_jobs") == columns_of(package, "select_job")


def columns_of(package: str, name: str) -> list[str]:
    """Return the columns that the statement selects; an expression `+id` counts as the column `id`."""
    selected = statement(package, name).partition("SELECT")[2].partition("FROM")[0]
    return [column.strip().removeprefix("+") for column in selected.split(",")]


@pytest.mark.parametrize("name", ["claim_jobs", "claim_marked", "insert_job", "settle_complete"])
def test_psycopg_keeps_the_texts_that_run_most_often(name: str) -> None:
    assert len(Statements("a_schema_with_a_name_of_the_greatest_length_that_postgresql_has").text(name)) <= CACHED
