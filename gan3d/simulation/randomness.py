"""Random numbers that belong to a shower's number, whatever was drawn before."""

from __future__ import annotations

import copy
from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a stream of random numbers is for; each shower has one of each."""

    INCIDENT = 0
    """The incident particle and the shape of its shower."""
    SPOTS = 1
    """The energy spots and their sampling fluctuations; in the first calorimeter behind the first
    one the next number, and so on."""


class ShowerRandomness:
    """Streams of a counter-based generator (Philox, Salmon et al. 2011).

    The generator's counter has four words: the first counts the numbers drawn, the second is the
    purpose, the third the number of the shower. So a shower's numbers depend on the seed and its
    own number alone.
    """

    def __init__(self, seed: int) -> None:
        """Take the streams of `seed`, a whole number of at least 0."""
        self._philox = np.random.Philox(key=seed, counter=0)
        self._generator = np.random.Generator(self._philox)
        # A copy: the generator's own must not be written to while it runs.
        self._state = copy.deepcopy(self._philox.state)

    def at(self, shower: int, purpose: int) -> np.random.Generator:
        """Return the generator at the start of a stream; it stays good until the next call."""
        self._state["state"]["counter"][:] = (0, int(purpose), shower, 0)
        self._philox.state = self._state
        return self._generator
