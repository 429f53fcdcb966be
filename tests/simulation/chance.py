"""The one source of chance of a simulation."""

import random

Chance = random.Random
"""A seeded generator."""


def chance_of(seed: int, what: str) -> Chance:
    """Answer a generator of its own for one thing of a run, so that a change in one does not shift the others."""
    return Chance(f"{seed}/{what}")
