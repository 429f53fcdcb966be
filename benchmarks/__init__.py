"""Figures beside bare sqlite3, in one run: `make bench`."""
