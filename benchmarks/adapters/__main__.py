"""Serves an adapter: `python -m benchmarks.adapters MODULE`.

No adapter is `__main__` itself, because some systems find their jobs by the name of the module.
"""

import sys
from importlib import import_module

from benchmarks.adapters.harness import main

if __name__ == "__main__":
    main(import_module(f"benchmarks.adapters.{sys.argv[1]}").ADAPTER())
