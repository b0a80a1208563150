"""What a job's script does, with the test's own programs for gan3d and the batch system."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

GAN3D = r"""
# Listens late, as a rank that is still importing; ends as it was told to.
echo "$@" >>told
echo "${LD_LIBRARY_PATH-}" >libraries
if [[ $* =~ files=\[\"([^\"]*)/0/ ]]; then
    { stat -c %a "${BASH_REMATCH[1]}"; ls "${BASH_REMATCH[1]}/0"; } >seen
fi
status() { echo "{\"status\": \"$1\", \"message\": \"\"}" >"$RUN/status.json"; }
case $ENDING in
finished) status finished ;;
failed) status failed; exit 1 ;;
dies) exit 3 ;;
terminated) status requeue; exit 75 ;;
steps) mkdir -p "$RUN/checkpoints/step-$(date +%s%N)" ;;&
*)
    touch started
    sleep 1
    exec python3 -c '
import pathlib, signal, sys, time
def stop(number, frame):
    signal.signal(number, usual) # as gan3d does
    time.sleep(3) # a checkpoint; the warning is repeated meanwhile
    pathlib.Path(sys.argv[1]).write_text("{\n  \"status\": \"requeue\"\n}\n")
    sys.exit(75)
usual = signal.signal(signal.SIGUSR1, stop)
time.sleep(60)' "$RUN/status.json"
    ;;
esac
"""
SYSTEMS = Path(__file__).parents[2] / "jobs" / "systems"
BATCH = {"slurm": "scontrol requeue 17\n", "pbs": "qsub {run}/job.sh\n", "lsf": None}
"""What puts a job back into the queue; LSF does it by the exit code."""
every_system = pytest.mark.parametrize("name", BATCH)


def wait_for(path):
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline, f"no {path}"
        time.sleep(0.05)


@pytest.fixture
def submit(render, tmp_path, programs):
    """Run the script of a job on a system; submit("slurm", ending="warned")."""
    folder = programs(
        gan3d=GAN3D,
        # A launcher that is more than one process, and dies of the signal.
        # Nor does it hand on what the job's shell has loaded.
        launcher='echo "$ENDING" >launcher_saw\nenv -u LD_LIBRARY_PATH "$@"\ncode=$?\nexit $code',
        srun='while [[ $1 == --* ]]; do shift; done\n"$@"',
        scontrol="case $1 in show) echo localhost ;; *) echo scontrol \"$@\" >>batch ;; esac",
        qsub="echo qsub \"$@\" >>batch",
    )  # fmt: skip
    (tmp_path / "nodes").write_text("localhost\n")

    def run(name, ending, *arguments, warn=False, time_limit="01:00:00", staging=None, **given):
        staged = f"staging: {staging}\n" if staging else ""
        (tmp_path / "mine.yaml").write_text(
            f"extends: {SYSTEMS / name}.yaml\n"
            f"bin: {folder}\n"
            "launcher: mpirun\n"
            "blocks_launcher: mpirun\n"
            "launchers: {mpirun: [launcher]}\n"
            "account_required: false\n"
            "warning_seconds: 10\n"
            f"{staged}"
            f"environment: {{ENDING: {ending}, RUN: {tmp_path / 'run'}}}\n"
        )
        code, script, errors = render(
            "mine.yaml", "--run", "run", *arguments, time=time_limit, **given
        )
        assert code == 0, errors
        job = tmp_path / "job.sh"
        job.write_text(script.replace("#!/bin/bash -l", "#!/bin/bash"))
        process = subprocess.Popen(
            ["bash", job],
            cwd=tmp_path,
            env={
                **os.environ,
                "SLURM_JOB_ID": "17",
                "SLURM_JOB_NODELIST": "localhost",
                "PBS_NODEFILE": str(tmp_path / "nodes"),
                "LSB_DJOB_HOSTFILE": str(tmp_path / "nodes"),
                "PBS_O_WORKDIR": str(tmp_path),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if warn:
            wait_for(tmp_path / "started")
            process.send_signal(signal.SIGUSR1)
        said, _ = process.communicate(timeout=60)
        return process.returncode, said

    return run


def batch(tmp_path):
    path = tmp_path / "batch"
    return path.read_text() if path.exists() else None


@every_system
def test_a_job_that_is_warned_ends_and_goes_back_into_the_queue(submit, tmp_path, name):
    code, said = submit(name, "warned", warn=True)
    assert "job: out of time" in said
    # The launcher was not killed by the warning, or it would have been before the checkpoint.
    assert code == (75 if name == "lsf" else 0)
    expected = BATCH[name]
    assert batch(tmp_path) == (expected and expected.format(run=tmp_path / "run"))


@every_system
def test_a_job_that_is_finished_ends(submit, tmp_path, name, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/a b:/opt/c")
    assert submit(name, "finished")[0] == 0
    # The system's environment is there for the launcher, and the modules' libraries for the ranks.
    assert (tmp_path / "launcher_saw").read_text() == "finished\n"
    assert (tmp_path / "libraries").read_text() == "/opt/a b:/opt/c\n"
    assert batch(tmp_path) is None


@every_system
@pytest.mark.parametrize(
    ("ending", "message"), [("failed", "job: failed, exit code 1"), ("dies", "job: no status")]
)
def test_a_failure_does_not_go_back_into_the_queue(submit, tmp_path, name, ending, message):
    # Nor does it by what the attempt before has left.
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "status.json").write_text('{"status": "requeue"}')
    code, said = submit(name, ending)
    assert code not in (0, 75)
    assert message in said
    assert batch(tmp_path) is None


@every_system
def test_a_job_that_was_cancelled_does_not_come_back(submit, tmp_path, name):
    code, said = submit(name, "terminated")
    assert code == (1 if name == "lsf" else 75)
    assert "submit it again to go on" in said
    assert batch(tmp_path) is None


@every_system
@pytest.mark.parametrize("ending", ["warned", "steps"])
def test_a_job_that_never_does_a_step_stops_coming_back(submit, tmp_path, name, ending):
    # Two attempts before this one did not do one.
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "idle_attempts").write_text("one\ntwo\n")
    code, said = submit(name, ending, warn=True)
    assert not (tmp_path / "run" / "idle_attempts").exists()
    if ending == "steps":
        assert code == (75 if name == "lsf" else 0)
        assert (batch(tmp_path) is None) == (name == "lsf")
    else:
        assert code == 1 if name == "lsf" else code not in (0,)
        assert "job: no step in 3 attempts; give it more time, exit code 75" in said
        assert batch(tmp_path) is None


@pytest.mark.parametrize(
    ("name", "ending", "told", "exit_code"),
    [
        ("slurm", "warned", "job: out of time", 0),
        ("slurm", "terminated", "submit it again to go on", 75),
        ("slurm", "failed", "job: failed, exit code 1", 1),
        ("pbs", "finished", "", 0),
        ("lsf", "finished", "", 0),
    ],
)
def test_the_job_of_a_study_goes_by_its_coordinators_exit_code(
    submit, tmp_path, experiment, name, ending, told, exit_code
):
    study = tmp_path / "study.yaml"
    study.write_text(
        f"experiment: {experiment.name}\noverrides: {{validation.epoch_showers: 10}}\n"
        "search: {training.label_flip: {float: [0.0, 0.2]}}\nblocks: {stop_seconds: 5}\n"
    )
    code, said = submit(name, ending, warn=ending == "warned", config=study)
    assert told in said
    assert code == exit_code
    assert batch(tmp_path) == (BATCH[name] if ending == "warned" else None)
    # One coordinator, which is told what it may divide.
    assert not (tmp_path / "launcher_saw").exists()
    (call,) = (tmp_path / "told").read_text().splitlines()
    assert call.startswith(f"tune {study} ")
    assert "--hosts localhost:2 --block-size 1 --set blocks.launcher=mpirun" in call


@pytest.mark.parametrize("name", ["pbs", "lsf"])
def test_where_the_batch_system_sends_no_warning_the_job_warns_itself(submit, name):
    code, said = submit(name, "warned", time_limit="00:00:12")
    assert "job: out of time" in said
    assert code == (75 if name == "lsf" else 0)


def test_the_ranks_of_jsrun_are_told_by_jskill(render):
    _, script, _ = render("lsf", "--account", "x")
    assert "warn_ranks() { jskill -s 10 all || true; }" in script


def test_files_are_copied_and_the_copies_are_trained_on(submit, tmp_path, monkeypatch):
    monkeypatch.setenv("SCRATCH", str(tmp_path / "scratch"))
    shared, own = "{folder: $SCRATCH/deep, shared: true}", f"{{folder: {tmp_path}, shared: false}}"
    for staging in (shared, own):
        code, said = submit("slurm", "finished", staging=staging)
        assert code == 0, said
        told = (tmp_path / "told").read_text().splitlines()[-1]
        stage = Path(told.partition('data.files=["')[2].partition("/0/a *.h5")[0])
        assert f'data.validation_files=["{stage}/1/held.h5"]' in told
        assert (tmp_path / "seen").read_text().split("\n")[:3] == ["700", "a 1.h5", "a 2.h5"]
        assert stage.parent == (tmp_path / "scratch" / "deep" if staging == shared else tmp_path)
        # What all nodes share stays, for looking at the run; nodes are left as they were found.
        assert stage.exists() == (staging == shared)


def test_a_file_that_is_not_there_ends_the_job_before_training(submit, tmp_path):
    (tmp_path / "data" / "held.h5").unlink()
    code, said = submit("slurm", "finished")
    assert code != 0
    assert "held.h5" in said
    (tmp_path / "data" / "a 1.h5").unlink()
    (tmp_path / "data" / "a 2.h5").unlink()
    code, said = submit("slurm", "finished", staging=f"{{folder: {tmp_path}, shared: false}}")
    assert code != 0
    assert "data/a *.h5: no such file" in said
    assert not (tmp_path / "told").exists()
    assert not list(tmp_path.glob("gan3d-*")), "copies are left on the node"


def test_files_of_one_name_are_not_mixed_up(submit, tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.h5").write_text(folder)
    code, _ = submit("slurm", "finished", "--set", "data.files=[x/same.h5, y/same.h5]")
    assert code == 0
    code, said = submit("slurm", "finished", "--set", "data.files=['?/same.h5']")
    assert code != 0
    assert "same.h5" in said
