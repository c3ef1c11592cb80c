"""Tables to steps: what is served, and which tables are refused."""

import dataclasses

import numpy as np
import pytest
import torch
from training_fixtures import DOMAIN, draw_table

from llome.data.datamodule import PropEnDataModule
from llome.errors import ConfigError, LlomeError, PolicyError, TableError


def prepared(*args, **kwargs):
    data = PropEnDataModule(*args, **kwargs)
    data.setup("fit")
    return data


def test_serves_pairs_that_improve(policy, labeled):
    data = prepared(str(policy), [str(labeled)], batch_size=16, micro_batch_size=4, random_seed=2**62)
    table = draw_table(150)
    served = []
    for step in data.train_dataloader():
        assert all(len(micro["rows"]) <= 4 for micro in step)
        for micro in step:
            prompts, parsed = data.codec.decode_completions(micro["input_ids"][:, 0, 10:].numpy())
            assert parsed.all()
            rows = micro["rows"].numpy()
            np.testing.assert_array_equal(prompts, table.sequence[data.examples.targets[rows, 0]])
            served.extend(rows.tolist())
    assert sorted(served) == data.train_rows.tolist()
    validated = [row for step in data.val_dataloader() for micro in step for row in micro["rows"].tolist()]
    assert validated == data.val_rows.tolist()
    assert validated
    assert len(served) + len(validated) == len(data.examples)
    assert (data.scores[data.examples.targets[:, 0]] > data.scores[data.examples.sources]).all()


def test_serves_triples(policy, labeled):
    data = prepared(str(policy), [str(labeled)], kind="triples", batch_size=16, max_distance=0.5)
    (micro,) = next(iter(data.train_dataloader()))
    assert micro["input_ids"].shape == (16, 2, 19)
    rows = micro["rows"].numpy()
    chosen, rejected = (data.scores[data.examples.targets[rows, column]] for column in (0, 1))
    source = data.scores[data.examples.sources[rows]]
    assert (chosen > source).all()
    assert (rejected <= source).all()


def test_several_tables_are_matched_as_one(policy, tmp_path):
    table = draw_table(120, seed=3)
    for name, rows in (("whole", slice(None)), ("a", slice(None, 70)), ("b", slice(70, None))):
        table.take(np.arange(120)[rows]).write(tmp_path / f"{name}.parquet")
    whole = prepared(str(policy), [str(tmp_path / "whole.parquet")])
    both = prepared(str(policy), [str(tmp_path / "a.parquet"), str(tmp_path / "b.parquet")])
    np.testing.assert_array_equal(whole.examples.targets, both.examples.targets)
    assert whole.data_hash != both.data_hash
    with pytest.raises(
        TableError,
        match=r"70 sequences stand in more than one labelled table, the first in .*whole.parquet and .*a.parquet",
    ):
        prepared(str(policy), [str(tmp_path / "whole.parquet"), str(tmp_path / "a.parquet")])


def test_no_validation(policy, labeled):
    data = prepared(str(policy), [str(labeled)], val_fraction=0.0)
    assert len(data.val_dataloader()) == 0
    assert len(data.train_rows) == len(data.examples)


def test_the_same_settings_give_the_same_batches(policy, labeled):
    first, second, other = (
        next(iter(prepared(str(policy), [str(labeled)], random_seed=seed).train_dataloader()))[0]["input_ids"]
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert first.shape != other.shape or not torch.equal(first, other)


def test_tables_of_another_oracle_are_refused(policy, labeled, tmp_path):
    draw_table(60, seed=1, domain=dataclasses.replace(DOMAIN, fingerprint="0123456789abcdef")).write(
        tmp_path / "other.parquet"
    )
    other = str(tmp_path / "other.parquet")
    with pytest.raises(
        TableError, match=r"other.parquet was made with oracle 0123456789abcdef .*but the policy .*feedfacecafebeef"
    ):
        prepared(str(policy), [other])
    with pytest.raises(TableError, match=r"other.parquet was made with oracle 0123456789abcdef"):
        prepared(str(policy), [str(labeled), other])


def test_what_else_is_refused(policy, labeled, tmp_path):
    with pytest.raises(TableError, match=r"nowhere.parquet does not exist"):
        prepared(str(policy), [str(tmp_path / "nowhere.parquet")])
    with pytest.raises(PolicyError, match="does not exist"):
        prepared(str(tmp_path / "nowhere"), [str(labeled)])
    with pytest.raises(ConfigError, match="micro_batch_size is 0"):
        PropEnDataModule(str(policy), [str(labeled)], micro_batch_size=0)
    with pytest.raises(ConfigError, match="no labelled table"):
        PropEnDataModule(str(policy), [])
    with pytest.raises(LlomeError, match="raise max_distance"):
        prepared(str(policy), [str(labeled)], max_distance=0.01)
