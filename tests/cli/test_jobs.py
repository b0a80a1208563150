"""`gan3d jobs` as a command; what it writes is tested in tests/jobs."""

from pathlib import Path

from gan3d.cli import main

ROOT = Path(__file__).parents[2]


def test_help_says_what_a_system_is(capsys):
    assert main(["jobs", "render", "--help"]) == 0
    assert "SYSTEM is a name in jobs/systems/" in capsys.readouterr().out


def test_a_script_is_for_the_folder_that_it_is_written_in(capsys, tmp_path, monkeypatch):
    (tmp_path / "experiment.yaml").write_text(f"extends: {ROOT / 'configs' / 'ecal25.yaml'}\n")
    monkeypatch.chdir(tmp_path)
    call = ["jobs", "render", "slurm", "experiment.yaml", "--nodes", "1", "--time", "01:00:00"]
    assert main(call) == 0
    script = capsys.readouterr().out
    assert f"\ncd -- {tmp_path}\n" in script
    assert f"\nrun={tmp_path}/runs/experiment\n" in script
    assert f"gan3d train {tmp_path}/experiment.yaml --node {ROOT}/configs/nodes/" in script


def test_what_is_missing_is_said(capsys):
    assert main(["jobs", "render", "slurm", "x.yaml", "--time", "01:00:00"]) == 2
    assert "'--nodes'" in capsys.readouterr().err
    assert main(["jobs", "render", "slurm", "x.yaml", "--nodes", "1", "--time", "01:00:00"]) == 2
    assert capsys.readouterr().err == "gan3d: error: x.yaml: no such file\n"


def test_a_place_that_cannot_be_written_is_said(capsys, tmp_path):
    config = ROOT / "configs" / "ecal25.yaml"
    call = ["jobs", "render", "slurm", str(config), "--nodes", "1", "--time", "01:00:00"]
    assert main([*call, "-o", str(tmp_path / "none" / "job.sh")]) == 1
    assert "No such file or directory" in capsys.readouterr().err
