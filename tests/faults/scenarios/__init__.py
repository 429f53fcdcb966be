"""One module for each scenario of the table of promises: `s06.py` has `SCENARIO`, which is S6."""
