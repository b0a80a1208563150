"""What is in the script of a job, and what is refused before there is one."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from gan3d.config.batch import load_batch_system

SYSTEMS = Path(__file__).parents[2] / "jobs" / "systems"

NAMES = sorted(path.stem for path in SYSTEMS.glob("*.yaml"))
COMMON = ("--account", "physics")


def heredocs(script):
    """The scripts within a script."""
    return re.findall(r"<<'([A-Z]+)'\n(.*?)\n\1\n", script, re.DOTALL)


@pytest.mark.parametrize("staging", ["--staging", "--no-staging"])
@pytest.mark.parametrize("name", NAMES)
def test_a_script_is_sound_on_every_system(render, tmp_path, name, staging):
    code, script, errors = render(name, *COMMON, staging)
    assert code == 0, errors
    inner = heredocs(script)
    assert ("STAGE" in dict(inner)) == ("stage=" in script)
    for number, text in enumerate([script, *(text for _, text in inner)]):
        path = tmp_path / f"{number}.sh"
        path.write_text(text + "\n")
        subprocess.run(["bash", "-n", path], check=True)
        if shutil.which("shellcheck") is None:
            pytest.skip("there is no shellcheck")
        done = subprocess.run(["shellcheck", path], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_each_launcher_of_a_system_is_rendered(render, name):
    system = load_batch_system(SYSTEMS / f"{name}.yaml")
    for launcher in system.launchers:
        needs_cpus = any("{cpus_per_rank}" in word for word in system.launchers[launcher])
        code, script, errors = render(name, *COMMON, "--launcher", launcher)
        if needs_cpus and system.cpus_per_node is None:
            assert "needs cpus_per_node" in errors
        else:
            assert code == 0, errors
            assert re.search(rf'^{launcher} .*bash "\$run/rank.sh"', script, re.MULTILINE)


@pytest.fixture
def study(tmp_path, experiment):
    """A study of the experiment; renders its job: study("slurm", ...)."""
    path = tmp_path / "study.yaml"
    path.write_text(
        f"experiment: {experiment.name}\n"
        "overrides: {validation.epoch_showers: 10}\n"
        "search: {training.label_flip: {float: [0.0, 0.2]}}\n"
    )
    return path


@pytest.mark.parametrize("name", ["slurm", "pbs", "stampede2-skx", "piz-daint-gpu"])
def test_a_study_has_a_script_where_blocks_can_be_started(render, study, tmp_path, name):
    code, script, errors = render(name, *COMMON, "--set", "blocks.size=2", config=study)
    assert code == 0, errors
    inner = dict(heredocs(script))
    assert set(inner) == {"RANK"}
    # The coordinator, and no launcher, which would start as many as there are ranks.
    assert '\nbash "$run/rank.sh" "$ranks" "$hosts" &\n' in script
    assert (
        f"gan3d tune {study} --node {tmp_path}/node.yaml --run {tmp_path}/studies/study "
        '--hosts "$hosts" --block-size 2'
    ) in inner["RANK"]
    system = load_batch_system(SYSTEMS / f"{name}.yaml")
    assert f"--set blocks.launcher={system.blocks_launcher}" in inner["RANK"]
    assert "2 x 2 ranks in 2 blocks" in script
    for number, text in enumerate([script, inner["RANK"]]):
        path = tmp_path / f"{number}.sh"
        path.write_text(text + "\n")
        subprocess.run(["bash", "-n", path], check=True)
        if shutil.which("shellcheck"):
            done = subprocess.run(["shellcheck", path], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout


def test_the_node_of_a_study_is_the_systems(render, study):
    code, script, errors = render("stampede2-skx", *COMMON, node=None, nodes=4, config=study)
    assert code == 0, errors
    directives = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", script, re.MULTILINE))
    assert (directives["ntasks-per-node"], directives["signal"]) == ("4", "B:USR1@600")
    assert "in 16 blocks" in script
    assert "--node" in script
    assert "stampede2-skx.yaml" in script
    # A key of the node, which trials may not have otherwise, is held against the machine.
    change = ("--set", "overrides={node.intra_op_threads: 25}")
    code, script, errors = render("stampede2-skx", *COMMON, *change, node=None, config=study)
    assert code == 2
    assert "intra_op_threads is 25, but a rank has 24 hardware thread(s)" in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lsf", "--account", "x"], "LSF with jsrun: blocks_launcher is null in its file"),
        (["stampede2-skx", *COMMON, "--launcher", "ibrun"], "blocks are started by horovodrun, "),
        (["slurm", "--staging"], "--staging: a study's files are read where they are"),
        (["slurm", "--set", "blocks.size=5"], "a block has 5 rank(s) (blocks.size), but there are "
         "only 4 slot(s) on 2 host(s)"),
        (["slurm", "--set", "blocks.stop_seconds=300"], "blocks.stop_seconds is 300, but the job "
         "is over 300 s after the warning"),
        (["slurm", "--set", "budget.trails=3"], "did you mean 'budget.trials'?"),
    ],
)  # fmt: skip
def test_a_study_that_cannot_work_is_refused_before_anything_is_printed(
    render, study, arguments, message
):
    code, script, errors = render(*arguments, config=study)
    assert (code, script) == (2, "")
    assert message in errors
    assert errors.count("\n") == 1


def test_hyper_threads_are_no_cores_of_a_node(render, tmp_path):
    for threads, refused in ((1, ""), (2, "more than the 24 core(s)")):
        (tmp_path / "mine.yaml").write_text(
            f"extends: {SYSTEMS / 'pbs.yaml'}\nthreads_per_core: {threads}\n"
        )
        code, _, errors = render("mine.yaml", "--set", "node.workers_per_node=25")
        assert (code == 0) == (not refused)
        assert refused in errors


PER_DOMAIN, OMP = "node.workers_per_numa_domain=null", "node.omp_num_threads=null"


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        (["node.workers_per_node=6"], "6, but workers_per_numa_domain x NUMA domains = 2 x 2 = 4"),
        # Three ranks share one of the processors: 8 cores, 16 hardware threads.
        (
            ["node.workers_per_node=5", PER_DOMAIN, "node.intra_op_threads=17", OMP],
            "a rank has 16 hardware thread(s) on Stampede2 SKX (48 core(s) x 2 / 5 rank(s) in 2",
        ),
        (
            ["node.workers_per_node=5", PER_DOMAIN, "node.intra_op_threads=8", OMP],
            "",
        ),
        # Not placed, five ranks share all 48 cores.
        (
            ["node.workers_per_node=5", "node.affinity=none", "node.intra_op_threads=17", OMP],
            "",
        ),
        # One rank for both processors.
        (
            ["node.workers_per_node=1", PER_DOMAIN, "node.intra_op_threads=96", OMP],
            "",
        ),
    ],
)
def test_ranks_are_reckoned_in_the_places_that_they_will_get(render, changes, refused):
    settings = [word for change in changes for word in ("--set", change)]
    code, _, errors = render("stampede2-skx", *COMMON, *settings, node=None)
    assert (code == 0) == (not refused), errors
    assert refused in errors


@pytest.mark.parametrize("name", [name for name in NAMES if name != "lsf"])
def test_a_system_brings_its_own_node(render, name):
    code, script, errors = render(name, *COMMON, node=None)
    assert code == 0, errors
    assert "/configs/nodes/" in script


def test_slurm_gets_what_was_asked_for(render):
    _, script, _ = render(
        "stampede2-skx", *COMMON, "--partition", "skx-dev", node=None, nodes=4, time="02:00:00"
    )
    directives = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", script, re.MULTILINE))
    assert directives["nodes"] == "4"
    assert directives["ntasks-per-node"] == "4"  # configs/nodes/stampede2-skx.yaml
    assert directives["time"] == "02:00:00"
    assert directives["account"] == "physics"
    assert directives["partition"] == "skx-dev"
    assert directives["signal"] == "B:USR1@600"
    assert "#SBATCH --requeue" in script
    assert "module load impi/18.0.2" in script
    assert "I_MPI_PIN=off" in script


def test_jobs_of_a_gpu_node_ask_for_gpus_unless_nodes_come_with_theirs(render, tmp_path):
    (tmp_path / "gpus.yaml").write_text("node: {name: g, workers_per_node: 4, gpu: required}\n")
    for name, node, asked in (
        ("slurm", "gpus.yaml", "#SBATCH --gpus-per-node=4\n"),
        ("pbs", "gpus.yaml", ":mpiprocs=4:ngpus=4\n"),
        ("slurm", "node.yaml", ""),
        ("pbs", "node.yaml", ":mpiprocs=2\n#PBS -l walltime"),
        ("piz-daint-gpu", None, "#SBATCH --constraint=gpu\n"),
    ):
        code, script, errors = render(name, *COMMON, node=node)
        assert code == 0, errors
        assert asked in script
        assert ("gpus" in asked) == ("--gpus" in script or "ngpus" in script)


def test_launchers_get_the_number_of_ranks(render):
    _, script, _ = render("slurm", nodes=3)
    assert 'horovodrun --gloo -np 6 -H "$hosts" bash' in script
    assert "sed 's/$/:2/'" in script
    _, script, _ = render("piz-daint-mc", *COMMON, nodes=3)
    assert "srun --ntasks=6 --ntasks-per-node=2 --cpus-per-task=18 --cpu-bind=none" in script
    assert "#SBATCH --cpus-per-task=18" in script
    _, script, _ = render("stampede2-skx", *COMMON, "--launcher", "mpirun", nodes=3)
    assert "\nmpirun -np 6 -ppn 2 bash" in script


def test_what_is_written_is_what_is_printed(render, tmp_path):
    _, printed, _ = render("slurm")
    code, said, _ = render("slurm", "-o", "job.sh")
    assert code == 0
    assert said == "job.sh: 2 x 2 ranks on a Slurm cluster\n"
    assert (tmp_path / "job.sh").read_text() == printed


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (["slurm"], {"time": "60"}, "--time: expected HH:MM:SS, such as 02:00:00, got '60'"),
        (["slurm"], {"time": "01:60:00"}, "--time: expected HH:MM:SS"),
        (["slurm"], {"time": "00:00:00"}, "--time: a job of no time"),
        (["slurm"], {"time": "00:05:00"}, "told to end 300 s before the limit"),
        (["piz-daint-gpu", *COMMON], {"time": "24:00:01"}, "take 24:00:00 at most"),
        (["stampede2-skx", *COMMON], {"nodes": 129}, "have 128 nodes at most"),
        (["stampede2-skx"], {}, "give --account"),
        (["slurm", "--account", "a b"], {}, "--account 'a b': expected one word"),
        (["slurm", "--partition", "a\n#SBATCH"], {}, "expected one word"),
        (["slurm", "--partition", "a\n"], {}, "expected one word"),
        (["slurm", "--launcher", "ibrun"], {}, "has horovodrun, mpirun, srun"),
        (["slurm", "--set", "node.workers_per_node=null"], {}, "node.workers_per_node is null"),
        (["piz-daint-mc", *COMMON, "--set", "node.workers_per_node=37"], {}, "is 37, more than"),
        (
            ["stampede2-skx", *COMMON, "--set", "node.intra_op_threads=25"], {"node": None},
            "intra_op_threads is 25, but a rank has 24 hardware thread(s) on Stampede2 SKX "
            "(48 core(s) x 2 / 4 rank(s) in 2 NUMA domain(s))",
        ),
        (
            ["stampede2-knl", *COMMON, "--set", "node.omp_num_threads=9"], {"node": None},
            "= 2 x 9 = 18, but a rank has 17 core(s) on Stampede2 KNL (68 core(s) x 4 / 4 ",
        ),
        (
            ["piz-daint-mc", *COMMON, "--set", "node.intra_op_threads=19"], {"node": None},
            "a rank has 18 hardware thread(s) on Piz Daint MC (36 core(s) x 1 / 2 ",
        ),
        (
            ["pbs", "--set", "node.inter_op_threads=25", "--set", "node.workers_per_node=2"],
            {}, "inter_op_threads is 25, but a rank has 24 hardware thread(s) on a PBS cluster",
        ),
        (["slurm", "--set", "training.epoch=3"], {}, "did you mean 'training.epochs'?"),
        (["slurm", "--set", "model.architecture=ecal"], {}, "ecal"),
        (["slurm", "--set", "data.files=[data/**/*.h5]"], {}, "give --no-staging"),
        (["slurm", "--set", "run.folder=\"a\\nb\""], {}, "control characters"),
        (["slum"], {}, "no system 'slum'; did you mean 'slurm'?"),
        (["other.yaml"], {}, "other.yaml: no such file"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_is_printed(
    render, arguments, options, message
):
    code, script, errors = render(*arguments, **options)
    assert (code, script) == (2, "")
    assert message in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("partition: 'a b'", "partition"),
        ("modules: ['a; rm']", "modules"),
        ("environment: {A-B: c}", "environment"),
        ("launchers: {mpirun: [mpirun]}\nlauncher: srun", "launcher"),
        ("launchers: {horovodrun: ['{rank}']}", "{rank} in '{rank}' is none of nodes, ranks"),
        ("per_node: null", "every node must copy"),
        ("staging: {folder: relative, shared: true}", "staging.folder"),
        ("staging: {folder: $(rm), shared: true}", "staging.folder"),
        ("max_time: 24h", "max_time"),
        ("cpus_per_node: 3\nthreads_per_core: 2", "3 is no multiple of threads_per_core = 2"),
        ("cores_per_node: 9\nnuma_domains: 2", "9 cores of a node are no multiple of numa_domains"),
        (
            "cpus_per_node: 96\ncores_per_node: 32\nthreads_per_core: 2",
            "96, neither the cores_per_node = 32 nor their hardware threads, 32 x 2",
        ),
        ("node: null", "node is null"),
        ("template: none.sh.j2", "no such template"),
        ("nodes: 3", "unknown key"),
    ],
)
def test_a_wrong_system_is_told_with_its_key(render, tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(f"extends: {SYSTEMS / 'slurm.yaml'}\n{text}\n")
    code, script, errors = render("mine.yaml", node=None)
    assert (code, script) == (2, "")
    assert message in errors


def test_a_strangers_template_runs_nothing(render, tmp_path):
    template = tmp_path / "evil.sh.j2"
    template.write_text("{{ system.__class__.__mro__[1].__subclasses__() }}\n")
    path = tmp_path / "evil.yaml"
    path.write_text(f"extends: {SYSTEMS / 'slurm.yaml'}\ntemplate: evil.sh.j2\n")
    code, script, errors = render(str(path))
    assert code != 0
    assert not script
    assert "unsafe" in errors


def test_a_system_of_ones_own_keeps_the_files_of_that_which_it_extends(render, tmp_path):
    (tmp_path / "mine.yaml").write_text(
        f"extends: {SYSTEMS / 'slurm.yaml'}\nname: mine\nnode: node.yaml\n"
    )
    code, script, errors = render("mine.yaml", node=None)
    assert code == 0, errors
    assert f"--node {tmp_path}/node.yaml" in script


@pytest.mark.parametrize("evil", ["$(touch owned)", "`touch owned`", "'; touch owned; '", "RANK"])
def test_no_value_is_taken_for_shell(render, tmp_path, experiment, programs, evil):
    evil = evil.replace("owned", str(tmp_path / "owned"))
    # A path has no slash of its own.
    name = evil.replace("/", "_") if "/" in evil else evil
    (tmp_path / "mine.yaml").write_text(
        f"extends: {SYSTEMS / 'slurm.yaml'}\nenvironment: {{EVIL: {json.dumps(evil)}}}\n"
    )
    programs(gan3d='printf "%s\\n" "$EVIL" "$@" >arguments')
    code, script, errors = render("mine.yaml", "--no-staging", "--run", name)
    assert code == 0, errors
    rank = dict(heredocs(script))["RANK"].replace("exec gan3d", f"exec {tmp_path}/programs/gan3d")
    subprocess.run(["bash", "-c", rank, "rank.sh", "nowhere"], check=True, cwd=tmp_path)
    assert not (tmp_path / "owned").exists()
    said = (tmp_path / "arguments").read_text().splitlines()
    assert said[0] == evil
    assert said[said.index("--run") + 1] == str(tmp_path / name)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="there is no shellcheck")
@pytest.mark.parametrize("path", sorted(SYSTEMS.parent.glob("install-*.sh")), ids=lambda p: p.name)
def test_scripts_of_an_installation_are_sound(path):
    done = subprocess.run(["shellcheck", path], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert path.stat().st_mode & 0o111
    assert path.read_text().endswith('\ngan3d doctor ${node:+--node "$node"}\n')


@pytest.mark.parametrize("name", ["install-mpi.sh", "install-gpu.sh"])
def test_an_installation_says_what_is_missing(name, tmp_path):
    for tool in ("dirname", "bash"):
        (tmp_path / tool).symlink_to(shutil.which(tool))
    script = SYSTEMS.parent / name
    done = subprocess.run(["bash", script], env={"PATH": str(tmp_path)}, capture_output=True)
    assert done.returncode == 1
    assert done.stderr == b"install: no uv: pip install uv\n"


@pytest.mark.parametrize("gpu", ["no", "yes", "maybe"])
def test_the_image_is_built_for_processors_or_for_gpus(tmp_path, gpu):
    """Its %post section with `--build-arg gpu=...`, without what it would install."""
    text = (SYSTEMS.parent / "gan3d.def").read_text()
    assert "\n%arguments\n    gpu=no\n" in text
    (post,) = re.findall(r"\n%post\n(.*?)\n%", text, re.DOTALL)
    done = tmp_path / "done"
    for program in ("apt-get", "python3", "curl", "dpkg", "rm"):
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    post = post.replace("{{ gpu }}", gpu).replace("/opt/uv/bin/pip", "true")
    post = re.sub(r"/opt/gan3d/jobs/(\S+)", rf"echo \1 >>{done}", post)
    # What is not replaced is not found, and nothing of this machine is touched.
    command = [shutil.which("sh"), "-c", post]
    run = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True)
    if gpu == "maybe":
        assert run.stderr == "build: gpu=maybe: expected yes or no\n"
        assert not done.exists()
    else:
        assert run.returncode == 0, run.stderr
        assert done.read_text() == {"no": "install-mpi.sh\n", "yes": "install-gpu.sh\n"}[gpu]
