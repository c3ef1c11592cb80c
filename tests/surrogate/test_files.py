"""A surrogate on disk: what comes back, and what is refused."""

import json

import pytest
import torch

from llome.domain import Domain
from llome.errors import TableError
from llome.surrogate.files import MARKER, SurrogateCard, load_surrogate, save_surrogate
from llome.surrogate.network import Ensemble


@pytest.fixture
def saved(tmp_path):
    net = Ensemble(6, 8, members=2, filters=4, random_seed=5)
    card = SurrogateCard(Domain(6, 8, "a" * 16), 2, 4, {"logarithmic": True}, facts={"rows": 3})
    save_surrogate(tmp_path / "surrogate", net, card)
    return tmp_path / "surrogate", net, card


def test_comes_back(saved):
    folder, net, card = saved
    again, found = load_surrogate(folder)
    assert {**vars(found), "weights": ""} == vars(card)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in net.state_dict().items())


def test_the_same_weights_are_the_same_bytes(saved, tmp_path):
    folder, net, card = saved
    save_surrogate(tmp_path / "again", net, card)
    for file in folder.iterdir():
        assert file.read_bytes() == (tmp_path / "again" / file.name).read_bytes()


def test_a_weight_file_cut_short_is_refused(saved):
    folder, _, _ = saved
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    with pytest.raises(TableError, match=r"model\.safetensors is not what surrogate\.json .* was written for; delete"):
        load_surrogate(folder)


@pytest.mark.parametrize("change", [{"filters": 5}, {"domain": {"num_states": 6}}, {"colour": "red"}])
def test_a_card_that_does_not_fit_is_refused(saved, change):
    folder, _, _ = saved
    card = json.loads((folder / MARKER).read_text())
    (folder / MARKER).write_text(json.dumps(card | change))
    with pytest.raises(TableError, match=r"is no surrogate .* run `llome surrogate` again"):
        load_surrogate(folder)


def test_a_missing_one_is_named(tmp_path):
    with pytest.raises(TableError, match=r"surrogate\.json does not exist; run the stage"):
        load_surrogate(tmp_path / "nothing")
