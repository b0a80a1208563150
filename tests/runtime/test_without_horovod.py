"""Machines without Horovod, or with one built without TensorFlow, acted by stand-in packages."""

import os
import subprocess
import sys

import numpy as np
import pytest

from gan3d.runtime import SingleProcess, doctor
from gan3d.runtime.distributed import HOROVOD_REMEDY

LAUNCHED = {
    "HOROVOD_RANK": "1",
    "HOROVOD_SIZE": "2",
    "HOROVOD_LOCAL_RANK": "1",
    "HOROVOD_LOCAL_SIZE": "2",
}

HIDE = """
import importlib.machinery, sys
class Hide(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition('.')[0] != 'horovod':
            return super().find_spec(name, path, target)
for index, finder in enumerate(sys.meta_path):
    if finder is importlib.machinery.PathFinder:
        sys.meta_path[index] = Hide
"""


@pytest.fixture(params=["missing", "without TensorFlow", "for another TensorFlow"])
def machine(request, tmp_path):
    """(kind, environment) for processes on a machine with that Horovod."""
    if request.param == "missing":
        (tmp_path / "sitecustomize.py").write_text(HIDE)
    else:
        package = tmp_path / "horovod" / "tensorflow"
        package.mkdir(parents=True)
        (tmp_path / "horovod" / "__init__.py").touch()
        reason = "Extension horovod.tensorflow has not been built: mpi_lib not found\\nIf this is"
        (package / "__init__.py").write_text(f"raise ImportError('{reason}')")
        if request.param == "for another TensorFlow":
            (package / "mpi_lib.cpython-311-x86_64-linux-gnu.so").touch()
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    return request.param, os.environ | {"PYTHONPATH": path.rstrip(os.pathsep)}


def run(code, environment):
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )


def test_a_process_that_nobody_launched_trains_alone(machine):
    _, environment = machine
    code = (
        "from gan3d.runtime import connect, launched\n"
        "print(launched().rank, type(connect()).__name__)"
    )
    assert run(code, environment).stdout.split() == ["0", "SingleProcess"]


REASONS = {
    "missing": "Horovod is not installed",
    "without TensorFlow": "Horovod was built without its TensorFlow extension",
    "for another TensorFlow": "Horovod does not load with this TensorFlow: "
    "Extension horovod.tensorflow has not been built",
}


@pytest.mark.tensorflow
def test_launched_ranks_fail_with_the_remedy(machine):
    kind, environment = machine
    code = (
        "from gan3d.errors import NodeError\nfrom gan3d.runtime import connect\n"
        "try:\n    connect()\nexcept NodeError as error:\n    print(error)"
    )
    message = run(code, environment | LAUNCHED).stdout
    assert message.startswith("2 ranks were started by horovodrun, but they cannot be joined: ")
    assert REASONS[kind] in message
    assert HOROVOD_REMEDY in message
    assert message.count("\n") == 1


@pytest.mark.parametrize("machine", ["missing", "without TensorFlow"], indirect=True)
def test_a_launched_train_fails_at_once(machine, gan3d, tmp_path):
    _, environment = machine
    from gan3d.samples import sample_files

    path = tmp_path / "e.yaml"
    path.write_text(f"data: {{files: ['{sample_files().train}']}}\n")
    done = gan3d("train", path, env=environment | LAUNCHED)
    assert done.returncode == 1
    assert done.stderr.startswith("[rank 1] gan3d: error: 2 ranks were started by horovodrun")
    assert HOROVOD_REMEDY in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.tensorflow
def test_doctor_names_what_is_missing_and_the_remedy(machine):
    kind, environment = machine
    code = (
        "from gan3d.runtime.doctor import diagnose\n"
        "for f in diagnose():\n    if f.name in ('Horovod', 'TensorFlow'): print(f)"
    )
    tensorflow, horovod = run(code, environment).stdout.splitlines()
    assert "status='ok'" in tensorflow
    assert "status='warning'" in horovod
    assert REASONS[kind] in horovod
    assert HOROVOD_REMEDY in horovod


def test_without_horovod_launched_ranks_have_a_problem(monkeypatch):
    monkeypatch.setattr(doctor, "horovod_lacks", lambda: "Horovod is not installed")
    monkeypatch.setattr(doctor, "_probe", lambda: ({"version": "2.18.1", "gpus": []}, None, ""))
    statuses = []
    for environment in ({}, LAUNCHED):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        statuses += [f.status for f in doctor.diagnose() if f.name == "Horovod"]
    assert statuses == ["warning", "problem"]


def test_doctor_survives_a_crash_of_tensorflow(tmp_path, monkeypatch):
    (tmp_path / "tensorflow.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGILL)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    findings = {finding.name: finding for finding in doctor.diagnose()}
    assert findings["TensorFlow"].status == "problem"
    assert findings["TensorFlow"].detail == "loading crashes (SIGILL)"
    assert findings["Horovod"].status == "warning"


def test_a_single_process_is_a_world_of_one():
    alone = SingleProcess()
    assert (alone.rank, alone.size, alone.local_rank, alone.local_size) == (0, 1, 0, 1)
    tensors = [object(), object()]
    assert alone.average(tensors, "gradients") == (tensors, 0.0)
    array = np.array([[1.0, 2.0]])
    np.testing.assert_array_equal(alone.sum(array), array)
    np.testing.assert_array_equal(alone.gather(array), array)
    assert alone.sum(array) is not array
