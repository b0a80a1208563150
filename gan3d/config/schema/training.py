"""Section `training`: the published recipe, and what may be done otherwise."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gan3d.config.schema.geometry import ImageName
from gan3d.config.schema.section import (
    Fraction,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Section,
)


class Optimizer(Section):
    """One optimiser setting, used for the generator and the discriminator alike."""

    name: Literal["rmsprop", "adam", "sgd", "nadam", "adamw"] = "rmsprop"
    """3DGAN: RMSprop."""
    learning_rate: PositiveFloat = 1e-3
    """Base learning rate of one worker. 3DGAN: 0.001."""
    discriminator_learning_rate: PositiveFloat | None = None
    """That of the discriminator, where it has one of its own (two time scales: Heusel et al. 2017);
    warm-up and decay are as the generator's. null: learning_rate (3DGAN)."""
    rho: Fraction = 0.9
    """RMSprop: decay of the mean square (Keras default)."""
    momentum: Fraction = 0.0
    """RMSprop and SGD: momentum (Keras default)."""
    beta_1: Fraction = 0.9
    """Adam family: decay of the first moment (Keras default)."""
    beta_2: Fraction = 0.999
    """Adam family: decay of the second moment (Keras default)."""
    epsilon: PositiveFloat = 1e-7
    """All but SGD: the term that keeps the division finite (Keras default)."""
    loss_scale: PositiveFloat = 32768.0
    """mixed_float16: the loss is multiplied by this at first, so that small gradients do not
    vanish; halved, and the update left out, when one overflows (Micikevicius et al. 2018; Keras
    default)."""
    loss_scale_growth_steps: PositiveInt = 2000
    """mixed_float16: the scale is doubled after so many updates without overflow (Keras
    default)."""


class LossWeights(Section):
    """Weights of the discriminator's outputs, of those that an architecture has, and further terms.

    The defaults are 3DGAN's for the fixed angle. Other published sets: 6 / 0.2 / 0.1, and for
    variable angles 3 / 0.1 / 0.1 with 25 for the angle and 0.1 for the bins.
    """

    generation: NonNegativeFloat = 8.0
    """Binary cross-entropy of real against generated."""
    auxiliary: NonNegativeFloat = 0.2
    """Mean absolute percentage error of the estimated incident energy."""
    ecal: NonNegativeFloat = 0.1
    """Mean absolute percentage error of the ECAL sum."""
    further_sums: dict[ImageName, NonNegativeFloat] = {}
    """Of each of `data.further_images`, by its name: mean absolute error of its sum, in per cent of
    the training showers' mean sum (a shower may leave nothing in an HCAL, and an error in per cent
    of nothing says nothing). Those that are not named: as `ecal`."""
    angle: NonNegativeFloat = 25.0
    """Mean absolute error (rad) of the angle that the image shows. 3DGAN: 25. Acts in `angle51`
    alone: others do not measure it."""
    bins: NonNegativeFloat = 0.1
    """Mean absolute percentage error of the numbers of cells in bins of energy. 3DGAN: 0.1. In
    `angle51` alone, and there it is only told: a number of cells has no gradient."""
    response: NonNegativeFloat = 0.0
    """Generator: mean over showers of |ECAL/Ep over the mean response at that Ep - 1|, in GeV
    whatever the networks see. 0: not computed (3DGAN), as with the three below. It pulls every
    shower to the mean, and with it the spread of ECAL/Ep towards 0: look at the resolution. What
    weight is large depends on the architecture: the term is of the order of the spread (some per
    cent of electrons) where sums are right, and of 1 and more where they are far off, as
    `convolutional`'s are at first; `generator.response` in history.jsonl says it."""
    layers: NonNegativeFloat = 0.0
    """Generator: sum over layers of |mean share of a shower's energy in the layer - that of Monte
    Carlo at the same energies|; means over the batch of a rank."""
    features: NonNegativeFloat = 0.0
    """Generator: feature matching (Salimans et al. 2016, eq. 4): mean squared difference of the
    batch means, of Monte Carlo and generated, of what the discriminator's last layer sees. One more
    pass of the discriminator a step: 1.1 times the time of one of `ecal25`. Behind batch
    normalisation (`model.batch_norm`) these features hardly tell the scale of energies, which the
    other losses look after."""
    gradient_penalty: NonNegativeFloat = 0.0
    """Discriminator: half the mean squared gradient of its logit by the cells of Monte Carlo (R1:
    Mescheder et al. 2018, gamma = 10), in units of their root mean square. Its update with Monte
    Carlo is differentiated twice, through Keras's convolutions: 1.7 times the time of a step of
    `ecal25` on a processor."""


class WeightAverage(Section):
    """Exponential moving average of the generator's weights, used for generation."""

    decay: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.999
    """Per-step decay: 0.999 averages over about the last 1000 steps. Of the weights at its start
    decay to the power of the steps since then is left: of the drawn ones after 1000 steps 37 %, so
    short trainings want a smaller decay, or a later start."""
    start_epoch: Annotated[int, Field(ge=0)] = 0
    """The average starts from the weights at the beginning of this epoch (counted from 0)."""


class Decay(Section):
    """What becomes of the learning rate after the warm-up."""

    kind: Literal["constant", "step", "cosine", "plateau"] = "constant"
    """`constant`: nothing (3DGAN). `step`: times `factor` at each of `epochs`. `cosine`: half a
    cosine from the end of the warm-up to `final_share` at the last epoch (Loshchilov & Hutter
    2017). `plateau`: times `factor` when `monitor` has not improved for `patience` epochs."""
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """`step`, `plateau`: by what the rate is multiplied. Goyal et al. 2017: 0.1."""
    epochs: list[NonNegativeFloat] = []
    """`step`: epochs, from the beginning of training, at which the rate falls."""
    final_share: Fraction = 0.0
    """`cosine`: the rate at the end, as a share of that after the warm-up."""
    monitor: str = "validation.optimisation_metric"
    """`plateau`: the number in `history.jsonl` that should fall."""
    patience: PositiveInt = 5
    """`plateau`: epochs without improvement before the rate falls; epochs in which `monitor` was
    not measured (`validation.every_epochs`) do not count."""
    improvement: Fraction = 0.01
    """`plateau`: a smaller relative fall of `monitor` is no improvement."""
    least_share: Fraction = 0.01
    """`plateau`: the rate never falls below this share of that after the warm-up."""

    @model_validator(mode="after")
    def _epochs_ordered(self) -> Self:
        if self.kind == "step" and not self.epochs:
            raise ValueError("kind is step, but epochs names none at which the rate would fall")
        if sorted(set(self.epochs)) != self.epochs:
            raise ValueError("epochs must be ascending and different")
        return self


class EarlyStopping(Section):
    """When training ends before its last epoch, because nothing gets better any more."""

    monitor: str = "validation.optimisation_metric"
    """The number in `history.jsonl` that should fall."""
    patience: PositiveInt = 10
    """Training ends after so many epochs in a row without improvement; epochs in which `monitor`
    was not measured (`validation.every_epochs`) do not count. Twice that of `training.decay`, so
    that a lower rate can still help."""
    minimum_improvement: Fraction = 0.01
    """A smaller relative fall of `monitor` below its best so far is no improvement: as
    `training.decay`."""


class Training(Section):
    """The training recipe."""

    init_from: str | None = None
    """Another run whose weights this one begins with, as `gan3d validate` names it: RUN, RUN@best
    or RUN@STEP, relative to the YAML file that names it. Layers of the same name and shapes are
    taken, of the generator as it generates with; all others begin anew, and all are listed.
    For another geometry, detector or particle a trained network is nearer than noise. Optimisers
    (whose first steps are large: a lower rate keeps more of what was learnt), schedule and epochs
    begin at 0, and what is measured on the training showers is measured on
    these. null: all weights are drawn with run.seed (3DGAN)."""
    epochs: PositiveInt = 25
    """Passes over the training showers. 3DGAN: 25 (fixed angle)."""
    batch_size: PositiveInt = 8
    """Showers per step on each rank. 3DGAN: 8."""
    optimizer: Optimizer = Optimizer()
    """Optimiser of both networks."""
    learning_rate_scaling: Literal["linear", "sqrt", "none"] = "linear"
    """What the learning rate is multiplied with after the warm-up, N being ranks x
    horovod.backward_passes_per_step: N (3DGAN; Goyal et al. 2017), the square root of N (Krizhevsky
    2014, for adaptive optimisers You et al. 2020), or 1."""
    warmup_epochs: NonNegativeFloat = 5.0
    """Epochs over which the rate rises, per step and linearly, from that of one worker to the
    scaled one. 3DGAN: 5 (Goyal et al. 2017)."""
    decay: Decay = Decay()
    """The learning rate after the warm-up."""
    early_stopping: EarlyStopping | None = None
    """Ends training when a number in the history has stopped falling; `{}` takes all defaults;
    null: all `epochs` are trained (3DGAN)."""
    loss_weights: LossWeights = LossWeights()
    """Weights of the losses."""
    label_flip: Fraction = 0.05
    """Fraction of the discriminator's real/fake labels that are flipped at random. 3DGAN: 0.05."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=0.5)] = 0.0
    """The discriminator's label of Monte Carlo is 1 less this, that of generated showers stays 0
    (one-sided: Salimans et al. 2016, 0.1); flipped labels (`label_flip`) are 0 and 1. 3DGAN: 0."""
    generator_updates: PositiveInt = 2
    """Generator updates per step. 3DGAN: 2."""
    incident_energies: Literal["uniform", "showers"] = "uniform"
    """Incident energies of a step's generated showers. uniform: drawn in incident_energy_gev
    (3DGAN, whose data are uniform). showers: those of the step's Monte Carlo showers, for data with
    another spectrum, such as the Challenge's, with as many showers in each factor of ten: drawn
    uniformly, energies would give generated showers away. With conditions beside the energy it is
    always so, for they belong together."""
    incident_energy_gev: tuple[PositiveFloat, PositiveFloat] | None = None
    """uniform: the range (GeV); null: that of the training showers. 3DGAN: 10 to 500, which is the
    range of its data."""
    response_degree: Annotated[int, Field(ge=0, le=8)] = 4
    """Degree of the polynomial ECAL/Ep in Ep that is fitted to the training showers and gives the
    target ECAL sum of generated ones. 3DGAN: 4 for electrons, 2 for pi0."""
    empty_steps: PositiveInt | None = 100
    """So many steps in a row whose generated showers were all empty, on any rank, end the run.
    Single ones are usual in the first epochs of a convolutional generator at a high rate, and the
    next batch has showers again. null: never (3DGAN)."""
    weight_average: WeightAverage | None = None
    """Moving average of the generator's weights; null: generate with the last weights (3DGAN)."""

    @model_validator(mode="after")
    def _energies_ordered(self) -> Self:
        if self.incident_energy_gev is not None:
            low, high = self.incident_energy_gev
            if low >= high:
                raise ValueError(f"incident_energy_gev: lower bound {low:g} is not below {high:g}")
            if self.incident_energies == "showers":
                raise ValueError(
                    "incident_energy_gev: with incident_energies: showers no energies are drawn"
                )
        return self

    @property
    def monitored(self) -> dict[str, str]:
        """Names in `history.jsonl` that the training goes by, for each key that holds one."""
        names = {}
        if self.decay.kind == "plateau":
            names["training.decay.monitor"] = self.decay.monitor
        if self.early_stopping is not None:
            names["training.early_stopping.monitor"] = self.early_stopping.monitor
        return names
