"""Real migrations with Alembic: what autogenerate proposes, and our tables in an application's chain."""

import io
import subprocess
import sys
import uuid
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Column, Engine, Integer, MetaData, Table, inspect, make_url

from rexecutor import ConfigurationError, Executor, Job, PostgresBackend, Rexecutor, SQLiteBackend
from rexecutor.alembic import include_name, upgrade_operations
from rexecutor.backend.postgres.connection import newest
from tests.integrations.engines import engine_on
from tests.postgres import run_postgres, server_url
from tests.support import soon

ENVIRONMENT = """
from alembic import context

settings = context.config.attributes["settings"]
engine = context.config.attributes["engine"]
with engine.connect() as connection:
    context.configure(connection=connection, **settings)
    with context.begin_transaction():
        context.run_migrations()
"""
TEMPLATE = '''"""${message}"""
from alembic import op
import sqlalchemy as sa

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}


def upgrade():
    ${upgrades if upgrades else "pass"}


def downgrade():
    ${downgrades if downgrades else "pass"}
'''


class Letter(Executor[str]):
    name = "letter"

    async def execute(self, job: Job[str]) -> None: ...


class Chain:
    """An application's migrations in a folder, and the engine that they are run on."""

    def __init__(self, folder: Path, engine: Engine, **settings: Any) -> None:
        self._versions = folder / "versions"
        self._versions.mkdir(parents=True)
        (folder / "env.py").write_text(ENVIRONMENT)
        (folder / "script.py.mako").write_text(TEMPLATE)
        self._config = Config()
        self._config.set_main_option("script_location", str(folder).replace("%", "%%"))
        self._config.set_main_option("path_separator", "os")
        self._config.attributes["engine"] = engine
        self._config.attributes["settings"] = {"target_metadata": application(), **settings}

    def proposed(self) -> str:
        """Return what autogenerate writes into a new revision, and forget it."""
        made = command.revision(self._config, autogenerate=True)
        assert made is not None
        assert not isinstance(made, list)
        file = Path(made.path)
        text = file.read_text()
        file.unlink()
        return text.partition("def upgrade():")[2].partition("def downgrade():")[0]

    def add(self, name: str, before: str | None, upgrade: str) -> None:
        """Write a revision by hand."""
        (self._versions / f"{name}.py").write_text(
            f"from alembic import op\nfrom rexecutor.alembic import upgrade_operations\n"
            f"revision = {name!r}\ndown_revision = {before!r}\n"
            f"def upgrade():\n    {upgrade}\ndef downgrade(): ...\n"
        )

    def upgrade(self) -> None:
        command.upgrade(self._config, "head")


def application() -> MetaData:
    """Return the tables of an application."""
    made = MetaData()
    Table("orders_of_alembic", made, Column("id", Integer, primary_key=True))
    return made


@pytest.fixture
def database() -> Generator[str]:
    """The URL of a database of the test's own, where no other test makes schemas."""
    name = f"alembic_{uuid.uuid4().hex}"  # noqa: TID251 - not of a job
    run_postgres(f"CREATE DATABASE {name}")
    url = make_url(server_url()).set(database=name)
    yield url.render_as_string(hide_password=False)
    run_postgres(f"DROP DATABASE {name} WITH (FORCE)")


def on_psycopg(url: str) -> Any:
    return make_url(url).set(drivername="postgresql+psycopg")


class TestAutogenerate:
    async def test_of_a_file_it_proposes_nothing(self, tmp_path: Path) -> None:
        async with SQLiteBackend(tmp_path / "jobs.db") as backend:
            with engine_on(f"sqlite:///{backend.path}") as engine:
                application().create_all(engine)

                assert "pass" in Chain(tmp_path / "with", engine, include_name=include_name).proposed()
                without = Chain(tmp_path / "without", engine).proposed()
                assert "op.drop_table('rexecutor_queue')" in without

    @pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
    @pytest.mark.parametrize("schema", ["rexecutor", "jobs"])
    async def test_of_all_schemas_it_proposes_nothing(self, tmp_path: Path, database: str, schema: str) -> None:
        async with PostgresBackend(database, schema=schema) as backend:
            await backend.migrate()
        ours = include_name if schema == "rexecutor" else include_name.for_schema(schema)
        with engine_on(on_psycopg(database)) as engine:
            application().create_all(engine)

            proposed = Chain(tmp_path / "with", engine, include_schemas=True, include_name=ours).proposed()
            assert "pass" in proposed
            without = Chain(tmp_path / "without", engine, include_schemas=True).proposed()
            assert f"op.drop_table('queue', schema='{schema}')" in without

    async def test_the_applications_own_filter_stands_beside_it(self, tmp_path: Path) -> None:
        def not_old(name: str | None, type_: str, parent_names: Any) -> bool:
            return not (type_ == "table" and name == "old")

        async with SQLiteBackend(tmp_path / "jobs.db") as backend:
            with engine_on(f"sqlite:///{backend.path}") as engine:
                application().create_all(engine)
                with engine.begin() as connection:
                    connection.exec_driver_sql("CREATE TABLE old (id INTEGER)")

                alone = Chain(tmp_path / "alone", engine, include_name=include_name).proposed()
                assert alone.count("drop_table") == 1
                assert "op.drop_table('old')" in alone
                both = Chain(tmp_path / "both", engine, include_name=include_name.beside(not_old)).proposed()
                assert "pass" in both

    async def test_what_the_application_adds_is_proposed(self, tmp_path: Path) -> None:
        async with SQLiteBackend(tmp_path / "jobs.db") as backend:
            with engine_on(f"sqlite:///{backend.path}") as engine:
                proposed = Chain(tmp_path / "chain", engine, include_name=include_name).proposed()

        assert proposed.count("op.") == 1
        assert "op.create_table('orders_of_alembic'" in proposed

    def test_parts_of_our_tables_are_hidden_and_no_others(self) -> None:
        ours = {"schema_name": None, "table_name": "rexecutor_queue"}
        theirs = {"schema_name": None, "table_name": "orders"}
        for kind in ("column", "index", "unique_constraint", "foreign_key_constraint"):
            assert not include_name("ix", kind, ours)
            assert include_name("rexecutor_of_orders", kind, theirs)
        assert not include_name("queue", "table", {"schema_name": "rexecutor"})
        assert include_name(None, "schema", {})
        assert include_name("queue", "table", {"schema_name": "shop"})


class TestAChain:
    @pytest.mark.parametrize("schema", ["rexecutor", "jobs"])
    async def test_it_makes_a_store_that_a_node_opens(self, tmp_path: Path, database: str, schema: str) -> None:
        with engine_on(on_psycopg(database)) as engine:
            chain = Chain(tmp_path / "chain", engine)
            chain.add("a1", None, 'op.execute("CREATE TABLE orders_of_alembic (id integer PRIMARY KEY)")')
            chain.add("b2", "a1", f"[op.execute(text) for text in upgrade_operations(0, schema={schema!r})]")
            chain.upgrade()
            assert inspect(engine).has_table("orders_of_alembic")

        backend = PostgresBackend(database, schema=schema)
        async with Rexecutor(backend, executors=[Letter]):
            handle = await Letter.enqueue("a", backend=backend)
            await soon(handle.wait())
            await backend.migrate()  # finds nothing to do
        versions = run_postgres(f"SELECT version FROM {schema}.migrations ORDER BY version", url=database)
        assert versions == [(number,) for number in range(1, newest() + 1)]

    async def test_it_finds_what_migrate_has_done(self, tmp_path: Path, database: str) -> None:
        async with PostgresBackend(database) as backend:
            await backend.migrate()
            handle = await Letter.enqueue("kept", backend=backend)
            with engine_on(on_psycopg(database)) as engine:
                chain = Chain(tmp_path / "chain", engine)
                chain.add("a1", None, "[op.execute(text) for text in upgrade_operations(0)]")
                chain.upgrade()

            assert (await handle.fetch()).data == "kept"

    def test_it_has_one_text_for_each_version(self) -> None:
        assert len(list(upgrade_operations(0))) == newest()
        assert len(list(upgrade_operations(0, to_version=1))) == 1
        assert list(upgrade_operations(newest())) == []
        assert list(upgrade_operations(0, to_version=0)) == []

    def test_offline_it_is_printed_as_it_is(self) -> None:
        """SQLAlchemy would take `:word` in a text for a parameter, and double each `%`."""
        printed = io.StringIO()
        offline = MigrationContext.configure(
            dialect_name="postgresql", opts={"as_sql": True, "output_buffer": printed, "literal_binds": True}
        )

        for statement in upgrade_operations(0):
            Operations(offline).execute(statement)

        assert printed.getvalue().split() == " ".join(f"{text};" for text in upgrade_operations(0)).split()

    @pytest.mark.parametrize(
        ("first", "last"), [(-1, None), (newest() + 1, None), (1, 0), (0, newest() + 1), (True, None), ("0", None)]
    )
    def test_a_version_that_there_is_not_is_refused(self, first: Any, last: Any) -> None:
        with pytest.raises(
            ConfigurationError, match=r"upgrade_operations: (from|to)_version must be an int from 0 to \d"
        ):
            upgrade_operations(first, to_version=last)

    def test_a_schema_with_an_invalid_name_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match="schema must be a letter"):
            upgrade_operations(0, schema="a b")


def test_neither_alembic_nor_a_driver_is_imported() -> None:
    code = (
        "import sys; from rexecutor.alembic import include_name;"
        "assert not include_name('rexecutor_queue', 'table', {'schema_name': None});"
        "assert not {'alembic', 'sqlalchemy', 'psycopg'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
