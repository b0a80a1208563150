"""How much of an objective's variance each parameter explains, and how much chance alone would."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.trial import FrozenTrial

_FEWEST = 4
"""Of fewer trials importances are not asked for."""

_SHUFFLES = 9
"""The largest of so many shares of shuffled values is what chance reaches in one of ten."""

_SHUFFLED_TREES, _SHUFFLED_TRIALS = 16, 100
"""For shuffled values: fewer trees than Optuna's 64, and of at most so many trials, as they cost
seconds; fewer trials only have larger shares by chance."""


@dataclass(frozen=True)
class Importance:
    """What a parameter explains."""

    share: float
    """Of the variance, by itself or together with others."""
    chance: float
    """A share that is reached in one of ten where no parameter has any effect."""

    @property
    def is_above_chance(self) -> bool:
        """Whether it is more than that."""
        return self.share > self.chance


def importances(
    trials: Sequence[FrozenTrial], values: Sequence[float], seed: int
) -> dict[str, Importance]:
    """Functional ANOVA (Hutter et al. 2014) of the parameters that all trials have.

    Empty where trials are too few, or nothing varies.
    """
    if len(trials) < _FEWEST:
        return {}
    shares = _shares(trials, values, seed)
    rng = np.random.default_rng(seed)
    chance = dict.fromkeys(shares, 0.0)
    for _ in range(_SHUFFLES if shares else 0):
        chosen = rng.permutation(len(trials))[:_SHUFFLED_TRIALS]
        shuffled = [values[at] for at in rng.permutation(chosen)]
        found = _shares([trials[at] for at in chosen], shuffled, seed, trees=_SHUFFLED_TREES)
        chance = {key: max(chance[key], found.get(key, 0.0)) for key in chance}
    return {key: Importance(share, chance[key]) for key, share in shares.items()}


def _shares(
    trials: Sequence[FrozenTrial], values: Sequence[float], seed: int, *, trees: int = 64
) -> dict[str, float]:
    study = optuna.create_study()
    study.add_trials(
        [
            optuna.trial.create_trial(
                params=trial.params, distributions=trial.distributions, value=value
            )
            for trial, value in zip(trials, values, strict=True)
        ]
    )
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=trees, seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
        except RuntimeError:  # no tree has any variance: all values, or points, are one
            return {}
    return {key: value for key, value in found.items() if math.isfinite(value)}


def not_above_chance(found: Mapping[str, Importance]) -> str:
    """A sentence on the parameters of which nothing can be said; empty: on none."""
    vain = [key for key, each in found.items() if not each.is_above_chance]
    if not vain:
        return ""
    return f"Not above chance: {', '.join(vain)}; more trials would tell."
