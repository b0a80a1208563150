"""Section `validation`: how generated showers are judged."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from gan3d.config.schema.section import (
    Fraction,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Section,
)


class Tolerances(Section):
    """What is called close, by the kind of metric."""

    relative_error: PositiveFloat = 0.05
    """Of means: 5 % is a first calibration's."""
    separation: PositiveFloat = 0.02
    """Separation power of two histograms: Gaussians 0.28 standard deviations apart."""
    ks: PositiveFloat = 0.08
    """Largest distance of cumulative distributions: Gaussians 0.2 standard deviations apart."""
    wasserstein: PositiveFloat = 0.2
    """How far values must be moved on average, in standard deviations."""
    chi2: PositiveFloat = 0.02
    """Excess of chi2 per degree of freedom over 1, times 1/N + 1/M: means that are off by 0.14 of
    the spread between showers."""
    correlation: PositiveFloat = 0.05
    """Difference of correlation coefficients, rms."""
    auc: PositiveFloat = 0.05
    """Area under a ROC curve, from 0.5: Gaussians 0.18 standard deviations apart."""
    share: PositiveFloat = 0.05
    """Precision, recall, coverage and shares of neighbours, from those of a perfect generator."""
    density: PositiveFloat = 0.1
    """Density, from that of a perfect generator."""


class Validation(Section):
    """How generated showers are judged against Monte Carlo."""

    epoch_showers: Annotated[int, Field(ge=0)] = 200
    """Held-out showers that the generator is compared with after an epoch, for the history and the
    choice of the best epoch; fewer are there, all are taken. 0: no comparison."""
    every_epochs: PositiveInt = 1
    """The comparison is made after every so many epochs, and after the last one. 200 showers take a
    second or two; 1 unless epochs are short beside that."""
    showers: PositiveInt | None = None
    """Showers to generate for the report; null: as many as the reference has."""
    figures: bool = True
    """false: the report has tables and no figures. Drawing takes half a minute or more, most of the
    time where samples are small."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the showers generated for the report and of everything random in it."""
    energy_bins_gev: list[tuple[PositiveFloat, PositiveFloat]] = Field(
        default=[(10.0, 100.0), (10.0, 40.0), (40.0, 70.0), (70.0, 100.0)], min_length=1
    )
    """Bins of incident energy (GeV) in which everything is compared."""
    angle_bins_deg: list[tuple[NonNegativeFloat, PositiveFloat]] = []
    """Bins of the incident particle's polar angle (degrees, 90 is perpendicular to the layers), as
    energy_bins_gev; for showers whose files say the angle (`theta`): without one in the held-out
    files, training is refused. Published variable-angle data has 60 to 120."""
    minimum_showers: Annotated[int, Field(ge=4)] = 20
    """A bin with fewer showers than this, generated or reference, is left out and named in the
    report; with fewer in all, nothing is judged. 20 showers give means to about a fifth of
    their spread."""
    hit_threshold_gev: PositiveFloat = 1e-5
    """A cell counts as hit above this energy (GeV); a minimum-ionising particle leaves 1.5e-4."""
    occupancy_thresholds_gev: list[PositiveFloat] = Field(default=[1e-5, 1e-4, 1e-3], min_length=1)
    """Thresholds (GeV) of the occupancy of layers: a hit, about a minimum-ionising particle, and
    the core of the shower."""
    start_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.05
    """A shower starts where it has left this share of its energy: beyond the noise of single cells,
    before the maximum."""
    containment_shares: list[Annotated[float, Field(gt=0.0, lt=1.0)]] = Field(
        default=[0.5, 0.9], min_length=1
    )
    """Shares of the energy that the containment radii R50 and R90 hold."""
    histogram_bins: Annotated[int, Field(ge=5, le=10_000)] = 50
    """Bins of the histograms that the separation power is computed from; fewer where they would
    hold less than 20 showers of the reference on average."""
    chi2_bins: Annotated[int, Field(ge=3, le=1000)] = 20
    """Bins of the histograms that chi2 is computed from; each holds as many showers of the
    reference as any other. 20 of a thousand showers hold 50, enough for a normal approximation."""
    cell_energy_range_gev: tuple[PositiveFloat, PositiveFloat] = (1e-7, 1.0)
    """Range of the cell-energy spectrum (GeV): the seven decades that cell energies span. Cells
    outside are counted in an underflow and an overflow bin."""
    cell_energy_bins_per_decade: PositiveInt = 10
    """Logarithmic bins of the cell-energy spectrum in a factor of ten."""
    profile_minimum_share: Fraction = 1e-4
    """Profile bins that hold less than this share of the reference's energy are left out of the
    optimisation metric, which weighs all bins alike: there a relative error is noise."""
    noise_replicas: Annotated[int, Field(ge=10)] = 50
    """Pairs of samples, as large as those compared, that are drawn from the reference: what a
    perfect generator has. Their spread is known to 1 / sqrt(2 x 50), a tenth of itself."""
    bootstrap_replicas: Annotated[int, Field(ge=2)] = 50
    """Bootstrap replicas of both samples that the uncertainty of a metric comes from, which is then
    known to a tenth of itself."""
    exchanges: Annotated[int, Field(ge=20)] = 100
    """Times that showers are exchanged between the samples at random, which probabilities of
    verdicts come from; for fewer than 10 000 showers in all more, up to ten times. Probabilities
    below what can be counted are reckoned by the law of extremes."""
    sample_showers: Annotated[int, Field(ge=0)] = 5000
    """Showers of each sample that the metrics of whole samples look at (correlations, classifiers,
    Frechet and kernel distance, precision, recall, density, coverage): memory and time grow with
    it, the latter to minutes. Chosen at random; fewer are there, all are taken. 0: none of these
    metrics."""
    pairwise_showers: Annotated[int, Field(ge=100)] = 2000
    """Of these, at most so many of each sample are compared pair by pair (kernel distance,
    precision, recall, density, coverage, nearest neighbours) or looked at closely (texture): memory
    goes with its square, 130 MB at 2000."""
    correlation_cells: Annotated[int, Field(ge=2, le=1000)] = 100
    """Cells whose correlation matrix is compared: those with most energy in the reference."""
    classifier_cells: PositiveInt = 1000
    """Cells that the low-level classifier looks at: those with most energy in both samples. A
    thousand of 25 x 25 x 25 hold 92 % of it."""
    classifier_folds: Annotated[int, Field(ge=2)] = 5
    """A classifier is trained on all but one of so many parts and tested on that one, in turn."""
    neighbours: PositiveInt = 5
    """Neighbours that span the balls of precision, recall, density and coverage; 5 in the paper
    that defines the latter (arXiv:2002.09797)."""
    false_alarms: Annotated[float, Field(gt=0.0, le=0.5)] = 0.01
    """Share of perfect generators that a report says to differ in anything at all: the verdict on a
    metric is "differs" or "close" where it is less likely than this that any of the metrics would
    be as far off by chance."""
    tolerances: Tolerances = Tolerances()
    """Beyond chance, a metric is "close" up to these values, and "differs" above."""
    unclear_beyond: PositiveFloat = 3.0
    """Within chance, a metric "agrees" where a fault of so many tolerances would have been seen and
    its value is within one, and is "unclear" otherwise: more showers are needed to say."""
    unclear_below: Fraction = 0.001
    """Within chance, a metric is "unclear", too, where a perfect generator would have this one as
    far off less often than this: of a thousand metrics about one is."""
    error_groups: Annotated[int, Field(ge=2)] = 20
    """`gan3d validate RUN --select`: groups of showers that are left out in turn for the standard
    error of a metric (jackknife). 20 give the error to about a sixth of itself."""
    alike_within_errors: PositiveFloat = 2.0
    """`gan3d validate RUN --select`: a checkpoint whose metric is above the best by no more than
    this many standard errors of the difference is as good as the best."""

    @model_validator(mode="after")
    def _ranges_ordered(self) -> Self:
        for low, high in self.energy_bins_gev:
            if low >= high:
                raise ValueError(f"energy_bins_gev: lower bound {low:g} is not below {high:g}")
        if len(set(self.energy_bins_gev)) < len(self.energy_bins_gev):
            raise ValueError("energy_bins_gev: a bin is given twice")
        for low, high in self.angle_bins_deg:
            if low >= high:
                raise ValueError(f"angle_bins_deg: lower bound {low:g} is not below {high:g}")
        if len(set(self.angle_bins_deg)) < len(self.angle_bins_deg):
            raise ValueError("angle_bins_deg: a bin is given twice")
        low, high = self.cell_energy_range_gev
        if low >= high:
            raise ValueError(f"cell_energy_range_gev: lower bound {low:g} is not below {high:g}")
        return self
