"""The recipe of the page on testing for tests on PostgreSQL, run against a server."""

import os
import re
import subprocess
import sys
from pathlib import Path

from sqlalchemy import create_engine, make_url, text
from sqlalchemy.orm import Session

from rexecutor import JobStatus, Where
from rexecutor.testing import assert_enqueued_sync
from tests.postgres import postgres_backend, run_postgres, server_url
from tests.testing.executors import EmailJob

PAGE = Path(__file__).parents[2] / "docs" / "testing.md"
DATABASE = "recipe_of_docs"

SEEN = """

def test_nothing_is_left_of_the_test_before(connection: psycopg.Connection, jobs: PostgresBackend) -> None:
    assert_enqueued_sync(0, backend=jobs.bound_to(connection))
"""


def test_the_recipe_rolls_each_test_back(tmp_path: Path) -> None:
    application, *_ = blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    [recipe] = [block for block in blocks if "TEST_DATABASE_URL" in block]
    (tmp_path / "test_shop.py").write_text(application + recipe + SEEN, encoding="utf-8")
    url = make_url(server_url()).set(database=DATABASE).render_as_string(hide_password=False)
    run_postgres(f"CREATE DATABASE {DATABASE}")
    try:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:randomly", "-W", "error"]
        command += ["-o", "asyncio_default_fixture_loop_scope=function"]
        environment = {**os.environ, "TEST_DATABASE_URL": url}
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=100
        )
    finally:
        run_postgres(f"DROP DATABASE {DATABASE} WITH (FORCE)")

    assert "2 passed" in result.stdout, result.stdout + result.stderr


async def test_a_session_that_commits_is_rolled_back_with_its_connection(tmp_path: Path) -> None:
    async with postgres_backend(tmp_path) as store:
        engine = create_engine(make_url(server_url()).set(drivername="postgresql+psycopg"))
        with engine.connect() as connection:
            outer = connection.begin()
            with Session(connection, join_transaction_mode="create_savepoint") as session:
                session.execute(text("SELECT 1"))
                EmailJob.builder().with_data("bob").enqueue_sync(backend=store.bound_to(session))
                session.commit()
                assert_enqueued_sync(1, for_executor=EmailJob, backend=store.bound_to(session))
            outer.rollback()
        engine.dispose()

        assert await EmailJob.query_jobs(Where.status_in(*JobStatus), backend=store) == []
