"""Clocks, and a way to take turns that is fair on a busy machine."""

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch

Run = Callable[[], object]
Clock = Callable[[Run], float]


def take_turns(candidates: dict[str, Run], rounds: int, clock: Clock) -> dict[str, float]:
    """Return the best seconds of each candidate; ``clock(run)`` measures one run.

    In each round every candidate runs once unmeasured before, so that none pays for the caches that another one left.
    """
    best = dict.fromkeys(candidates, float("inf"))
    for _ in range(rounds):
        for name, run in candidates.items():
            run()
            best[name] = min(best[name], clock(run))
    return best


def processor_seconds(run: Run) -> float:
    """Return the processor time of one run in this process, all threads together."""
    start = time.process_time()
    run()
    return time.process_time() - start


def wall_seconds(run: Run) -> float:
    """Return the time of one run on the clock."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def device_seconds(run: Run) -> float:
    """Return the time between two events on the GPU, around one run."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    run()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end) / 1000


def machine(*packages: str) -> dict[str, str]:
    """Describe the machine, its load right now, and the versions of Python, torch and these packages."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    about = {"cpu": cpu, "cores": str(os.cpu_count()), "load": load, "python": platform.python_version()}
    if torch.cuda.is_available():
        about["gpu"] = torch.cuda.get_device_name()
    return about | {name: version(name) for name in ("torch", *packages)}
