"""Shell commands of rexecutor for a server's schema, for error messages."""

import os
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote, urlencode

import psycopg

from rexecutor.command import command

_ADDRESS_PARAMETERS: Final = re.compile(
    "host|hostaddr|port|user|dbname|service|passfile|target_session_attrs|channel_binding|(ssl|gss|krb)(?!password)[a-z]+"
)
"""The libpq parameters that a command needs to reach the server; none of them is a secret."""
_DEFAULT_SCHEMA: Final = "rexecutor"
UNKNOWN_SERVER: Final = "--url postgresql://…"
"""The option shown if the server is not known; the reader completes it."""


def server_command(words: str, parameters: Mapping[str, Any], schema: str) -> str:
    """Return the command for the server that libpq reaches with these parameters.

    A password is never shown. If one is needed, the command begins with `PGPASSWORD=…`, which the reader completes.
    """
    prefix = "PGPASSWORD=… " if parameters.get("password") and "PGPASSWORD" not in os.environ else ""
    return prefix + command(*words.split(), "--url", url_of(parameters), *_schema_option(schema))


def migrate_command(
    schema: str, connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any] | None = None
) -> str:
    """Return the command that migrates the schema on the connection's server, or on an unknown one for None."""
    if connection is None:
        return " ".join((command("migrate"), UNKNOWN_SERVER, *_schema_option(schema)))
    known = {**_given(connection.info.get_parameters()), "password": connection.info.password}
    return server_command("migrate", known, schema)


def _given(parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters without those that psycopg and libpq add: a host's resolved address, and one default."""
    added = {"hostaddr": "host" in parameters, "sslcertmode": parameters.get("sslcertmode") == "allow"}
    return {name: value for name, value in parameters.items() if not added.get(name)}


def url_of(parameters: Mapping[str, Any]) -> str:
    """Return a URL of the server with only the parameters needed to reach it; no secrets."""
    known = {
        name: str(value)
        for name, value in parameters.items()
        if value is not None and _ADDRESS_PARAMETERS.fullmatch(name)
    }
    place = ""
    if re.fullmatch(r"[\w.-]+", known.get("host", ""), re.ASCII) and re.fullmatch("[0-9]*", known.get("port", "")):
        user, host, port = (known.pop(name, "") for name in ("user", "host", "port"))
        place = (quote(user, safe="") + "@" if user else "") + host + (f":{port}" if port else "")
    database = quote(known.pop("dbname", ""), safe="")
    options = urlencode(known, quote_via=quote, safe="/,")  # also a socket folder or several hosts
    return f"postgresql://{place}/{database}" + (f"?{options}" if options else "")


def _schema_option(schema: str) -> tuple[str, ...]:
    return () if schema == _DEFAULT_SCHEMA else ("--schema", schema)
