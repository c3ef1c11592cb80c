"""`llome train` as two processes on one machine: the result of one, killed and resumed to the byte, and one end for both."""

import os
import signal
import subprocess
import sys
import time

import pytest
from test_train import hashes
from training_fixtures import labeled, policy  # noqa: F401
from transformers import AutoModelForCausalLM

from llome.cli import main
from llome.policy.causal_lm import load_card

# The command line, but for what goes wrong in the process of local rank RANK at the step of number STEP.
DRIVER = """
import os, signal, sys
from llome.cli import main
from llome.errors import LlomeError
from llome.modules.base import PolicyModule

original = PolicyModule.training_step

def step(self, *a):
    if self.global_step == int(os.environ["STEP"]) and self.trainer.local_rank == int(os.environ["RANK_THAT_FAILS"]):
        if os.environ["HOW"] == "raise":
            raise LlomeError("the disk is full; make room")
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, *a)

PolicyModule.training_step = step
sys.exit(main())
"""
STRATEGIES = {"ddp": (), "fsdp2": ("--trainer.precision", "32-true")}
ALIKE = ("--trainer.val_check_interval", "3", "--checkpoint.every_n_steps", "2")
ALIKE += ("--model.init_args.optimizer.init_args.lr", "0.1")  # so high that the best policy is not the last


@pytest.fixture
def command(root, policy, labeled):  # noqa: F811
    def command(strategy, out, *more):
        configs = ["--config", str(root / "configs/train/marge_tiny.yaml")]
        if strategy:
            configs += ["--config", str(root / f"configs/train/strategy/{strategy}.yaml"), "--trainer.devices", "2"]
        files = ["--parent", str(policy), "--labeled", str(labeled), "--out", str(out), "--random_seed", "5"]
        return ["train", "fit", *configs, *files, *ALIKE, *STRATEGIES.get(strategy, ()), *more]

    return command


@pytest.fixture
def run(root, command, tmp_path):
    def run(*args, fails=None, how="kill"):
        start = [sys.executable, "-m", "llome.cli"]
        environment = os.environ | {"GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(root)}
        if fails is not None:
            (tmp_path / "driver.py").write_text(DRIVER)
            start = [sys.executable, str(tmp_path / "driver.py")]
            environment |= {"RANK_THAT_FAILS": str(fails), "STEP": "9", "HOW": how}
        return subprocess.run(
            [*start, *command(*args)], cwd=root, env=environment, capture_output=True, text=True, timeout=300
        )

    return run


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_result_is_that_of_one_process_and_of_a_killed_one(run, command, tmp_path, strategy):
    assert main(command(None, tmp_path / "one" / "model")) == 0
    done = run(strategy, tmp_path / "two" / "model")
    assert (done.returncode, done.stderr) == (0, "")
    for name in ("model", "model-best"):
        one, two = (AutoModelForCausalLM.from_pretrained(tmp_path / folder / name) for folder in ("one", "two"))
        assert type(one) is type(two)
        for a, b in zip(one.parameters(), two.parameters(), strict=True):
            assert (a - b).abs().max() < 2e-3  # single precision, after 12 steps of up to 0.1 (float64: test_two_ranks)
        facts = [load_card(tmp_path / folder / name).facts for folder in ("one", "two")]
        for loss in ("train_loss", "val_loss", "best_val_loss"):
            assert facts[0][loss] == pytest.approx(facts[1][loss], abs=1e-3)
        assert (facts[0]["steps"], facts[0]["best_step"]) == (facts[1]["steps"], facts[1]["best_step"]) == (12, 6)
    killed = run(strategy, tmp_path / "killed" / "model", fails=1)
    assert killed.returncode not in (0, 2)
    (scratch,) = (tmp_path / "killed" / ".scratch").iterdir()
    for name in ("last.ckpt", "best.ckpt"):
        assert (scratch / name).is_dir() == (strategy == "fsdp2")
        assert (scratch / name).exists()
    resumed = run(strategy, tmp_path / "killed" / "model")
    assert resumed.returncode == 0
    assert resumed.stderr == f"llome train: going on from {scratch / 'last.ckpt'}\n"
    for name in ("model", "model-best"):
        assert hashes(tmp_path / "killed" / name) == hashes(tmp_path / "two" / name)
    assert not (tmp_path / "killed" / ".scratch").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("fails", "kind"), [(0, "file"), (1, "file"), (1, "diverged")])
def test_a_mistake_of_one_process_ends_both_with_one_line(run, tmp_path, fails, kind):
    if kind == "file":
        done = run("ddp", tmp_path / "model", fails=fails, how="raise")
        assert done.stderr == "llome train: error: the disk is full; make room\n"
    else:
        diverging = ("--model.init_args.optimizer.init_args.lr", "1e30", "--trainer.gradient_clip_val", "null")
        done = run("ddp", tmp_path / "model", *diverging)
        assert done.stderr.count("\n") == 1
        assert "lower the learning rate" in done.stderr
    assert done.returncode == 2
    assert not (tmp_path / "model").exists()


@pytest.mark.slow
def test_tasks_of_slurm(root, command, tmp_path):
    """Two tasks that srun has started: the second takes no lock, writes nothing and says nothing; a mistake is told once."""
    shared = {"SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_NNODES": "1", "SLURM_NODEID": "0"}
    shared |= {"SLURM_JOB_ID": "70123", "SLURM_JOB_NAME": "llome", "SLURM_NODELIST": "localhost"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(root)}

    def tasks(*more):
        line = [sys.executable, "-m", "llome.cli", *command("ddp", tmp_path / "r" / "model", *more)]
        started = [
            subprocess.Popen(
                line,
                cwd=root,
                env=os.environ | shared | {"SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)},
                stderr=subprocess.PIPE,
                text=True,
            )
            for task in (0, 1)
        ]
        return started

    first, second = tasks()
    errors = first.communicate(timeout=300)[1], second.communicate(timeout=300)[1]
    assert (first.returncode, second.returncode, *errors) == (0, 0, "", "")
    assert load_card(tmp_path / "r" / "model").facts["steps"] == 12
    first, second = tasks("--data.max_distance", "0.01")
    assert "raise max_distance" in first.communicate(timeout=300)[1]
    assert first.returncode == 2
    time.sleep(0.5)
    assert second.poll() is None  # it waits to be ended, as srun --kill-on-bad-exit does
    second.send_signal(signal.SIGTERM)
    assert second.communicate(timeout=60)[1] == ""
