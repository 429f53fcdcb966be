"""The command line: one module for each command. A command's imports wait until it runs, to keep `--help` quick."""

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit the process with its status: 0 done, 1 failed, 2 misused.

    Args:
        arguments: What follows the program's name; None for the arguments of the process.
    """
    try:
        import rich  # noqa: F401  # pyright: ignore[reportUnusedImport] - only to see if it is installed

        from rexecutor.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in ("rich", "typer"):
            raise
        sys.stderr.write(
            f"error: the command line needs {error.name}, which is missing: pip install 'rexecutor[cli]'\n"
        )
        raise SystemExit(2) from None
    raise SystemExit(run(sys.argv[1:] if arguments is None else arguments))
