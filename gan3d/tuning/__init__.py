"""Hyper-parameter studies: Optuna proposes, blocks of ranks train, physics decides."""

from __future__ import annotations

from gan3d.tuning.study import Study, load_study

__all__ = ["Study", "load_study"]
