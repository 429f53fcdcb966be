"""Answers to what operators ask of a store: pure functions of what was read, without I/O. Commands print them."""
