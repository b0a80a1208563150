"""Optimisers by name."""

from __future__ import annotations

import keras

from gan3d.config import Optimizer


def build_optimizer(settings: Optimizer, variables: list[keras.Variable]) -> keras.Optimizer:
    """A Keras optimiser with its slots made for `variables`."""
    adam_family = {
        "beta_1": settings.beta_1,
        "beta_2": settings.beta_2,
        "epsilon": settings.epsilon,
    }
    arguments: dict[str, dict[str, float]] = {
        "rmsprop": {
            "rho": settings.rho,
            "momentum": settings.momentum,
            "epsilon": settings.epsilon,
        },
        "sgd": {"momentum": settings.momentum},
        "adam": adam_family,
        "adamw": adam_family,
        "nadam": adam_family,
    }
    classes = {
        "rmsprop": keras.optimizers.RMSprop,
        "sgd": keras.optimizers.SGD,
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "nadam": keras.optimizers.Nadam,
    }
    optimizer = classes[settings.name](
        learning_rate=settings.learning_rate, **arguments[settings.name]
    )
    optimizer.build(variables)
    return optimizer
