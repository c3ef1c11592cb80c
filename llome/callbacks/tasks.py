"""What a job of SLURM says of the processes of a training, as arguments of Lightning's Trainer.

Lightning takes every job for one whose processes srun has started, one a device, and refuses other numbers. A stage of a workflow is one
task, and Lightning starts the processes for its other devices itself, as it does outside SLURM. Where srun has started several
tasks, they are the processes, and the job knows on how many nodes.
"""

from __future__ import annotations

import os
from typing import Any

from lightning.fabric.plugins.environments import LightningEnvironment


def trainer_arguments() -> dict[str, Any]:
    """`plugins` or `num_nodes` of the Trainer in this job; nothing outside SLURM."""
    tasks = os.environ.get("SLURM_NTASKS")
    if tasks is None:
        return {}
    return (
        {"plugins": LightningEnvironment()} if tasks == "1" else {"num_nodes": int(os.environ.get("SLURM_NNODES", "1"))}
    )
