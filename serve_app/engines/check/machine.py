"""What the machine could do at best, and how long something takes on it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

DATASHEETS = {
    "H200": (989e12, 4.8e12),
    "H100": (989e12, 3.35e12),
    "A100": (312e12, 2.0e12),
    "L40S": (362e12, 0.864e12),
    "L4": (121e12, 0.3e12),
}
"""Dense 16-bit FLOP/s and bytes/s, as the vendor publishes them."""


@dataclass(frozen=True, slots=True)
class Peak:
    flops: float
    bandwidth: float
    source: str


def peak_of(device: str) -> Peak:
    """By the datasheet of a known GPU, else as measured: a matrix product and a copy."""
    import torch

    if device.startswith("cuda"):
        name = torch.cuda.get_device_name(device)
        for part, (flops, bandwidth) in DATASHEETS.items():
            if part in name:
                return Peak(flops, bandwidth, f"datasheet of {part}")
    side, dtype = (8192, torch.bfloat16) if device.startswith("cuda") else (1024, torch.float32)
    square = torch.randn(side, side, device=device).to(dtype)
    product = median_seconds(lambda: square @ square, device, 5)
    large = torch.empty(2**26, dtype=torch.uint8, device=device)
    copy = median_seconds(large.clone, device, 5)
    return Peak(2 * side**3 / product, 2 * large.numel() / copy, "measured")


def median_seconds(work: Callable[[], object], device: str, repeats: int) -> float:
    """After a run that isn't counted; on CUDA until the device is done."""
    import torch

    def timed() -> float:
        started = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize(device)
        return time.perf_counter() - started

    timed()
    return statistics.median(timed() for _ in range(repeats))
