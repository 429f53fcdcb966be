"""The one source of chance of a simulation."""

import random

Chance = random.Random
"""A seeded generator."""


def chance_of(seed: int, what: str) -> Chance:
    """Return a generator for one subject of a run. A change in one subject does not shift the others."""
    return Chance(f"{seed}/{what}")
