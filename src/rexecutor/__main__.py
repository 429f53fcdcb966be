"""`python -m rexecutor` is the command `rexecutor`."""

from rexecutor.cli import main

if __name__ == "__main__":
    main()
