"""Optimisers by name, and the scale of the loss under mixed_float16."""

from __future__ import annotations

from typing import Any

import keras

from gan3d.config import Optimizer


def build_optimizer(settings: Optimizer, variables: list[keras.Variable]) -> keras.Optimizer:
    """A Keras optimiser with its slots made for `variables`.

    Where layers compute in float16 (Keras's dtype policy) it is one that scales the loss.
    """
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
    if keras.config.dtype_policy().compute_dtype == "float16":
        optimizer = keras.optimizers.LossScaleOptimizer(
            optimizer,
            initial_scale=settings.loss_scale,
            dynamic_growth_steps=settings.loss_scale_growth_steps,
        )
    optimizer.build(variables)
    return optimizer


def scale_loss(optimizer: keras.Optimizer, loss: Any) -> Any:
    """What is to be differentiated: `loss`, scaled where `optimizer` divides gradients again."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return optimizer.scale_loss(loss)
    return loss


def inner_variables(optimizer: keras.Optimizer) -> list[keras.Variable]:
    """The variables of the optimiser by name: the same in every precision."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    return list(optimizer.variables)


def loss_scale_variables(optimizer: keras.Optimizer) -> list[keras.Variable]:
    """The scale of the loss and the steps since it changed; empty where there is none."""
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        return [optimizer.dynamic_scale, optimizer.step_counter]
    return []
