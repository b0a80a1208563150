"""The notebooks run from top to bottom on the bundled sample and show what they say."""

import json
import os
import re
import sys
from pathlib import Path

import h5py
import nbformat
import pytest
from nbclient import NotebookClient

import gan3d
from gan3d.bench.projection import Step, project
from gan3d.config.systems import load_system
from gan3d.samples import sample_files

REPOSITORY = Path(__file__).parents[2]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
DATA, VALIDATION, COMPARING, SCALING, CONDITIONS, STUDIES, DETECTORS = NOTEBOOKS
MOST_BYTES = 1_500_000

# Replicas and showers that the numbers of small runs come from.
FEWER = (
    "data.split={by: row, train: 0.1, validation: 0.1}",
    "validation.epoch_showers=100",
    "validation.bootstrap_replicas=5",
    "validation.noise_replicas=10",
    "validation.exchanges=20",
    "validation.sample_showers=200",
    "validation.figures=false",  # of the report, which has tests of its own; cells draw theirs
)

# One process runs all that train, one after the other: the later ones take the run of the second.
runs_in_turn = pytest.mark.xdist_group("notebooks")


class Executed:
    """A notebook that has run."""

    def __init__(self, notebook):
        self.cells = [cell for cell in notebook.cells if cell.cell_type == "code"]

    @property
    def text(self):
        """All that it has printed."""
        return "".join(
            output.text
            for cell in self.cells
            for output in cell.outputs
            if output.output_type == "stream" and output.name == "stdout"
        )

    def numbers(self, pattern):
        """The groups of the only place where it has printed `pattern`."""
        (found,) = re.findall(pattern, self.text)
        return [float(each) for each in ([found] if isinstance(found, str) else found)]


def figures(cell):
    """Figures that a cell has drawn."""
    return [output for output in cell.outputs if "image/png" in output.get("data", {})]


def execute(path, folder, **variables):
    """Run a notebook in `folder`, with `variables` (source text) changed in its first code cell."""
    notebook = nbformat.read(path, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    for name, value in variables.items():
        first.source, count = re.subn(
            rf"(?m)^{name} = .*$", lambda _, n=name, v=value: f"{n} = {v}", first.source
        )
        assert count == 1, f"{path.name} has no variable {name}"
    folder.mkdir(exist_ok=True)
    package = str(Path(gan3d.__file__).parents[1])
    # Under pytest a kernel would leave what other processes print to the terminal.
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"
    }
    NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=600,
        resources={"metadata": {"path": str(folder)}},
    ).execute(env={**environment, "TMPDIR": str(folder), "PYTHONPATH": package})
    done = Executed(notebook)
    for cell in done.cells:
        draws = re.search(r"plots\.(?!style)\w+\(|\.draw\(\)$|^figure$", cell.source, re.MULTILINE)
        assert len(figures(cell)) == 1 or not draws, cell.source
        errors = [o for o in cell.outputs if o.get("name") == "stderr"]
        assert not errors, (cell.source, errors)
    return done


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Every other of the bundled sample's held-out showers, as a notebook's REFERENCE."""
    path = tmp_path_factory.mktemp("reference") / "heldout.h5"
    with h5py.File(sample_files().heldout) as whole, h5py.File(path, "w") as half:
        for name, values in whole.items():
            half[name] = values[::2]
    return str([str(path)])


@pytest.fixture(scope="module")
def validated(tmp_path_factory, reference):
    """The second notebook, executed, and the run that it has trained."""
    folder = tmp_path_factory.mktemp("notebooks")
    done = execute(VALIDATION, folder, CHANGES=str(FEWER), REFERENCE=reference)
    (run,) = folder.glob("gan3d-*/run")
    return done, run


@pytest.mark.slow
@runs_in_turn
def test_the_data_and_its_physics(tmp_path):
    settings = "bootstrap_replicas=5, noise_replicas=10, exchanges=20, sample_showers=200"
    done = execute(DATA, tmp_path, SETTINGS=f"Validation({settings})")
    (fraction, _) = done.numbers(r"sampling fraction +([\d.]+) %, spread ([\d.]+) %")
    assert 2.0 < fraction < 2.15
    a, a_error = done.numbers(r"a = \(([\d.]+) ± ([\d.]+)\) %")
    c, c_error = done.numbers(r"c = \(([\d.]+) ± ([\d.]+)\) %")
    assert 15 < a < 21
    assert a_error < 2
    assert c < 2
    assert c_error < 0.6
    slope, error = done.numbers(r"slope ([\d.]+) ± ([\d.]+) layers")
    assert abs(slope - 1.3) < 4 * error  # 1 to 1.1 X0 for each factor e, 0.81 X0 a layer
    r50, r90 = (
        done.numbers(rf"{share} % of the energy within ([\d.]+) mm")[0] for share in (50, 90)
    )
    assert 2 < r50 < 6
    assert 12 < r90 < 22
    among_themselves, photons = re.findall(r"verdicts: (\{.*\})", done.text)
    assert "differs" not in among_themselves
    assert "'differs'" in photons
    assert re.search(r"farthest off:\n(.*\n){0,2}.* start\.", done.text)


@pytest.mark.slow
@pytest.mark.tensorflow
@runs_in_turn
def test_the_validation_of_a_run(validated):
    done, run = validated
    assert (run / "status.json").is_file()
    aucs = re.findall(r"Classifier told [\w -]+? +([\d.]+) ±", done.text)
    assert len(aucs) == 3
    assert all(0.5 < float(auc) <= 1.0 for auc in aucs)  # after forty steps
    (sampling,) = done.numbers(r"Sampling fraction ECAL/Ep +([\d.]+) ±")
    assert sampling < 0.05
    for label in ("Geant4", "GAN"):
        (probability,) = done.numbers(rf"{label} +mean probability ([\d.]+)")
        assert 0.0 < probability < 1.0
    megabytes = done.numbers(r"report/index.html: ([\d.]+) MB")[0]
    assert megabytes < 1  # without figures
    assert (run.parent / "report" / "metrics.json").is_file()


@pytest.mark.slow
@pytest.mark.tensorflow
@runs_in_turn
def test_epochs_are_compared(validated, reference, tmp_path):
    _, run = validated
    done = execute(COMPARING, tmp_path, RUNS=f'{{"small run": {str(run)!r}}}', REFERENCE=reference)
    assert len(re.findall(r"Sampling fraction ECAL/Ep( +[\d.]+ ± +[\d.]+){2}", done.text)) == 1
    epochs, faults = (
        re.findall(rf"{begin}.*?([\d.]+) ± [\d.]+ +([\d.]+) ± [\d.]+ +(yes|no)", done.text)
        for begin in (r"(?m)^ +\d+ +\d+ +", r"(?m)^ +\+[\d.]+ % +")
    )
    assert len(epochs) == 4
    assert min(float(above) for _, above, _ in epochs) == 0.0
    assert faults[0][2] == "no"
    assert faults[-1][2] == "yes"  # a response that is 5 % off


@pytest.mark.slow
@pytest.mark.tensorflow
@runs_in_turn
def test_histories_and_the_projection(validated, tmp_path):
    _, run = validated
    done = execute(SCALING, tmp_path, RUN=repr(str(run)))
    assert "status: finished, 4 epochs" in done.text
    assert "no measurement" in done.text
    assert "Stampede2" in done.text
    shares = re.findall(r"(?m)^ +[2-4] +[\d.]+ +[\d.]+ +([\d.]+)% +([\d.]+)%", done.text)
    assert len(shares) == 3
    assert all(float(data) + float(compute) <= 100.1 for data, compute in shares)
    assert all(float(compute) > 50 for _, compute in shares)


@pytest.mark.slow
@pytest.mark.tensorflow
@runs_in_turn
def test_a_measurement_of_scaling_is_drawn(validated, tmp_path):
    _, run = validated
    parts = {"compute": 0.97, "all-reduce": 0.02, "rank wait": 0.01, "data wait": 0.0}
    alone = {
        "trainer": "gan3d", "mode": "weak", "ranks": 1, "batch_size": 8,
        "showers_per_second": 2.5, "efficiency": 1.0, "share_of_time": parts,
    }  # fmt: skip
    two = alone | {"ranks": 2, "showers_per_second": 4.8, "efficiency": 0.96}
    step = Step(2.0, 0.013, 4, 7.5e6, 128e6, 0.001)
    system = load_system(REPOSITORY / "configs" / "systems" / "stampede2.yaml")
    written = tmp_path / "scaling.json"
    figures_of_bench = {
        "measured": [alone, two],
        "model_here": {"spread": step.spread},
        "projections": [project(system, step)],
    }
    written.write_text(json.dumps(figures_of_bench))
    done = execute(SCALING, tmp_path, RUN=repr(str(run)), SCALING=repr(str(written)))
    (cell,) = (cell for cell in done.cells if "display(draw(scaling))" in cell.source)
    assert len(figures(cell)) == 1
    assert re.search(r"weak, 2 rank\(s\) +of batch 8: 4.80 showers/s, 96.0%", done.text)
    assert "spread 1.30%" in done.text  # the one that was measured
    assert "Piz Daint" not in done.text


@pytest.mark.slow
@pytest.mark.tensorflow
@runs_in_turn
def test_photons_and_electrons_of_one_network_and_angles_of_another(tmp_path):
    fewer = (*FEWER, "training.epochs=1", "data.split={by: row, train: 0.4, validation: 0.4}")
    done = execute(CONDITIONS, tmp_path, CHANGES=str(fewer))
    electrons, photons = (
        done.numbers(rf"{name} +maximum in layer ([\d.]+)")[0] for name in ("electrons", "photons")
    )
    assert 0.4 < photons - electrons < 2.0
    errors = done.numbers(r"sampling_fraction.rel_error +([\d.]+)% +([\d.]+)%\n")
    assert all(error < 5 for error in errors)
    for asked in (65, 90, 115):
        (shown,) = done.numbers(rf"asked for +{asked} degrees, shown +([\d.]+)")
        assert abs(shown - asked) < 5
    assert "ECAL/Ep [%]                             60–80°     80–100°    100–120°" in done.text
    errors = done.numbers(r"sampling_fraction.rel_error +([\d.]+)% +([\d.]+)% +([\d.]+)%\n")
    assert all(error < 5 for error in errors)


@pytest.mark.slow
@runs_in_turn
def test_a_study_is_read(tmp_path):
    done = execute(STUDIES, tmp_path)
    assert "40 trials: 40 done" in done.text
    assert 0.397 < done.numbers(r"best: trial \d+, branin ([\d.]+)")[0] < 5.0


@pytest.mark.slow
@pytest.mark.tensorflow
@runs_in_turn
def test_grids_transfer_cylinders_and_pairs(tmp_path):
    fewer = (*FEWER, "training.epochs=1", "data.split={by: row, train: 0.15, validation: 0.1}")
    done = execute(DETECTORS, tmp_path, CHANGES=str(fewer))
    assert "at least 4 cells along each axis" in done.text
    in_gev, logarithm, alone, transferred = (
        done.numbers(rf"optimisation_metric, {run} +([\d.]+)%\n")[0]
        for run in ("gev", "logarithm", "alone", "transferred")
    )
    assert logarithm < in_gev
    assert transferred < alone
    assert "41 of 41 variables taken; fresh: none" in done.text
    assert "35 of 41 variables\n" in done.text  # of another grid
    around = re.findall(r"around the axis, (?:GAN|Monte Carlo) +varies by ([\d.]+)%", done.text)
    assert all(float(each) < 10 for each in around)
    assert "{'ECAL': (1000, 9, 9, 10), 'HCAL': (1000, 5, 5, 10)}" in done.text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_is_committed_is_small_and_tells_of_no_machine(path):
    assert path.stat().st_size < MOST_BYTES
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(not cell.metadata for cell in notebook.cells)
    assert set(notebook.metadata) == {"kernelspec", "language_info"}
    outputs = [
        {
            mime: text
            for mime, text in output.get("data", {}).items()
            if not mime.startswith("image")
        }
        or output.get("text", "")
        for cell in cells
        for output in cell.outputs
    ]
    written = json.dumps(outputs)
    for found in ("/tmp", "/home", "/root", "/work", "/Users", sys.prefix, "\\u001b", "Traceback"):
        assert found not in written
    assert any(figures(cell) for cell in cells)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_links_between_notebooks_lead_somewhere(path):
    notebook = nbformat.read(path, as_version=4)
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    for link in re.findall(r"\]\(([^)]+)\)", "\n".join(texts)):
        assert (path.parent / link).is_file(), link
