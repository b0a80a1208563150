"""Batch jobs: scripts that a site's batch system takes, from templates (jobs/templates/)."""

from __future__ import annotations

from gan3d.jobs.render import Blocks, Job, render
from gan3d.jobs.systems import find_system

__all__ = ["Blocks", "Job", "find_system", "render"]
