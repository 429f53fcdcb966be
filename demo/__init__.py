"""`make demo`: real files through worker processes, one of which is killed; nothing may be lost."""
