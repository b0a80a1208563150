"""From which NUMA domains a process gets its memory: Linux's set_mempolicy, as numactl uses it."""

from __future__ import annotations

import ctypes
import os
import platform
from typing import Literal

from gan3d.errors import NodeError

Policy = Literal["none", "preferred", "bind"]

_MODES: dict[Policy, int] = {"none": 0, "preferred": 1, "bind": 2}
# set_mempolicy, get_mempolicy (linux/include/uapi/asm-generic/unistd.h and arch/*/syscall tables).
_CALLS = {"x86_64": (238, 239), "aarch64": (237, 236), "ppc64le": (261, 260)}
_BITS = 1024
_WORD = 64


def set_memory_policy(policy: Policy, domains: set[int]) -> None:
    """Take this thread's memory, and that of threads it starts from now on, from `domains`.

    `preferred` takes a single one and falls back to others when it is full, `bind` does not; `none`
    is the system's own way, the domain of the core that touches it first. Raises NodeError where
    that is refused.
    """
    mask = (ctypes.c_ulong * (_BITS // _WORD))()
    for domain in domains if policy != "none" else ():
        mask[domain // _WORD] |= 1 << (domain % _WORD)
    number = _call()[0]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, _MODES[policy], ctypes.byref(mask), ctypes.c_ulong(_BITS)) != 0:
        reason = os.strerror(ctypes.get_errno())
        named = ", ".join(map(str, sorted(domains)))
        raise NodeError(
            f"node.memory_policy: {policy} for NUMA domain {named} is refused here ({reason}); "
            "set none, or another node.memory_domain"
        )


def memory_policy() -> tuple[Policy | str, set[int]]:
    """The policy of this thread and its domains, as Linux has it."""
    mode, mask = ctypes.c_int(), (ctypes.c_ulong * (_BITS // _WORD))()
    libc = ctypes.CDLL(None, use_errno=True)
    done = libc.syscall(
        _call()[1], ctypes.byref(mode), ctypes.byref(mask), ctypes.c_ulong(_BITS), None, 0
    )
    if done != 0:
        raise NodeError(f"get_mempolicy: {os.strerror(ctypes.get_errno())}")
    names = {number: name for name, number in _MODES.items()}
    domains = {bit for bit in range(_BITS) if mask[bit // _WORD] >> (bit % _WORD) & 1}
    return names.get(mode.value, str(mode.value)), domains


def _call() -> tuple[int, int]:
    machine = platform.machine()
    if machine not in _CALLS:
        raise NodeError(
            f"node.memory_policy: not known on {machine}; set none, and bind memory with numactl"
        )
    return _CALLS[machine]
