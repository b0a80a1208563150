"""The report: one HTML file that opens offline, with the verdict on top, and its numbers.

A folder with `index.html`, `metrics.json` and, in `figures/`, every figure as PDF and PNG. Of one
generated sample, or of several that were judged against the same reference, side by side.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

from gan3d.data import make_folder, written_aside
from gan3d.errors import DataError
from gan3d.validation.bins import Bin, split_name
from gan3d.validation.catalogue import LAYER_METRICS, Kind, Metric, main_metrics
from gan3d.validation.judgement import Judgement
from gan3d.validation.observables import Observables
from gan3d.validation.pictures import (
    History,
    Outputs,
    Picture,
    pictures,
    scorecard_picture,
    side_by_side,
)
from gan3d.validation.positions import describe_cells
from gan3d.validation.quantities import Quantity, quantities
from gan3d.validation.verdict import Verdict, is_large

_NAMED = 4
"""Metrics that the headline names; the table below it has all."""


def write_report(
    judgements: Judgement | Sequence[Judgement],
    folder: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    histories: Mapping[str, History] | None = None,
    outputs: Mapping[str, Outputs] | None = None,
) -> Path:
    """Write `index.html` (self-contained), `metrics.json` and `figures/`; returns the page.

    Without `validation.figures` tables alone. The folder is made where it is missing. All files
    are written aside and renamed.

    Args:
        judgements: what `judge` returned, of one or of several generated samples with labels of
            their own and the same reference; of several images (`Judgement.further`) of all.
        folder: where the report goes.
        title: heading of the page.
        facts: what the reader must know about the samples: runs, models, seeds, files.
        histories: by the samples' labels, one mapping per epoch of the training (`epoch`, and names
            with `loss` in them or beginning with `validation.`).
        outputs: by the samples' labels, the reference first, what a discriminator says of its
            showers: title -> (N,).

    Raises:
        DataError: the folder cannot be made or written to, or labels are the same.

    """
    judged = [judgements] if isinstance(judgements, Judgement) else list(judgements)
    names = [json_name(each.label) for each in judged]
    if len(set(names)) < len(names):
        raise DataError(f"samples to compare need names of their own, not {', '.join(names)}")
    make_folder(folder)
    first, further = judged[0], _further(judged)
    shown: list[list[tuple[Picture, str]]] = [[] for _ in (first, *further)]
    if first.settings.figures:
        make_folder(folder / "figures")
        drawn = [scorecard_picture(judged), *pictures(judged, histories or {}, outputs or {})]
        shown[0] = _embedded(drawn, folder / "figures")
        for place, of_image in enumerate(further, start=1):
            image = of_image[0].image
            drawn = [scorecard_picture(of_image), *pictures(of_image, {}, {})]
            renamed = [replace(each, name=f"{image}-{each.name}") for each in drawn]
            shown[place] = _embedded(renamed, folder / "figures")
    page = _render([judged, *further], title, facts, shown)
    with written_aside(folder / "metrics.json") as aside:
        aside.write_text(json.dumps(flat_metrics(judged), indent=1) + "\n", encoding="utf-8")
    index = folder / "index.html"
    with written_aside(index) as aside:
        aside.write_text(page, encoding="utf-8")
    return index


def _further(judgements: Sequence[Judgement]) -> list[list[Judgement]]:
    """Of each further image of the showers the judgements of all samples."""
    return [[each.further[name] for each in judgements] for name in judgements[0].further]


def flat_metrics(judgements: Sequence[Judgement]) -> dict[str, float]:
    """The contents of `metrics.json`; of several samples, each name after that of the sample."""
    if len(judgements) == 1:
        return judgements[0].metrics
    return {
        f"{json_name(each.label)}.{name}": value
        for each in judgements
        for name, value in each.metrics.items()
    }


def json_name(label: str) -> str:
    """A sample's label as part of a dotted name."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", label)


def _embedded(shown: Sequence[Picture], folder: Path) -> list[tuple[Picture, str]]:
    """Every figure, written to `folder` and as a data address for the page."""
    from gan3d.validation.plots import save_figure

    embedded = []
    for picture in shown:
        _, png = save_figure(picture.draw(), folder / picture.name)
        data = base64.b64encode(png.read_bytes()).decode("ascii")
        embedded.append((picture, f"data:image/png;base64,{data}"))
    return embedded


def _render(
    of_images: Sequence[Sequence[Judgement]],
    title: str,
    facts: Mapping[str, str],
    shown: Sequence[Sequence[tuple[Picture, str]]],
) -> str:
    """The page: of each image of the showers a part, of the first and all together the first."""
    import jinja2

    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(
        files("gan3d.validation").joinpath("report.html.j2").read_text(encoding="utf-8")
    )
    several = len(of_images) > 1
    first = of_images[0][0]
    return template.render(
        title=title,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        judgements=of_images[0],
        reference=first.reference,
        headlines=headlines(of_images[0]),
        remarks=remarks(of_images[0]),
        settings=first.settings,
        parts=[
            _part_of(judgements, pictures, several=several, first=place == 0)
            for place, (judgements, pictures) in enumerate(zip(of_images, shown, strict=True))
        ],
        facts=facts,
        show=show,
        beyond=show_beyond,
        show_p=show_p,
    )


def _part_of(
    judgements: Sequence[Judgement],
    shown: Sequence[tuple[Picture, str]],
    *,
    several: bool,
    first: bool,
) -> dict[str, Any]:
    """What the page shows of an image."""
    one = judgements[0]
    return {
        "title": _heading(one) if several else "",
        "anchor": "" if first else f"{one.image}-",
        "judgements": judgements,
        "reference": one.reference,
        "rows": _rows([each.verdicts for each in judgements]),
        "features": _feature_rows(judgements),
        "quantities": quantities(
            [each.generated.observables for each in judgements], one.reference.observables
        ),
        "side_by_side": _side_by_side(judgements),
        "cells": describe_cells(one.reference.observables.geometry),
        "bins": [each for each in one.bins if all(each in other.bins for other in judgements)],
        "main": _main_in_bins(judgements),
        "in_bins": [
            {verdict.name: verdict for verdict in each.bin_verdicts} for each in judgements
        ],
        "scorecard": shown[:1],
        "pictures": shown[1:],
    }


def headlines(judgements: Sequence[Judgement]) -> list[str]:
    """The verdict in a few sentences; of several images of the showers on each, after its name."""
    if not judgements[0].further:
        return [headline(judgements)]
    images = [judgements, *_further(judgements)]
    return [f"{_heading(each[0])}: {headline(each)}" for each in images]


def _heading(judgement: Judgement) -> str:
    """What a part of the page is about: the first image is judged with all together."""
    return f"{judgement.image}{', and all images together' if judgement.further else ''}"


def remarks(judgements: Sequence[Judgement]) -> list[str]:
    """All remarks, once each; of several images of the showers after the name of theirs."""
    own = dict.fromkeys(remark for each in judgements for remark in each.remarks)
    of_others = (
        f"{each.image}: {remark}"
        for of_image in _further(judgements)
        for each in of_image
        for remark in each.remarks
        if remark not in own
    )
    return list(dict.fromkeys([*own, *of_others]))


def _side_by_side(
    judgements: Sequence[Judgement],
) -> list[tuple[str, list[Bin], list[tuple[str, list[Quantity]]]]]:
    """For angle and particle what of them, the bins, and each quantity in all bins."""
    tables = []
    for quantity, bins in side_by_side(judgements).items():
        in_bins = [
            quantities(
                [_part(each.generated.observables, one) for each in judgements],
                _part(judgements[0].reference.observables, one),
            )
            for one in bins
        ]
        rows = [(row[0].name, list(row)) for row in zip(*in_bins, strict=True)]
        tables.append((quantity, bins, rows))
    return tables


def _part(sample: Observables, one: Bin) -> Observables:
    return sample.select(one.rows(sample))


def _main_in_bins(judgements: Sequence[Judgement]) -> dict[str, Metric]:
    """The main metrics that some bin of all samples has."""
    seen = judgements[0].reference.observables
    return {
        name: metric
        for name, metric in main_metrics(seen.geometry, seen.image, seen.others).items()
        if all(
            any(verdict.name.endswith(f".{name}") for verdict in each.bin_verdicts)
            for each in judgements
        )
    }


def _rows(verdicts: Sequence[Sequence[Verdict]]) -> list[list[Verdict]]:
    """The verdicts of all samples on each metric that all have."""
    by_name = [{each.name: each for each in of_sample} for of_sample in verdicts]
    names = [name for name in by_name[0] if all(name in other for other in by_name)]
    return [[of_sample[name] for of_sample in by_name] for name in names]


def _feature_rows(judgements: Sequence[Judgement]) -> list[tuple[str, list[list[Verdict]]]]:
    """Each feature's title, and for each sample the verdicts on its distances.

    ECAL/Ep and the hits are among the main metrics with one distance, which is shown here again.
    """
    grouped: list[dict[str, list[Verdict]]] = []
    for judgement in judgements:
        by_feature: dict[str, list[Verdict]] = {}
        for verdict in (*judgement.verdicts, *judgement.feature_verdicts):
            feature, _, distance = verdict.name.rpartition(".")
            has_others = feature != "cell_energy" and verdict.name not in LAYER_METRICS
            if distance in ("separation", "ks", "wasserstein", "chi2") and has_others:
                by_feature.setdefault(feature, []).append(verdict)
        grouped.append(by_feature)
    names = [name for name in grouped[0] if all(name in other for other in grouped)]
    return [(grouped[0][name][0].title, [each[name] for each in grouped]) for name in names]


def headline(judgements: Sequence[Judgement]) -> str:
    """The verdict in a few sentences."""
    if len(judgements) > 1:
        return _compared(judgements)
    (judgement,) = judgements
    reference, settings = judgement.reference.label, judgement.settings
    verdicts = judgement.verdicts
    unclear = sum(verdict.word == "unclear" for verdict in verdicts)
    if judgement.p > settings.false_alarms and 2 * unclear >= len(verdicts):
        sentences = [
            f"Too few showers to say: nothing tells them from {reference} beyond chance, but most "
            "faults that matter would not be seen."
        ]
    elif judgement.p > settings.false_alarms:
        sentences = [
            f"Nothing tells the showers from {reference} beyond chance: a perfect generator would "
            f"look as bad in {show_share(judgement.p)} of such reports."
        ]
    else:
        sentences = [
            f"The showers differ from {reference}: a perfect generator would look as bad in "
            f"{show_share(judgement.p)} of such reports."
        ]
    sentences.append(_counted(verdicts))
    for of, what in (
        (judgement.feature_verdicts, "distances of distributions"),
        (judgement.bin_verdicts, "metrics in bins"),
    ):
        if of:
            sentences.append(f"Of {len(of)} {what} {agreement(of)}.")
    if unclear:
        sentences.append("Unclear is what only more showers can say.")
    large = [
        _within_a_sentence(verdict.title)
        for verdict in verdicts
        if verdict.word == "unclear" and is_large(verdict.metric.kind, verdict.estimate, settings)
    ]
    if large:
        sentences.append(f"Unclear, but more than what is called close: {'; '.join(large)}.")
    return " ".join(sentences)


def _counted(verdicts: Sequence[Verdict]) -> str:
    """How many main metrics have which verdict, and the farthest of those that differ."""
    words = [verdict.word for verdict in verdicts]
    counts = [
        f"{words.count(word)} {one if words.count(word) == 1 else several}"
        for word, one, several in (
            ("agrees", "agrees", "agree"),
            ("unclear", "is unclear", "are unclear"),
            ("close", "is close", "are close"),
            ("too alike", "is too alike", "are too alike"),
            ("differs", "differs", "differ"),
        )
        if word in words
    ]
    text = f"Of {len(verdicts)} main metrics {', '.join(counts)}"
    faulty = [verdict for verdict in verdicts if verdict.word in ("differs", "too alike")]
    named = sorted(faulty, key=lambda verdict: -verdict.beyond)[:_NAMED]
    if not named:
        return f"{text}."
    most = ", most of all" if len(faulty) > len(named) else ""
    return f"{text}{most}: {'; '.join(_within_a_sentence(each.title) for each in named)}."


def agreement(verdicts: Sequence[Verdict]) -> str:
    """How many are within chance, and which is the farthest off."""
    fine = sum(not verdict.faulty for verdict in verdicts)
    text = f"{fine} {'is' if fine == 1 else 'are'} within chance"
    unclear = sum(verdict.word == "unclear" for verdict in verdicts)
    if unclear:
        text += f" ({unclear} unclear)"
    if fine == len(verdicts):
        return text
    faulty = [verdict for verdict in verdicts if verdict.faulty]
    worst = max(faulty, key=lambda verdict: verdict.beyond)
    within, _ = split_name(worst.name)
    place = f" in {within}" if within else ""
    return (
        f"{text}; farthest off is {_within_a_sentence(worst.title)}{place} "
        f"({_within_a_sentence(worst.metric.kind.name)}, {show_beyond(worst)})"
    )


def _compared(judgements: Sequence[Judgement]) -> str:
    """Who agrees in most metrics, and whose optimisation metric is the smallest."""
    metric = {each.label: each.metrics["optimisation_metric"] for each in judgements}
    counts = "; ".join(
        f"{each.label} in {sum(not verdict.faulty for verdict in each.verdicts)} of "
        f"{len(each.verdicts)} (p {_show_p(each.p)}{_too_alike(each)})"
        for each in judgements
    )
    best = min(metric, key=lambda label: metric[label])
    return (
        f"Main metrics that are within chance of {judgements[0].reference.label}: {counts}. The "
        f"smallest optimisation metric is that of {best}, {100 * metric[best]:.2f} %."
    )


def _too_alike(judgement: Judgement) -> str:
    """What speaks against being taken as good, whatever the distances say."""
    count = sum(verdict.word == "too alike" for verdict in judgement.verdicts)
    return f"; too alike in {count}" if count else ""


def _within_a_sentence(title: str) -> str:
    """Without its capital, unless it is a name or an abbreviation."""
    named = title.startswith("Fréchet") or not title[1].islower()
    return title if named else title[0].lower() + title[1:]


def show(kind: Kind, value: float, error: float | None = None) -> str:
    """A metric's value as text, in per cent where that is usual, with ± error where given.

    To two digits of the error, or three of the value; to 1e-5 of what is not small itself.
    """
    scale, unit = (100.0, " %") if kind.percent else (1.0, "")
    if error is None:
        return f"{_three_digits(scale * value)}{unit}"
    if not error > 0.0:
        return f"{_three_digits(scale * value)} ± 0{unit}"
    exponent = math.floor(math.log10(scale * error))
    decimals = max(0, 1 - exponent)
    if decimals > 5 and scale * abs(value) > 0.1:
        decimals = 5
    if decimals > 5:
        exponent = math.floor(math.log10(scale * max(abs(value), error)))
        power, decimals = scale * 10.0**-exponent, decimals + exponent
        return f"({power * value:.{decimals}f} ± {power * error:.{decimals}f})e{exponent}{unit}"
    return f"{scale * value:.{decimals}f} ± {scale * error:.{decimals}f}{unit}"


def _three_digits(value: float) -> str:
    if abs(value) < 1e-12:  # what rounding left of 0
        return "0"
    return f"{value:.2e}" if abs(value) < 1e-4 else f"{value:.3g}"


def show_beyond(verdict: Verdict) -> str:
    """Standard deviations beyond a perfect generator, as text."""
    value = verdict.beyond
    return f"{value:.1f} σ" if math.isfinite(value) else "∞"


def show_share(p: float) -> str:
    """A probability as a share, in per cent."""
    if p < 1e-4:
        return "less than 0.01 %"
    return f"{100 * p:.2g} %"


def show_p(verdict: Verdict) -> str:
    """How likely a perfect generator would have any metric of the report as far off, as text.

    And how likely this one, where that is noticeable on its own.
    """
    estimate = verdict.estimate
    alone = f", alone {estimate.alone:.1g}" if estimate.alone < 0.01 < estimate.p else ""
    return f"p {_show_p(estimate.p)}{alone}"


def _show_p(p: float) -> str:
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"
