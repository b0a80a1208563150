"""The figures of a report: which, in what order, and what a reader should see in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from gan3d.validation.bins import Bin
from gan3d.validation.classifier import Classified
from gan3d.validation.judgement import Judgement
from gan3d.validation.layers import from_metrics
from gan3d.validation.measures import Float
from gan3d.validation.observables import Observables
from gan3d.validation.sample import example_energies
from gan3d.validation.verdict import Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

History = Sequence[Mapping[str, Any]]
_CLASSIFIERS = {
    "high_level": "High-level features",
    "low_level": "Cells",
    "texture": "Texture of cells",
    "discriminator": "Own discriminator",
}

_CARTESIAN = (
    (
        "transverse-x",
        "Transverse profile in x",
        "Mean energy per row of cells. Linear: the core, which holds most of the energy. "
        "Logarithmic: the halo, over three decades.",
    ),
    (
        "transverse-y",
        "Transverse profile in y",
        "As in x. At normal incidence both should be symmetric and alike.",
    ),
)
_CYLINDRICAL = (
    (
        "angular",
        "Profile in angle",
        "Mean energy in each sector of the turn, from -π to π. It is flat where nothing prefers a "
        "direction.",
    ),
    (
        "radial",
        "Profile in radius",
        "Mean energy in each ring around the particle's direction. Linear: the core, which holds "
        "most of the energy. Logarithmic: the halo.",
    ),
)
"""Names, titles and captions of the profiles across the layers."""

Outputs = Mapping[str, Float]
"""A discriminator's outputs, by their title: (N,) each."""


@dataclass(frozen=True)
class Picture:
    """A figure of the report."""

    name: str
    """Anchor in the page, and name of its files."""
    title: str
    """Heading."""
    caption: str
    """What is drawn and what one should see."""
    draw: Callable[[], Figure]
    """Draws it."""


def scorecard_picture(judgements: Sequence[Judgement]) -> Picture:
    """All metrics in one figure, the worst on top."""
    from gan3d.validation import plots

    # The main metrics are the same for all; a feature is shown by the worst of its distances.
    by_sample = [_scored(each) for each in judgements]
    titles = [title for title in by_sample[0] if all(title in other for other in by_sample)]
    rows = [
        plots.ScoreRow(
            title,
            [
                plots.Score(judgement.label, scored[title].beyond, scored[title].word)
                for judgement, scored in zip(judgements, by_sample, strict=True)
            ],
        )
        for title in titles
    ]
    return Picture(
        "scorecard",
        "Scorecard",
        "Every metric, and of every feature the worst of its four distances, ranked by how far it "
        "is beyond what a perfect generator has, in standard deviations of that. The marks are the "
        "verdicts, which go by probabilities: spreads are not those of normal distributions.",
        lambda: plots.scorecard(rows),
    )


def _scored(judgement: Judgement) -> dict[str, Verdict]:
    scored = {verdict.title: verdict for verdict in judgement.verdicts}
    for verdict in judgement.feature_verdicts:
        known = scored.get(verdict.title)
        if known is None or (known in judgement.feature_verdicts and _rank(verdict) > _rank(known)):
            scored[verdict.title] = verdict
    return scored


def _rank(verdict: Verdict) -> tuple[bool, float]:
    return verdict.faulty, verdict.beyond


def pictures(
    judgements: Sequence[Judgement],
    histories: Mapping[str, History],
    outputs: Mapping[str, Outputs],
) -> list[Picture]:
    """The figures of the report, in order; those of trainings where there is something to draw.

    `judgements` share the reference. `histories` and `outputs` are by the samples' labels.
    """
    # Not at the top: matplotlib takes a second to import, and judging does not need it.
    from gan3d.validation import plots

    generated, reference = [each.generated for each in judgements], judgements[0].reference
    ours, theirs = [each.observables for each in generated], reference.observables
    bins = judgements[0].energy_bins_gev
    middle, last = len(reference.examples) // 2, len(reference.examples) - 1
    centres = example_energies(theirs.settings)
    cylinder = theirs.geometry.is_cylinder
    along = "the radius, the angle" if cylinder else "y, x"
    band = "Bands and bars: one standard error. Triangles: points beyond the ratio panel."
    figures = [
        Picture(
            "longitudinal",
            "Longitudinal profile",
            "Mean energy per layer over the incident energy, linear and logarithmic. The rise, the "
            f"maximum and the tail should lie on {theirs.label}, the ratio at 1. {band}",
            lambda: plots.longitudinal_profile(ours, theirs),
        ),
        Picture(
            "longitudinal-bins",
            "Longitudinal profile in bins of incident energy",
            "The maximum moves deeper with the logarithm of the energy, by about one layer when "
            "the energy doubles; generated showers should follow.",
            lambda: plots.longitudinal_profile_in_bins(ours, theirs, bins),
        ),
        *(
            Picture(name, title, caption, partial(plots.transverse_profile, ours, theirs, axis))
            for axis, (name, title, caption) in zip(
                "xy", _CYLINDRICAL if cylinder else _CARTESIAN, strict=True
            )
        ),
        Picture(
            "response",
            "Response",
            "Left: mean sampling fraction against incident energy; pale areas hold the central "
            "68 % of the showers. Right: half the width of those 68 % over the median, the energy "
            "resolution, which should fall like 1/√Ep.",
            lambda: plots.response_against_energy(ours, theirs),
        ),
        *_of_images(ours, theirs),
        Picture(
            "resolution",
            "Energy resolution",
            "The resolution against the incident energy with the fit of a stochastic and a "
            "constant term, added in quadrature. A network that averages showers is too good.",
            lambda: plots.resolution(ours, theirs),
        ),
        Picture(
            "sampling-fraction",
            "Distribution of the sampling fraction",
            "In each bin of incident energy. A shift is a wrong response, another width a wrong "
            "resolution, a low tail is leakage out of the back. The axis holds 98 % of all "
            "samples.",
            lambda: plots.response_histogram(ours, theirs, bins),
        ),
        Picture(
            "hits",
            "Number of hits",
            "Cells above the hit threshold: their mean against incident energy, and their "
            "distribution over all showers.",
            lambda: plots.hits(ours, theirs),
        ),
        Picture(
            "occupancy",
            "Occupancy of the layers",
            "Mean number of cells above each threshold, layer by layer.",
            lambda: plots.occupancy(ours, theirs),
        ),
        Picture(
            "cell-energy",
            "Spectrum of cell energies",
            "Cells per shower in logarithmic bins of their energy. The edge near 0.15 MeV is a "
            "minimum-ionising particle crossing one layer of silicon; networks tend to smear it "
            "and to fill the low end.",
            lambda: plots.cell_energy_spectrum(ours, theirs),
        ),
        Picture(
            "moments",
            "Barycentres and widths",
            "First and (root of the) second moment of each shower along x and y from the centre of "
            "the image, and along depth from the front face. Both centre and width should agree: "
            "a narrow histogram means showers that are too much alike.",
            lambda: plots.moments(ours, theirs),
        ),
        Picture(
            "higher-moments",
            "Skewness and kurtosis",
            "Third and fourth moment over that power of the width: the asymmetry of each shower, "
            "and how far its tails reach.",
            lambda: plots.higher_moments(ours, theirs),
        ),
        Picture(
            "containment",
            "Radial containment",
            f"Radii around the {'axis' if cylinder else 'barycentre'} that hold these shares of "
            "the energy; R90 is the Molière radius.",
            lambda: plots.containment(ours, theirs),
        ),
        Picture(
            "start",
            "Shower start",
            f"Depth by which a shower has left {100 * theirs.settings.start_share:g} % of its "
            "energy. Photons, which have to convert first, start deeper than electrons.",
            lambda: plots.shower_start(ours, theirs),
        ),
        Picture(
            "maximum",
            "Shower maximum",
            "The layer with most energy: its distribution, and its mean against incident energy, "
            "which should rise logarithmically.",
            lambda: plots.shower_maximum(ours, theirs),
        ),
        Picture(
            "layer-fractions",
            "Where the energy lies",
            "Share of the first, middle and last third of the layers in the energy of each shower.",
            lambda: plots.layer_fractions(ours, theirs),
        ),
        Picture(
            "layers",
            "Layer by layer",
            "What the Fast Calorimeter Challenge compares: energy, hits (its sparsity), centre of "
            "energy and width of each layer. Line: median; band, or thin lines: the central 68 % "
            "of the showers. Below, the separation power of the distributions in that layer; "
            "grey: that of a perfect generator.",
            lambda: plots.layers(
                ours,
                theirs,
                [from_metrics(each.metrics) for each in judgements],
                from_metrics(judgements[0].metrics, "noise."),
            ),
        ),
        Picture(
            "angles",
            "Angle of the axis",
            "By the barycentre method: the slope of the line through the barycentres of the "
            "layers. Its width is the angular resolution.",
            lambda: plots.angles(ours, theirs),
        ),
        *_in_bins(judgements),
        *_of_whole_showers(judgements),
        Picture(
            "mean-shower",
            "Mean shower",
            f"Mean over all showers, summed along {along} and depth. {theirs.label} on top, one "
            "logarithmic colour scale over five decades; cells without energy are white.",
            lambda: plots.mean_projections(generated, reference),
        ),
        Picture(
            "single-shower",
            "Single showers",
            f"The showers nearest in incident energy to {centres[middle]:g} GeV, not chosen "
            "otherwise. Beyond the core they should be ragged, with isolated cells.",
            lambda: plots.shower_projections(generated, reference, middle),
        ),
        Picture(
            "event-display",
            "Event display",
            "Every cell above the hit threshold, coloured and sized by the logarithm of its "
            f"energy, of the showers nearest to {centres[last]:g} GeV. The particle enters from "
            "the left.",
            lambda: plots.event_display(generated, reference, last),
        ),
    ]
    return figures + _of_trainings(histories, outputs)


def _of_images(ours: Sequence[Observables], theirs: Observables) -> list[Picture]:
    """What the images of a shower have together, where there are several."""
    if not theirs.others:
        return []
    from gan3d.validation import plots

    return [
        Picture(
            "images",
            "All images together",
            f"Above, the share of {theirs.image} in the energy of all images: its distribution, "
            "and its mean against incident energy. Below, the energy of all over the incident "
            "energy. What leaks out of one image should come out in the other.",
            lambda: plots.image_shares(ours, theirs),
        )
    ]


_IN_BINS = {
    "angle": (
        "bins of incident angle",
        "An inclined shower is shorter in depth and moves along its axis to one side",
    ),
    "particle": (
        "showers of each particle",
        "Photons start deeper than electrons, and neutral pions are two photons close together",
    ),
}
_AXES = {
    "layer": "Longitudinal profile",
    "x": "Transverse profile in x",
    "y": "Transverse profile in y",
}


def _in_bins(judgements: Sequence[Judgement]) -> list[Picture]:
    """Profiles in bins of angle, and of each kind of particle, side by side."""
    from gan3d.validation import plots

    ours, theirs = [each.generated.observables for each in judgements], judgements[0].reference
    found = []
    for quantity, bins in side_by_side(judgements).items():
        where, physics = _IN_BINS[quantity]
        for axis, title in _AXES.items():

            def draw(bins: Sequence[Bin] = bins, axis: str = axis) -> Figure:
                return plots.profiles_in_bins(ours, theirs.observables, bins, axis)

            caption = f"{physics}; generated showers should follow {theirs.label} in each panel."
            name = f"{quantity}-{axis}"
            found.append(Picture(name, f"{title}, {where}", caption, draw))
    return found


def side_by_side(judgements: Sequence[Judgement]) -> dict[str, list[Bin]]:
    """Bins of angle and kinds of particle that all samples have, of which there are some."""
    shared = [each for each in judgements[0].bins if all(each in j.bins for j in judgements)]
    by_quantity = {name: [b for b in shared if b.quantity == name] for name in _IN_BINS}
    return {name: bins for name, bins in by_quantity.items() if bins}


def _of_whole_showers(judgements: Sequence[Judgement]) -> list[Picture]:
    from gan3d.validation import plots

    reference = judgements[0].reference.label
    matrices = [each.whole.correlations for each in judgements]
    found = []
    for name, title, caption in (
        ("layers", "Correlations between layers", "Of the energies in the layers over Ep."),
        ("features", "Correlations between features", "Of what the distributions are compared of."),
        ("cells", "Correlations between cells", "Of the cells with most energy, over Ep."),
        ("images", "Correlations between images", "Of the energies of the images over Ep."),
    ):
        if not all(name in each for each in matrices):
            continue
        of_reference = matrices[0][name]

        def draw(name: str = name, of_reference: Any = of_reference, title: str = title) -> Figure:
            return plots.correlations(
                {
                    each.label: matrix[name].generated
                    for each, matrix in zip(judgements, matrices, strict=True)
                },
                (reference, of_reference.reference),
                names=of_reference.names if name == "features" else (),
                axis_title="Layer" if name == "layers" else "",
                title=title,
            )

        found.append(
            Picture(
                f"correlations-{name}",
                title,
                f"{caption} Below, the difference to {reference}.",
                draw,
            )
        )
    if all(each.whole.classifiers for each in judgements):
        curves = [
            plots.RocCurve(
                f"{each.label}, {_CLASSIFIERS[name]}"
                if len(judgements) > 1
                else _CLASSIFIERS[name],
                classified.false_positive_rate,
                classified.true_positive_rate,
                classified.auc,
                classified.error,
            )
            for each in judgements
            for name, classified in _most_telling(
                each.whole.classifiers, plots.MOST_GENERATED // len(judgements)
            )
        ]
        found.append(
            Picture(
                "classifier",
                "Classifiers",
                "Trained to tell generated showers from the reference, and tested on showers that "
                "they have not seen; the run's own discriminator was trained with its generator. "
                "On the diagonal they cannot.",
                lambda: plots.classifier_roc(curves[: plots.MOST_GENERATED]),
            )
        )
    return found


def _most_telling(
    classifiers: Mapping[str, Classified], count: int
) -> list[tuple[str, Classified]]:
    ranked = sorted(classifiers, key=lambda name: -abs(classifiers[name].auc - 0.5))
    return [(name, classifiers[name]) for name in classifiers if name in ranked[: max(1, count)]]


def _of_trainings(
    histories: Mapping[str, History], outputs: Mapping[str, Outputs]
) -> list[Picture]:
    from gan3d.validation import plots

    figures = []
    runs: Any = dict(histories) if len(histories) > 1 else next(iter(histories.values()), [])
    if outputs:
        figures.append(
            Picture(
                "discriminator",
                "What the discriminator says",
                "Its outputs for Monte Carlo and for generated showers. Where the two lie on each "
                "other it has nothing left to teach the generator; the estimated incident energy "
                "should be right for both.",
                lambda: plots.discriminator_outputs(outputs),
            )
        )
    if any(plots.loss_names(history) for history in histories.values()):
        figures.append(
            Picture(
                "losses",
                "Losses",
                "Training losses of each network after every epoch, averaged over it.",
                lambda: plots.losses(runs),
            )
        )
    if any(plots.metric_names(history) for history in histories.values()):
        figures.append(
            Picture(
                "metric-history",
                "Metrics during training",
                "What was noted after the epochs, from a few held-out showers, and so with more "
                "noise than the verdict above.",
                lambda: plots.metric_history(runs),
            )
        )
    return figures
