"""Have the words of files counted: `python count.py README.md jobs.py`."""

import sys
from datetime import timedelta

from jobs import count_words, rexecutor
from rexecutor import results_sync

stored = count_words.options(backend=rexecutor.backend)
handles = [stored.enqueue_sync(path) for path in sys.argv[1:]]
print(f"jobs {', '.join(str(handle.id) for handle in handles)} are stored", flush=True)

for path, words in zip(sys.argv[1:], results_sync(handles, timedelta(minutes=1)), strict=True):
    print(f"{path}: {words} words")
