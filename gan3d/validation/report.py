"""The report: one HTML file that opens offline, with the verdict on top, and `metrics.json`."""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gan3d.data import make_folder, written_aside
from gan3d.validation.judgement import Judgement, Verdict
from gan3d.validation.measures import Float
from gan3d.validation.observables import Observables

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOTS_PER_INCH = 110  # 1100 pixels wide: sharp on a phone, about 100 kB a picture


@dataclass(frozen=True)
class Picture:
    """A figure of the report."""

    name: str
    """Anchor in the page."""
    title: str
    """Heading."""
    caption: str
    """What is drawn and what one should see."""
    draw: Callable[[], Figure]
    """Draws it."""


@dataclass(frozen=True)
class Quantity:
    """A line of the table of plain physics numbers, as text."""

    name: str
    generated: str
    reference: str
    difference: str


def write_report(
    judgement: Judgement,
    folder: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    history: Sequence[Mapping[str, Any]] | None = None,
) -> Path:
    """Write `index.html` (self-contained) and `metrics.json` into `folder`; returns the page.

    The folder is made where it is missing. Both files are written aside and renamed.

    Args:
        judgement: what `judge` returned.
        folder: where the report goes.
        title: heading of the page.
        facts: what the reader must know about the samples: run, model, seeds, files.
        history: one mapping per epoch of the training (`epoch`, and names with `loss` in them).

    Raises:
        DataError: the folder cannot be made or written to.

    """
    make_folder(folder)
    page = _render(judgement, title, facts, history or [])
    with written_aside(folder / "metrics.json") as aside:
        aside.write_text(json.dumps(judgement.metrics, indent=1) + "\n", encoding="utf-8")
    index = folder / "index.html"
    with written_aside(index) as aside:
        aside.write_text(page, encoding="utf-8")
    return index


def _render(
    judgement: Judgement,
    title: str,
    facts: Mapping[str, str],
    history: Sequence[Mapping[str, Any]],
) -> str:
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(
        files("gan3d.validation").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    ours, theirs = judgement.generated.observables, judgement.reference.observables
    return template.render(
        title=title,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        headline=headline(judgement),
        verdicts=judgement.verdicts,
        show=show_value,
        show_ratio=show_ratio,
        remarks=judgement.remarks,
        settings=judgement.settings,
        labels=(ours.label, theirs.label),
        counts=(len(ours), len(theirs)),
        quantities=list(quantities(ours, theirs)),
        facts=facts,
        geometry=theirs.geometry,
        bins=[(each.name, each.title) for each in judgement.bins],
        metrics=judgement.metrics,
        pictures=[(picture, _png(picture.draw())) for picture in pictures(judgement, history)],
    )


def headline(judgement: Judgement) -> str:
    """The verdict in one or two sentences."""
    generated = judgement.generated.observables.label
    reference = judgement.reference.observables.label
    by_word = {
        word: [verdict.title for verdict in judgement.verdicts if verdict.word == word]
        for word in ("agrees", "close", "differs")
    }
    if not by_word["close"] and not by_word["differs"]:
        return (
            f"{generated} and {reference} agree within the statistical noise of these samples in "
            f"all {len(judgement.verdicts)} metrics."
        )
    agreeing = len(by_word["agrees"])
    sentences = [
        f"{agreeing} of {len(judgement.verdicts)} metrics {'agrees' if agreeing == 1 else 'agree'} "
        f"with {reference} within the statistical noise of these samples."
    ]
    if by_word["close"]:
        sentences.append(f"Close: {_list(by_word['close'])}.")
    if by_word["differs"]:
        sentences.append(f"Different: {_list(by_word['differs'])}.")
    return " ".join(sentences)


def _list(names: Sequence[str]) -> str:
    return "; ".join(name[0].lower() + name[1:] if name[1].islower() else name for name in names)


def show_value(verdict: Verdict, value: float) -> str:
    """A metric's value as text: relative errors in per cent, separation powers as they are."""
    if verdict.kind == "relative error":
        return f"{100.0 * value:.2f} %"
    return f"{value:.2g}" if value < 0.01 else f"{value:.3f}"


def show_ratio(verdict: Verdict) -> str:
    """Value over noise as text."""
    return f"{verdict.ratio:.1f}" if math.isfinite(verdict.ratio) else "∞"


# ------------------------------------------------------------------- numbers a physicist asks for


def quantities(generated: Observables, reference: Observables) -> list[Quantity]:
    """Mean values with their standard errors, and their difference in per cent and in errors."""
    threshold_kev = 1e6 * reference.settings.hit_threshold_gev
    half_mm = [
        cells * pitch / 2
        for cells, pitch in zip(
            reference.geometry.shape, reference.geometry.cell_size_mm, strict=True
        )
    ]

    def moment(axis: int, order: int) -> Callable[[Observables], Float]:
        return lambda sample: sample.moments_nao[:, axis, order - 1]

    rows: list[tuple[str, Callable[[Observables], Float], int]] = [
        ("Incident energy Ep [GeV]", lambda s: s.energy_n, 2),
        ("ECAL [GeV]", lambda s: s.total_energy_n, 4),
        ("Sampling fraction ECAL/Ep [%]", lambda s: 100.0 * s.sampling_fraction_n, 3),
        (
            f"Cells above {threshold_kev:g} keV",
            lambda s: s.hits_n.astype(np.float64),
            1,
        ),
        ("Layer with most energy", lambda s: s.maximum_layer_n, 2),
        ("Depth of the barycentre [mm]", moment(2, 1), 2),
        ("Length, rms in depth [mm]", lambda s: np.sqrt(moment(2, 2)(s)), 2),
        ("Width, rms in x [mm]", lambda s: np.sqrt(moment(0, 2)(s)), 2),
        ("Width, rms in y [mm]", lambda s: np.sqrt(moment(1, 2)(s)), 2),
        ("Barycentre in x from the centre [mm]", lambda s: moment(0, 1)(s) - half_mm[0], 3),
        ("Barycentre in y from the centre [mm]", lambda s: moment(1, 1)(s) - half_mm[1], 3),
        ("First third of layers / ECAL [%]", lambda s: 100.0 * s.layer_fractions_n3[:, 0], 2),
        ("Last third of layers / ECAL [%]", lambda s: 100.0 * s.layer_fractions_n3[:, 2], 2),
    ]
    return [
        _quantity(name, measure(generated), measure(reference), digits)
        for name, measure, digits in rows
    ]


def _quantity(name: str, generated_n: Float, reference_n: Float, digits: int) -> Quantity:
    ours, our_error = _mean(generated_n)
    theirs, their_error = _mean(reference_n)
    error = math.hypot(our_error, their_error)
    significance = f"{abs(ours - theirs) / error:.1f} σ" if error > 0.0 else ""
    # Per cent of a quantity that is compatible with 0 say nothing.
    relative = f"{100.0 * (ours / theirs - 1.0):+.1f} %" if abs(theirs) > 5 * their_error else ""
    return Quantity(
        name,
        f"{ours:.{digits}f} ± {our_error:.{digits}f}",
        f"{theirs:.{digits}f} ± {their_error:.{digits}f}",
        ", ".join(part for part in (relative, significance) if part),
    )


def _mean(values_n: Float) -> tuple[float, float]:
    values = values_n[np.isfinite(values_n)]
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))


# ------------------------------------------------------------------------------------- pictures


def _png(figure: Figure) -> str:
    """A figure as a data address for the page. Savefig uses Agg, whatever backend is chosen."""
    from gan3d.validation.plots import style

    buffer = io.BytesIO()
    with style():
        figure.savefig(buffer, format="png", dpi=_DOTS_PER_INCH)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def pictures(judgement: Judgement, history: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """The figures of the report, in order; that of the losses only where the history has some."""
    # Not at the top: matplotlib takes a second to import, and judging does not need it.
    from gan3d.validation import plots

    generated, reference = judgement.generated, judgement.reference
    ours, theirs = generated.observables, reference.observables
    bins = judgement.energy_bins_gev
    middle, last = len(reference.examples) // 2, len(reference.examples) - 1
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
        Picture(
            "transverse-x",
            "Transverse profile in x",
            "Mean energy per row of cells. Linear: the core, which holds most of the energy. "
            "Logarithmic: the halo, over three decades.",
            lambda: plots.transverse_profile(ours, theirs, "x"),
        ),
        Picture(
            "transverse-y",
            "Transverse profile in y",
            "As in x. At normal incidence both should be symmetric and alike.",
            lambda: plots.transverse_profile(ours, theirs, "y"),
        ),
        Picture(
            "response",
            "Response and resolution",
            "Left: mean sampling fraction against incident energy; pale areas hold the central "
            "68 % of the showers. Right: half the width of those 68 % over the median, the energy "
            "resolution, which should fall like 1/√Ep.",
            lambda: plots.response_against_energy(ours, theirs),
        ),
        Picture(
            "sampling-fraction",
            "Distribution of the sampling fraction",
            "In each bin of incident energy. A shift is a wrong response, another width a wrong "
            "resolution, a low tail is leakage out of the back. The axis holds 98 % of both "
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
            "mean-shower",
            "Mean shower",
            f"Mean over all showers, summed along y, x and depth. {theirs.label} above, "
            f"{ours.label} below, one logarithmic colour scale over five decades; cells without "
            "energy are white.",
            lambda: plots.mean_projections(generated, reference),
        ),
        Picture(
            "single-shower",
            "Single showers",
            "The showers nearest in incident energy to "
            f"{float(_centres(judgement)[middle]):g} GeV, not chosen otherwise. Beyond the core "
            "they should be ragged, with isolated cells.",
            lambda: plots.shower_projections(generated, reference, middle),
        ),
        Picture(
            "event-display",
            "Event display",
            "Every cell above the hit threshold, coloured and sized by the logarithm of its "
            f"energy, of the showers nearest to {float(_centres(judgement)[last]):g} GeV. The "
            "particle enters from the left.",
            lambda: plots.event_display(generated, reference, last),
        ),
    ]
    if plots.loss_names(history):
        figures.append(
            Picture(
                "losses",
                "Losses",
                "Training losses of each network after every epoch, averaged over it.",
                lambda: plots.losses(history),
            )
        )
    return figures


def _centres(judgement: Judgement) -> list[float]:
    from gan3d.validation.sample import example_energies

    return example_energies(judgement.settings)
