"""One running node: it claims jobs when slots are free, runs them, delivers outcomes and keeps its lease."""
