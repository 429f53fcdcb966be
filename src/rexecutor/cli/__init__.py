"""The command line: one module a command. What a command needs is imported when it runs, to keep `--help` quick."""

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 done, 1 failed, 2 misused.

    Args:
        arguments: What follows the program's name; the process's own by default.
    """
    try:
        import rich  # noqa: F401  # pyright: ignore[reportUnusedImport] - only asked whether it is there

        from rexecutor.cli.app import run
    except ModuleNotFoundError as error:
        if error.name not in ("rich", "typer"):
            raise
        sys.stderr.write(
            f"error: the command line needs {error.name}, which is missing: pip install 'rexecutor[cli]'\n"
        )
        raise SystemExit(2) from None
    raise SystemExit(run(sys.argv[1:] if arguments is None else arguments))
