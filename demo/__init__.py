"""`make demo`: worker processes examine real files. One worker is killed, and no job may be lost."""
