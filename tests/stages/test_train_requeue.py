"""A cluster's warning in the middle of a step: training is saved, put back into the queue, and goes on to the same bytes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from test_train import Killed, hashes, run  # noqa: F401
from training_fixtures import labeled, policy  # noqa: F401

from llome.callbacks import requeue


def warn_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Send SIGUSR1 in the `step`-th step, once."""
    from llome.modules.base import PolicyModule

    original = PolicyModule.on_before_optimizer_step

    def warned(self, optimizer):
        if self.global_step + 1 == step:
            os.kill(os.getpid(), signal.SIGUSR1)
        original(self, optimizer)

    monkeypatch.setattr(PolicyModule, "on_before_optimizer_step", warned)


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A job of SLURM whose scontrol writes down how it is called; the job is ended as soon as it waits for that."""
    programs = tmp_path / "bin"
    programs.mkdir()
    scontrol = programs / "scontrol"
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nexit ${{SCONTROL:-0}}\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")

    real = time.sleep

    def ended(seconds: float) -> None:
        if seconds == requeue._PATIENCE:
            raise Killed
        real(seconds)  # another's: `subprocess` waits so for a child

    monkeypatch.setattr(requeue.time, "sleep", ended)
    return tmp_path / "calls"


# Twelve steps, a validation after every sixth: the warning of the sixth is answered after the seventh.
@pytest.mark.parametrize(("warned", "saved"), [(2, 2), (6, 7), (9, 9)])
def test_a_warned_job_saves_requeues_and_ends_the_same(run, tmp_path, monkeypatch, slurm, capsys, warned, saved):  # noqa: F811
    short = ("--checkpoint.every_n_steps=100", "--trainer.val_check_interval=6")
    assert run(tmp_path / "whole" / "model", *short) == 0
    with monkeypatch.context() as patch:
        warn_at(patch, warned)
        with pytest.raises(Killed):
            run(tmp_path / "warned" / "model", *short)
    assert slurm.read_text() == "requeue 4711\n"
    assert f"saved after step {saved}, as SIGUSR1 asked" in capsys.readouterr().err
    assert not (tmp_path / "warned" / "model").exists()
    assert run(tmp_path / "warned" / "model", *short) == 0
    assert "going on from" in capsys.readouterr().err
    assert hashes(tmp_path / "warned" / "model") == hashes(tmp_path / "whole" / "model")


def test_a_job_that_cannot_be_requeued_goes_on(run, tmp_path, monkeypatch, slurm, capsys):  # noqa: F811
    monkeypatch.setenv("SCONTROL", "1")
    warn_at(monkeypatch, 3)
    assert run(tmp_path / "r" / "model") == 0
    assert "SLURM does not requeue job 4711" in capsys.readouterr().err


def test_outside_a_cluster_the_signal_saves_and_changes_nothing(run, tmp_path, monkeypatch, capsys):  # noqa: F811
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert run(tmp_path / "whole" / "model") == 0
    before = signal.getsignal(signal.SIGUSR1)
    warn_at(monkeypatch, 3)
    assert run(tmp_path / "warned" / "model") == 0
    assert "saved after step 3" in capsys.readouterr().err
    assert hashes(tmp_path / "warned" / "model") == hashes(tmp_path / "whole" / "model")
    assert signal.getsignal(signal.SIGUSR1) == before
