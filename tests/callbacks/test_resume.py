"""Settings of the checkpoints; the behaviour is tested through the stage, to the byte (tests/stages/test_train.py)."""

import pytest

from llome.callbacks import ResumeCallback
from llome.errors import ConfigError


def test_settings():
    with pytest.raises(ConfigError, match=r"checkpoint.every_n_steps is 0"):
        ResumeCallback(0)
    callback = ResumeCallback()
    assert callback.last is None
    other = ResumeCallback()
    callback.best_loss, callback.best_step, callback.validation = 0.5, 3, {"val/loss": 0.5}
    other.load_state_dict(callback.state_dict())
    assert (other.best_loss, other.best_step, other.validation) == (0.5, 3, {"val/loss": 0.5})
