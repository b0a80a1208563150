"""The experiments in configs/: each is whole, has networks, and says how it is trained."""

from pathlib import Path

import pytest

from gan3d.config import load_experiment
from gan3d.models import check_networks

ROOT = Path(__file__).parents[2]
EXPERIMENTS = sorted((ROOT / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_an_experiment_has_networks_and_says_how_it_is_trained(path):
    experiment = load_experiment(path)
    check_networks(experiment)
    text = path.read_text()
    assert text.startswith("# ")
    assert f"gan3d train configs/{path.name}" in text


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_what_an_experiment_names_in_the_repository_is_there(path):
    data = load_experiment(path).data
    for named in (*data.files, *(data.validation_files or ())):
        # Monte Carlo of one's own, or of `gan3d simulate`, is expected in showers/.
        if Path(named).relative_to(ROOT).parts[0] != "showers":
            assert list(ROOT.glob(str(Path(named).relative_to(ROOT))))
