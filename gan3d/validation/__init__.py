"""Generated showers against Monte Carlo: observables, metrics, figures, a report. No TensorFlow."""

from __future__ import annotations

from gan3d.validation.catalogue import METRICS
from gan3d.validation.judgement import Judgement, Verdict, compare_showers, judge
from gan3d.validation.observables import Observables, observe
from gan3d.validation.report import write_report
from gan3d.validation.sample import Sample, summarise

__all__ = [
    "METRICS",
    "Judgement",
    "Observables",
    "Sample",
    "Verdict",
    "compare_showers",
    "judge",
    "observe",
    "summarise",
    "write_report",
]
