"""The `horovod` section in Horovod's own words."""

import pytest

from gan3d.config import Horovod
from gan3d.errors import NodeError
from gan3d.runtime.distributed import _make_room_for, check_adasum
from gan3d.runtime.horovod_settings import (
    HOROVOD_VARIABLES,
    horovod_environment,
    horovod_settings,
)


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


def test_adasum_is_refused_where_it_cannot_work():
    check_adasum(8, with_mpi=True)
    with pytest.raises(NodeError, match=r"built with MPI .* mpirun or srun"):
        check_adasum(4, with_mpi=False)
    with pytest.raises(NodeError, match="a power of two of ranks, there are 6"):
        check_adasum(6, with_mpi=True)


def test_a_file_of_horovods_gets_its_folder_or_is_refused(tmp_path):
    _make_room_for(tmp_path / "logs" / "timeline.json", "timeline_filename")
    assert (tmp_path / "logs").is_dir()
    with pytest.raises(NodeError, match=r"horovod\.timeline_filename: .*logs cannot be written"):
        _make_room_for(tmp_path / "logs", "timeline_filename")
    (tmp_path / "file").touch()
    with pytest.raises(NodeError, match=r"horovod\.autotune_log_file: .*file cannot be made"):
        _make_room_for(tmp_path / "file" / "log.csv", "autotune_log_file")
