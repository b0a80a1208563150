"""What a resumed run may change."""

import pytest

from gan3d.config import dump_experiment, load_experiment
from gan3d.errors import ConfigError
from gan3d.training.records import CONFIG, check_resumable


def test_only_what_leaves_the_result_alone_may_change_in_a_resumed_run(tmp_path):
    path = tmp_path / "experiment.yaml"
    path.write_text("data: {files: [a.h5]}\n")
    (tmp_path / CONFIG).write_text(dump_experiment(load_experiment(path)))
    for free in ("data.workers=2", "data.reader_niceness=0", "node.affinity=cores"):
        check_resumable(tmp_path, load_experiment(path, [free]))
    for kept in ("data.shuffle_window=7", "training.batch_size=4"):
        with pytest.raises(ConfigError, match=kept.partition("=")[0]):
            check_resumable(tmp_path, load_experiment(path, [kept]))
