"""The PostgreSQL backend: stores jobs in a schema of its own, for any number of nodes."""

try:
    import psycopg as _psycopg
    import psycopg_pool as _psycopg_pool
except ImportError as error:
    raise ImportError(f"PostgreSQL needs psycopg ({error}): pip install 'rexecutor[postgres]'") from error

from rexecutor.backend.postgres.backend import PostgresBackend

__all__ = ["PostgresBackend"]

del _psycopg, _psycopg_pool
