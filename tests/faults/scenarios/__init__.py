"""One module for each scenario of the table of promises: `s06_paused_worker.py` has `SCENARIO`, which is S6."""
