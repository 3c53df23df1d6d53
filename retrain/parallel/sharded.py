"""The values of transformers' own FSDP (`DistributedConfig`), each with its source. Pure.

The frozen base model is divided while it is loaded, so that no process ever holds it whole; the
adapter on it is small, is copied to each, and its gradients are averaged. Knows nothing of torch.
"""

from __future__ import annotations

from retrain.parallel.plan import Parallel
from retrain.parallel.value import Value


def fsdp_values(parallel: Parallel) -> tuple[Value, ...]:
    """Return what transformers' `DistributedConfig` is given."""
    return (
        Value("fsdp_size", parallel.processes, "one part for each process"),
        Value("fsdp_cpu_offload", parallel.offload, "launchers.offload"),
        Value("fsdp_mixed_precision", False, "weights are loaded in the type that is computed in"),
    )
