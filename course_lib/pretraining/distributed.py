"""Several processes that train one model: who I am, sums over all, and when to wait. Alone, each of these is simple."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import nn


def rank() -> int:
    """Return this process's number, from 0; 0 if it is alone."""
    return dist.get_rank() if _together() else 0


def world_size() -> int:
    """Return how many processes there are; 1 if this one is alone."""
    return dist.get_world_size() if _together() else 1


def sum_over_ranks(*values: float, device: torch.device | str = "cpu") -> list[float]:
    """Add up each number over all processes, in double precision; every process gets the sums.

    >>> sum_over_ranks(2.0, 3.5)
    [2.0, 3.5]
    """
    if not _together():
        return list(values)
    numbers = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(numbers)
    return numbers.tolist()


def wait_for_all() -> None:
    """Return when every process has come this far."""
    if _together():
        dist.barrier()


def data_parallel(model: nn.Module) -> nn.Module:
    """Return the model, wrapped so that its gradients become means over all processes; as it is if this one is alone.

    All processes start with the weights of number 0.
    """
    if not _together():
        return model
    device = next(model.parameters()).device
    return nn.parallel.DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


@contextmanager
def process_group() -> Iterator[torch.device]:
    """Join the processes that torchrun has started, and leave them at the end; gives the device to work on.

    With a GPU for each process on this machine they speak over NCCL, otherwise over gloo on the CPU. Started without
    torchrun, the process is alone: no group is made.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    has_gpu = torch.cuda.device_count() >= int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    device = torch.device("cuda", local) if has_gpu else torch.device("cpu")
    if has_gpu:
        torch.cuda.set_device(device)
    if "RANK" not in os.environ:
        yield device
        return
    dist.init_process_group("nccl" if has_gpu else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()
