"""Generated showers against Monte Carlo: observables, metrics, figures, a report. No TensorFlow."""

from __future__ import annotations

from gan3d.validation.catalogue import METRICS
from gan3d.validation.judgement import Judgement, compare_showers, judge
from gan3d.validation.observables import Observables, observe
from gan3d.validation.report import write_report
from gan3d.validation.resolution import fit_resolution, resolution_curve, response_curve
from gan3d.validation.sample import Sample, summarise
from gan3d.validation.selection import Selection, select_checkpoint, write_selection
from gan3d.validation.several import compare_images, judge_images, observe_images, summarise_images
from gan3d.validation.verdict import Verdict

__all__ = [
    "METRICS",
    "Judgement",
    "Observables",
    "Sample",
    "Selection",
    "Verdict",
    "compare_images",
    "compare_showers",
    "fit_resolution",
    "judge",
    "judge_images",
    "observe",
    "observe_images",
    "resolution_curve",
    "response_curve",
    "select_checkpoint",
    "summarise",
    "summarise_images",
    "write_report",
    "write_selection",
]
