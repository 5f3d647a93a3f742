"""What a GPU can do, from its maker's data sheet, and how much of it is assumed to be reached."""

from __future__ import annotations

from dataclasses import dataclass

from toolrest.errors import look_up


@dataclass(frozen=True)
class Gpu:
    """One GPU, and how it reaches others."""

    name: str
    """As it is sold."""
    flops: float
    """Dense bfloat16 operations a second, accumulated in float32."""
    memory: float
    """Bytes."""
    bandwidth: float
    """Bytes a second between memory and chip."""
    link: float
    """Bytes a second to the other GPUs of its machine, in one direction."""
    source: str
    """The maker's data sheet."""


_SHEETS = "https://www.nvidia.com/en-us/data-center"
GPUS: dict[str, Gpu] = {
    "h100": Gpu("H100 SXM 80GB", 989.4e12, 80e9, 3.35e12, 450e9, f"{_SHEETS}/h100/"),
    "h200": Gpu("H200 SXM 141GB", 989.4e12, 141e9, 4.8e12, 450e9, f"{_SHEETS}/h200/"),
    "a100": Gpu("A100 SXM 80GB", 312e12, 80e9, 2.039e12, 300e9, f"{_SHEETS}/a100/"),
    "rtx4090": Gpu(
        "RTX 4090",
        165.2e12,
        24e9,
        1.008e12,
        32e9,
        "https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf",
    ),
}
"""Data sheets give bfloat16 with sparsity for Hopper (1,979e12); dense is half. Links: half of
NVLink's sum of both directions; PCIe 4.0 x16 for the RTX 4090."""


@dataclass(frozen=True)
class Efficiency:
    """Assumptions: what share of the data sheet is reached. They are not measured here."""

    flops: float = 0.4
    """Of the operations a second, in prefill, forwards and updates (MFU, arXiv 2204.02311)."""
    bandwidth: float = 0.6
    """Of the memory's and the links' bytes a second."""
    network: float = 50e9
    """Bytes a second of each GPU's network card between machines: 400 Gbit/s, as in a DGX H100."""
    overhead: float = 3e9
    """Bytes of each GPU for the CUDA context, workspaces of libraries and fragmentation."""


def get_gpu(name: str) -> Gpu:
    """A GPU by its short name.

    Raises:
        InputError: it is none of `GPUS`.
    """
    return look_up("GPU", name, GPUS)
