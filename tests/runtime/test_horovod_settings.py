"""The `horovod` section in Horovod's own words."""

import pytest

from gan3d.config import Horovod
from gan3d.errors import NodeError
from gan3d.runtime.distributed import _check_adasum
from gan3d.runtime.horovod_settings import (
    HOROVOD_VARIABLES,
    horovod_environment,
    horovod_settings,
)
from gan3d.runtime.launch import Launch


def test_what_is_null_is_left_to_horovod():
    assert horovod_environment(Horovod()) == {}


@pytest.mark.parametrize(
    ("key", "value", "variable", "text"),
    [
        ("fusion_threshold_mb", 64, "HOROVOD_FUSION_THRESHOLD", "67108864"),
        ("fusion_threshold_mb", 0, "HOROVOD_FUSION_THRESHOLD", "0"),
        ("cycle_time_ms", 2.5, "HOROVOD_CYCLE_TIME", "2.5"),
        ("cache_capacity", 0, "HOROVOD_CACHE_CAPACITY", "0"),
        ("hierarchical_allreduce", True, "HOROVOD_HIERARCHICAL_ALLREDUCE", "1"),
        ("hierarchical_allgather", False, "HOROVOD_HIERARCHICAL_ALLGATHER", "0"),
        ("autotune", True, "HOROVOD_AUTOTUNE", "1"),
        ("autotune_log_file", "a/b.csv", "HOROVOD_AUTOTUNE_LOG", "a/b.csv"),
        ("timeline_filename", "t.json", "HOROVOD_TIMELINE", "t.json"),
        ("timeline_mark_cycles", True, "HOROVOD_TIMELINE_MARK_CYCLES", "1"),
        ("stall_check_warning_time_seconds", 30, "HOROVOD_STALL_CHECK_TIME_SECONDS", "30"),
        ("stall_check_shutdown_time_seconds", 0, "HOROVOD_STALL_SHUTDOWN_TIME_SECONDS", "0"),
        ("gloo_timeout_seconds", 60, "HOROVOD_GLOO_TIMEOUT_SECONDS", "60"),
        ("log_level", "debug", "HOROVOD_LOG_LEVEL", "debug"),
    ],
)
def test_a_setting_is_the_variable_that_horovodrun_would_set(key, value, variable, text):
    assert horovod_environment(Horovod(**{key: value})) == {variable: text}


def test_every_variable_is_one_that_horovodrun_knows():
    parser = pytest.importorskip("horovod.runner.common.util.config_parser")
    known = {value for name, value in vars(parser).items() if name.startswith("HOROVOD_")}
    assert set(HOROVOD_VARIABLES.values()) <= known


def test_records_hold_what_is_set_by_whomever():
    environ = {"HOROVOD_CYCLE_TIME": "5", "HOROVOD_RANK": "1", "HOME": "/"}
    assert horovod_settings(environ) == {"HOROVOD_CYCLE_TIME": "5"}


class _Built:
    def __init__(self, mpi):
        self._mpi = mpi

    def mpi_built(self):
        return self._mpi


@pytest.mark.parametrize(
    ("mpi", "gloo_run", "ranks", "message"),
    [
        (False, False, 4, "built with MPI"),
        (True, True, 4, "mpirun or srun"),
        (True, False, 6, "a power of two of ranks, there are 6"),
        (True, False, 8, None),
    ],
)
def test_adasum_is_refused_where_it_cannot_work(monkeypatch, mpi, gloo_run, ranks, message):
    if gloo_run:
        monkeypatch.setenv("HOROVOD_GLOO_RENDEZVOUS_ADDR", "127.0.0.1")
    launch = Launch("mpirun", 0, ranks)
    if message is None:
        _check_adasum(launch, _Built(mpi))
    else:
        with pytest.raises(NodeError, match=message):
            _check_adasum(launch, _Built(mpi))
