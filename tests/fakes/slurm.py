"""SLURM's commands on this machine: `sbatch` starts a script, `squeue` looks, `scancel` ends it.

Scripts that are put on the path; a job's number is its process's. No cluster was there to compare.
"""

from __future__ import annotations

from pathlib import Path

COMMANDS = {
    "sbatch": """
        script="${@: -1}"
        out=$(sed -n 's/^#SBATCH --output=//p' "$script")
        setsid bash "$script" >> "$out" 2>&1 < /dev/null &
        echo "$!;cluster"
    """,
    "squeue": """
        number=$(echo "$@" | sed 's/.*--jobs \\([0-9]*\\).*/\\1/')
        if kill -0 "$number" 2> /dev/null; then echo RUNNING; else
          echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1
        fi
    """,
    "scancel": 'kill -TERM -- "-$1"',
}


def write_commands(folder: Path) -> Path:
    """Write the commands into `folder` and return it, to be put on the path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, body in COMMANDS.items():
        path = folder / name
        path.write_text(f"#!/bin/bash\n{body}\n")
        path.chmod(0o755)
    return folder
