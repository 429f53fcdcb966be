"""`Step`, the operation of Django's migrations that executes one migration of the store."""

from pathlib import Path
from typing import Final

from django.db import router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from rexecutor.django.stores import stores
from rexecutor.errors import ConfigurationError


class Step(Operation):
    """Executes one migration of the store, in each schema that the settings name for the database.

    It does nothing if the store has that version already: `rexecutor migrate`, or the opening of an SQLite file, may
    have made the tables first. A backward migration leaves the tables and the jobs as they are.
    """

    reversible = True

    def __init__(self, number: int) -> None:
        """Make the operation.

        Args:
            number: Number of the migration, from 1.
        """
        self.number: Final = number

    def describe(self) -> str:
        """Return the line that `manage.py migrate --plan` prints."""
        return f"Bring the tables of jobs to version {self.number}"

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Change nothing: Django does not manage the tables."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,  # noqa: ARG002 - Django's signature
        to_state: ProjectState,  # noqa: ARG002 - as above
    ) -> None:
        """Execute the migration in the editor's database, if the settings keep jobs there and no router forbids it.

        Raises:
            ConfigurationError: psycopg 3 is not installed, or the name of a schema is not valid.
        """
        connection = schema_editor.connection
        schemas = [store.schema for store in stores() if store.database == connection.alias]
        if not schemas or not router.allow_migrate(connection.alias, app_label):
            return
        if connection.vendor == "postgresql":
            for schema in dict.fromkeys(schemas):
                self._on_postgres(schema_editor, schema)
        elif connection.vendor == "sqlite":
            self._on_sqlite(schema_editor)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Do nothing: the tables and the jobs stay."""

    def _on_postgres(self, schema_editor: BaseDatabaseSchemaEditor, schema: str) -> None:
        try:
            from rexecutor.backend.postgres.connection import checked_schema, migration_script  # psycopg is an extra
        except ImportError as error:
            raise ConfigurationError(
                "jobs in PostgreSQL need psycopg 3, and psycopg 2 is installed; run `pip install 'rexecutor[postgres]'`"
            ) from error
        schema_editor.execute(migration_script(checked_schema(schema), self.number), params=None)

    def _on_sqlite(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        from rexecutor.backend.sqlite.connection import commands_of, lock_version  # loads what the store needs

        connection = schema_editor.connection
        if not schema_editor.collect_sql:
            connection.ensure_connection()
            if lock_version(connection.connection, Path(str(connection.settings_dict["NAME"]))) >= self.number:
                return
        for command in commands_of(self.number):
            schema_editor.execute(command, params=None)
