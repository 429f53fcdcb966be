"""Rows of an SQLite file changed by hand, behind the library's back."""

import re
import sqlite3

from rexecutor.model.job import JobId

_TABLES = ("rexecutor_stored_jobs", "rexecutor_queue", "rexecutor_running")


def change_job(connection: sqlite3.Connection, job_id: JobId, change: str) -> None:
    """Change a job's columns in each table that holds them, whatever the checks say.

    Args:
        connection: The connection, which need not commit by itself.
        job_id: The job.
        change: The right side of `UPDATE … SET`.
    """
    values = dict(part.split(" = ", 1) for part in re.split(r", (?=\w+ = )", change))
    connection.execute("PRAGMA ignore_check_constraints = ON")
    for table in _TABLES:
        columns = {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
        if held := [f"{column} = {value}" for column, value in values.items() if column in columns]:
            connection.execute(f"UPDATE {table} SET {', '.join(held)} WHERE id = ?", (job_id,))
    connection.execute("PRAGMA ignore_check_constraints = OFF")
