"""Machines in made-up file systems: what Linux would tell of them."""

import math
from pathlib import Path

from gan3d.runtime.topology import Core, Domain, Topology


def build(root: Path, domains, *, per_socket=1, threads=1, memory_only=0, gpus=0, mig=()):
    """A machine with a NUMA domain for each number of cores in `domains`.

    CPUs are numbered as on Intel's: first one hardware thread of each core, then the others. GPU n
    has the UUID GPU-n... and is split into mig[n] MIG instances.
    """
    total, first = sum(domains), 0
    for number, count in enumerate(domains):
        cores = range(first, first + count)
        first += count
        cpus = [core + thread * total for thread in range(threads) for core in cores]
        _write(root / f"sys/devices/system/node/node{number}", cpus, gib=48)
        for core in cores:
            siblings = [core + thread * total for thread in range(threads)]
            for cpu in siblings:
                folder = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
                folder.mkdir(parents=True)
                (folder / "thread_siblings_list").write_text(",".join(map(str, siblings)) + "\n")
                (folder / "physical_package_id").write_text(f"{number // per_socket}\n")
    for number in range(len(domains), len(domains) + memory_only):
        _write(root / f"sys/devices/system/node/node{number}", [], gib=16)
    for number in range(gpus):
        folder = root / f"proc/driver/nvidia/gpus/0000:0{number}:00.0"
        folder.mkdir(parents=True)
        (folder / "information").write_text(
            "Model: \t\t Tesla P100-PCIE-16GB\nIRQ: 1\n"
            f"GPU UUID: \t GPU-{number}a2b-11\nBus Location: \t 0000:0{number}:00.0\n"
            f"Device Minor: \t {number}\n"
        )
    for number, instances in enumerate(mig):
        folder = root / f"proc/driver/nvidia/capabilities/gpu{number}/mig"
        for instance in range(instances):
            (folder / f"gi{instance + 7}/ci0").mkdir(parents=True)
            for each in ("", "ci0/"):
                (folder / f"gi{instance + 7}/{each}access").touch()
    return set(range(total * threads))


def describe(domains, threads=1):
    """The same without files: a socket and a NUMA domain for each number of cores."""
    owners = [number for number, count in enumerate(domains) for _ in range(count)]
    cores = tuple(
        Core(owner, owner, tuple(core + thread * len(owners) for thread in range(threads)))
        for core, owner in enumerate(owners)
    )
    memory = tuple(Domain(number, 2**30, ()) for number in range(len(domains)))
    return Topology(cores, memory, math.inf, 2**30, ())


def _write(folder: Path, cpus, gib):
    folder.mkdir(parents=True)
    (folder / "cpulist").write_text(",".join(map(str, cpus)) + "\n")
    (folder / "meminfo").write_text(f"Node 0 MemTotal:       {gib * 2**20} kB\n")
