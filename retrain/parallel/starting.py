"""The command that starts a run's processes, here or in a container: a `Parallel` goes in. Pure.

One process is started as it is. Several are started by torch's launcher, or by accelerate's, which
hands on to the same; either sets `RANK`, `LOCAL_RANK` and `WORLD_SIZE` for each and ends all when
one fails.
"""

from __future__ import annotations

from retrain.parallel.plan import Parallel

MODULE = "retrain.runs.job"


def module_arguments(parallel: Parallel) -> list[str]:
    """Return what follows the interpreter's name, but for the run's folder, which comes last."""
    job = ["-m", MODULE]
    if not parallel.started:
        return job
    if parallel.starter == "accelerate":
        # --multi_gpu: of its ways to start, that by torch's launcher; the job itself sees whether
        # there are GPUs. The others keep a configuration file of the user's from deciding.
        return [
            *("-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu"),
            f"--num_processes={parallel.processes}",
            *("--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no"),
            *job,
        ]
    several = ["-m", "torch.distributed.run", "--standalone", "--nnodes=1"]
    return [*several, f"--nproc-per-node={parallel.processes}", *job]
