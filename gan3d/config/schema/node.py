"""Sections `node` and `horovod`: what one machine does, and what its ranks do together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from gan3d.config.schema.section import PositiveFloat, PositiveInt, Section


class Node(Section):
    """The machine. Applied before TensorFlow starts.

    null is derived from what this node has: `gan3d doctor` shows it.
    """

    name: str = "generic"
    """Name of the node type, for the records."""
    workers_per_node: PositiveInt | None = None
    """Ranks that a batch job starts on a node (`gan3d jobs render`); null: what `gan3d doctor`
    recommends where it runs, so a batch job wants a number."""
    workers_per_numa_domain: PositiveInt | None = None
    """Ranks that share a NUMA domain where `affinity` is cores; null: ranks are spread evenly.
    Stampede2: 2, of 24 cores."""
    oversubscribe: bool = False
    """Whether more ranks than cores may run on the node, and take turns: for tests of many ranks on
    a small machine, as a step then takes several times as long. Only with `affinity` none."""
    affinity: Literal["none", "cores"] = "none"
    """cores: each local rank is kept on cores of its own, of one NUMA domain where they fit, inside
    what the launcher itself is kept on (taskset, numactl); a launcher's binding of single ranks
    stays. none: as the launcher has it."""
    memory_policy: Literal["none", "preferred", "bind"] = "none"
    """Where a rank's memory comes from (set_mempolicy). preferred: the NUMA domain of its cores
    first; cores in several domains, or of a machine with one, have no preference. bind: the domains
    of its cores alone, and the rank is killed when they are full. none: the domain of the core that
    touches it first."""
    memory_domain: Annotated[int, Field(ge=0)] | None = None
    """NUMA domain that `memory_policy` is about; null: that of the rank's cores. KNL in flat mode
    has its MCDRAM as domain 1, without cores."""
    intra_op_threads: PositiveInt | None = None
    """Threads inside one TensorFlow operation on each rank; null: the usable cores divided by the
    ranks on the node."""
    inter_op_threads: PositiveInt | None = None
    """Operations that one rank runs side by side; null: 1 where cores are few, 2 otherwise."""
    omp_num_threads: PositiveInt | None = None
    """OMP_NUM_THREADS, which acts on OpenMP builds of TensorFlow only; null: as many as keep
    inter_op_threads times it within the cores of a rank (3DGAN)."""
    kmp_blocktime: Annotated[int, Field(ge=0)] | None = None
    """KMP_BLOCKTIME (ms), OpenMP builds only. Stampede2: 1. null: left as it is."""
    kmp_affinity: str | None = None
    """KMP_AFFINITY, OpenMP builds only. Stampede2: granularity=fine,compact,1,0."""
    kmp_settings: bool = False
    """KMP_SETTINGS: OpenMP builds print their settings when they start."""
    onednn: bool = True
    """oneDNN (MKL-DNN) kernels; off uses Eigen."""
    gpu: Literal["auto", "required", "none"] = "auto"
    """auto: a GPU of this rank's own where there are some; required: a node without one is refused;
    none: GPUs are left alone."""
    gpu_memory_growth: bool = True
    """Take the GPU's memory as it is needed; off takes all of it at once, which leaves no gaps."""
    tf32: bool = True
    """Matrix products and convolutions of float32 in TensorFloat-32 on GPUs that have it (Ampere
    and later): 10 bits of mantissa, up to 8 times as fast."""
    precision: Literal["auto", "float32", "mixed_bfloat16", "mixed_float16"] = "float32"
    """What the layers compute in (Keras's dtype policies). mixed: 16 bits, with weights, sums over
    cells, losses and the cells' energies in float32; mixed_float16 scales the loss
    (`training.optimizer.loss_scale`) and wants a GPU. auto: mixed_bfloat16 on GPUs with tensor
    cores for it (Ampere and later), mixed_float16 on those with tensor cores for float16 alone
    (Volta, Turing), float32 elsewhere."""
    xla: bool | Literal["elementwise"] = False
    """elementwise: let XLA join operations on single cells into loops, and leave convolutions to
    oneDNN. Worth it for `compact` networks from some thousand showers on, as compiling takes
    seconds at every start; nothing for `ecal25` (`gan3d bench step --xla elementwise`). true: let
    it compile the passes through the networks as a whole, forward and back; on processors its 3D
    convolutions are not oneDNN's, and a step takes many times as long. Dropout then draws other
    numbers. Not with model.synchronized_batch_norm, whose exchanges lie inside the passes."""
    deterministic: bool = False
    """Same bits from the same start on every run; slower on GPUs."""


class Horovod(Section):
    """What Horovod does between ranks; without a launcher all but the first three are idle.

    The names are those of `horovodrun`. null leaves a setting to Horovod, or to what the launcher
    has put into the environment.
    """

    op: Literal["average", "adasum"] = "average"
    """How gradients are reduced. Adasum (Maleki et al. 2021) needs Horovod with MPI and a power of
    two of ranks; the learning rate is then best not scaled."""
    needs: list[Literal["gloo", "mpi", "nccl"]] = []
    """What Horovod must have been built with on this machine, beyond what other settings want:
    `gan3d doctor --node` says what is missing."""
    compression: Literal["none", "fp16"] = "none"
    """Gradients travel in half precision with fp16."""
    backward_passes_per_step: PositiveInt = 1
    """Batches of `training.batch_size` that a rank accumulates gradients over before they are
    reduced and applied: fewer exchanges, and the effect of a larger batch in the memory of a small
    one."""
    fusion_threshold_mb: Annotated[int, Field(ge=0)] | None = None
    """HOROVOD_FUSION_THRESHOLD (MiB): tensors are joined in buffers of this size. Horovod: 128;
    Stampede2: 128."""
    cycle_time_ms: PositiveFloat | None = None
    """HOROVOD_CYCLE_TIME (ms): how often ranks tell each other what is ready. Horovod: 1."""
    cache_capacity: Annotated[int, Field(ge=0)] | None = None
    """HOROVOD_CACHE_CAPACITY: tensors whose negotiation is remembered. Horovod: 1024."""
    hierarchical_allreduce: bool | None = None
    """HOROVOD_HIERARCHICAL_ALLREDUCE: inside nodes first, then between them."""
    hierarchical_allgather: bool | None = None
    """HOROVOD_HIERARCHICAL_ALLGATHER."""
    autotune: bool | None = None
    """HOROVOD_AUTOTUNE: Horovod looks for the best of the above while it trains."""
    autotune_log_file: Path | None = None
    """HOROVOD_AUTOTUNE_LOG: what it tried (CSV), relative to the current folder."""
    timeline_filename: Path | None = None
    """HOROVOD_TIMELINE: a trace of all exchanges for chrome://tracing, relative to the current
    folder."""
    timeline_mark_cycles: bool | None = None
    """HOROVOD_TIMELINE_MARK_CYCLES: with a mark for each cycle."""
    stall_check_warning_time_seconds: PositiveInt | None = None
    """HOROVOD_STALL_CHECK_TIME_SECONDS: ranks that wait for others this long (s) say for whom.
    Horovod: 60."""
    stall_check_shutdown_time_seconds: Annotated[int, Field(ge=0)] | None = None
    """HOROVOD_STALL_SHUTDOWN_TIME_SECONDS: and end after this long. Horovod: never (0)."""
    gloo_timeout_seconds: PositiveInt | None = None
    """HOROVOD_GLOO_TIMEOUT_SECONDS: how long ranks wait for one another when they join. Horovod:
    30."""
    log_level: Literal["trace", "debug", "info", "warning", "error", "fatal"] | None = None
    """HOROVOD_LOG_LEVEL. Horovod: warning."""
