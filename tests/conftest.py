"""Fixtures that all rooms' tests share."""

import os

import pytest

# Set before any test imports TensorFlow: quiet, and the backend that the package runs on.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run what is fast first, then what needs TensorFlow, then what trains or starts ranks."""
    order = ("tensorflow", "slow", "distributed")

    def weight(item: pytest.Item) -> int:
        return max(
            (1 + order.index(m.name) for m in item.iter_markers() if m.name in order), default=0
        )

    items.sort(key=weight)
