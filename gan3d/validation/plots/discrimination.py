"""Figures of what tells generated from reference showers: classifiers, and the GAN's own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from gan3d.errors import DataError
from gan3d.validation.measures import Float
from gan3d.validation.plots._drawing import draw_histogram
from gan3d.validation.plots._style import (
    LOOKS,
    REFERENCE_COLOUR,
    add_legend,
    figure_with_panels,
    one_or_several,
    reference_first,
    shorten,
    styled,
)

_ROC_INCHES = 7.0
_LONGEST_LABEL_WITH_AREA = 45


@dataclass(frozen=True)
class RocCurve:
    """Receiver operating characteristic of a classifier of generated against reference showers."""

    label: str
    """Of the generated sample, or of the classifier."""
    false_positive_rate: Float
    """Share of the reference showers taken for generated, ascending from 0 to 1."""
    true_positive_rate: Float
    """Share of the generated showers that are recognised, at the same cuts."""
    auc: float
    """Area under the curve; 0.5 where the classifier cannot tell."""
    auc_error: float
    """Its standard error."""


@styled
def classifier_roc(curves: RocCurve | Sequence[RocCurve]) -> Figure:
    """Recognised generated showers against misjudged reference showers; the diagonal is chance.

    Raises:
        DataError: there are more than six curves.

    """
    shown: Sequence[RocCurve] = one_or_several(curves)
    figure = Figure(figsize=(_ROC_INCHES, _ROC_INCHES), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0.0, 1.0], [0.0, 1.0], color=REFERENCE_COLOUR, linestyle=":", linewidth=1.2)
    axes.text(0.75, 0.72, "chance", rotation=45.0, ha="center", va="top", rotation_mode="anchor")
    looks = LOOKS[1:]
    for curve, look in zip(shown, looks, strict=False):
        axes.plot(
            curve.false_positive_rate,
            curve.true_positive_rate,
            color=look.colour,
            linestyle=look.line,
            linewidth=1.8,
            marker=look.marker,
            markevery=(0.05, 0.2),  # so many lengths of the diagonal: enough to tell curves apart
        )
    axes.set_aspect("equal")
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(0.0, 1.0)
    axes.set_xlabel("False positive rate: reference showers taken for generated")
    axes.set_ylabel("True positive rate: generated showers recognised")
    names = [shorten(curve.label, _LONGEST_LABEL_WITH_AREA) for curve in shown]
    add_legend(
        figure,
        [
            f"{name}: AUC {curve.auc:.3f} ± {curve.auc_error:.3f}"
            for name, curve in zip(names, shown, strict=True)
        ],
        looks,
    )
    return figure


@styled
def discriminator_outputs(outputs: Mapping[str, Mapping[str, Float]]) -> Figure:
    """Distributions of what a discriminator says of each sample, a panel for each output.

    Args:
        outputs: for each sample's label, the reference first, a mapping from the title of an
            output, with its unit, to its values (N,): "Probability of a real shower" of the head
            `generation`, "Predicted / true Ep" of `auxiliary`, "Sum of cells [GeV]" of `ecal`.

    Raises:
        DataError: there are more than six samples beside the reference, or one of them has other
            outputs than the reference.

    """
    (reference_label, reference), *others = outputs.items()
    samples = [values for _, values in reference_first(others, (reference_label, reference))]
    for label, values in others:
        if set(values) != set(reference):
            raise DataError(
                f"{label} has the outputs {', '.join(values)}, {reference_label} has "
                f"{', '.join(reference)}: they must be the same"
            )
    figure, panels = figure_with_panels(len(reference), min(3, len(reference)), height_inches=4.4)
    for title, panel in zip(reference, panels, strict=True):
        draw_histogram(panel, [values[title] for values in samples], title)
    add_legend(figure, [shorten(label) for label in outputs])
    return figure
