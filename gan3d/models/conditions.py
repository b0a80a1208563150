"""What networks make of the labels that they are conditioned on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras import layers

from gan3d.config import Condition


def embed_labels(labels_bc: Any, labels: Sequence[Condition]) -> Any:
    """Labels (B, C) as numbers for dense layers (B, D).

    A number stays as it is; a category becomes `Condition.embedding` learnt numbers. The layers are
    called as the labels, `embedding_NAME`.
    """
    parts = []
    for place, label in enumerate(labels):
        value_b1 = labels_bc[:, place : place + 1]
        if label.kind == "categories":
            # The place in the list of values; whole numbers are exact in float32.
            vector = layers.Embedding(
                len(label.values), label.embedding, name=f"embedding_{label.name}"
            )(value_b1)
            value_b1 = layers.Reshape((label.embedding,), name=f"vector_{label.name}")(vector)
        parts.append(value_b1)
    return parts[0] if len(parts) == 1 else layers.Concatenate(name="label_numbers")(parts)
