"""Programs that scenarios run as processes of their own: `python -m tests.faults.programs.…`."""
