"""`llome grid`, a training of each point, `llome choose`: what is chosen, and what is refused."""

import csv
import dataclasses
import io
import json

import pytest
import yaml
from training_fixtures import DOMAIN, labeled, policy  # noqa: F401

from llome.cli import main
from llome.policy.causal_lm import PolicyCard, load_card, save_card
from llome.search import flatten

BETA, BATCH = "model.init_args.beta", "data.batch_size"
VALUES = [(b, n) for b in (0.1, 0.4) for n in (64, 128)]


@pytest.fixture
def grid(tmp_path):
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump({"grid": {BETA: [0.1, 0.4], BATCH: [64, 128]}}, sort_keys=False))
    return path


@pytest.fixture
def choose(tmp_path, grid, capsys):
    """Cards of four points from (loss, valid) or the message of one that diverged, and the choice among them."""

    def choose(*found, change=None):
        for number, (values, result) in enumerate(zip(VALUES, found, strict=True), start=1):
            settings = {"model": {"init_args": {"beta": values[0]}}, "data": {"batch_size": values[1]}}
            loss, valid = (None, None) if isinstance(result, str) else result
            shares = dict.fromkeys(("parsed", "right_length", "in_range", "valid", "novel"), valid)
            facts = {"val_loss": loss, "perplexity": 2.0, "token_accuracy": 0.5, **shares}
            card = PolicyCard(
                "dpo", DOMAIN, settings=settings, facts=facts | ({"failed": result} if loss is None else {})
            )
            save_card(tmp_path / f"p{number}", (change or {}).get(number, lambda card: card)(card))
        points = [str(tmp_path / f"p{number}") for number in range(1, 5)]
        code = main(["choose", "--grid", str(grid), "--points", *points, "--out", str(tmp_path / "out")])
        return code, capsys.readouterr()

    return choose


def test_the_lowest_loss_among_the_valid_is_chosen(choose, tmp_path, grid):
    code, said = choose((0.30, 0.99), (-0.10, 0.90), (0.20, 0.91), "the loss is nan at step 3")
    assert code == 0
    chosen = (tmp_path / "out/values.yaml").read_text()
    assert yaml.safe_load(chosen) == {"model": {"init_args": {"beta": 0.4}}, "data": {"batch_size": 64}}
    assert chosen.startswith(f"# Chosen: point 3 of 4 of {grid}: validation loss 0.2, 91% of its outputs valid\n")
    lines = [line.split("  ")[-1].strip() for line in said.out.splitlines()]
    assert [line for line in lines if line in ("chosen", "not valid enough", "diverged")] == [
        "not valid enough",
        "chosen",
        "diverged",
    ]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out/points.csv").read_text())))
    assert [(row[BETA], row[BATCH]) for row in rows] == [("0.1", "64"), ("0.1", "128"), ("0.4", "64"), ("0.4", "128")]
    assert [row["val_loss"] for row in rows] == ["0.3", "-0.1", "0.2", ""]
    assert [row["eligible"] for row in rows] == ["1", "0", "1", "0"]
    assert rows[3]["failed"] == "the loss is nan at step 3"
    svg = (tmp_path / "out/points.svg").read_text()
    assert svg.startswith("<?xml")
    assert all(word in svg for word in ("validation loss", "beta", "batch_size", "chosen", "not valid enough"))


def test_the_first_of_equal_losses_is_chosen(choose, tmp_path):
    choose((0.3, 1.0), (0.2, 1.0), (0.2, 1.0), (0.2, 1.0))
    assert yaml.safe_load((tmp_path / "out/values.yaml").read_text())["data"]["batch_size"] == 128


def retrained(card):
    return dataclasses.replace(card, settings={"model": {"init_args": {"beta": 0.8}}, "data": {"batch_size": 64}})


def unvalidated(card):
    return dataclasses.replace(card, facts={"val_loss": None})


@pytest.mark.parametrize(
    ("found", "change", "message"),
    [
        (
            [(0.3, 0.5), (0.2, 0.9), (0.1, 0.1), "nan"],
            {},
            "writes valid sequences more than 90% of the time; the nearest, point 2, does so 90%",
        ),
        ([(0.3, 1.0)] * 4, {3: retrained}, "p3 was trained with model.init_args.beta 0.8, but point 3 of"),
        ([(0.3, 1.0)] * 4, {2: unvalidated}, "p2 has no validation loss or validity; a search needs data.val_fraction"),
    ],
)
def test_what_cannot_be_chosen_from_is_refused(choose, tmp_path, found, change, message):
    code, said = choose(*found, change=change)
    assert code == 2
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not (tmp_path / "out/values.yaml").exists()


def test_a_point_too_many_is_refused(tmp_path, grid, capsys):
    assert main(["choose", "--grid", str(grid), "--points", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.startswith("llome choose: error: policy directory")


def test_a_point_is_an_overlay_of_the_training_yaml(root, tmp_path, policy, labeled, capsys):  # noqa: F811
    """From the grid to the chosen values through the command line, one point diverging."""
    train, path = str(root / "configs/train/dpo_tiny.yaml"), tmp_path / "grid.yaml"
    path.write_text(f"grid: {{{BETA}: [0.2, 1.0e+300], {BATCH}: [16]}}\nmin_valid: 0.0\n")
    for number in (1, 2):
        out = tmp_path / f"p{number}"
        assert (
            main(
                [
                    "grid",
                    "--grid",
                    str(path),
                    "--train",
                    train,
                    "--point",
                    str(number),
                    "--out",
                    str(out / "values.yaml"),
                ]
            )
            == 0
        )
        files = ["--parent", str(policy), "--labeled", str(labeled), "--out", str(out / "model")]
        more = ["--export", "facts", "--random_seed", "1", "--validity.num_prompts", "8"]
        assert main(["train", "fit", "--config", train, "--config", str(out / "values.yaml"), *files, *more]) == 0
        assert [file.name for file in (out / "model").iterdir()] == ["llome.json"]
        assert not list(out.glob("model-*"))
    first, second = (load_card(tmp_path / f"p{n}" / "model") for n in (1, 2))
    assert flatten(first.settings)[BETA] == 0.2
    assert flatten(first.settings)["model.init_args.optimizer.init_args.lr"] == 3e-3
    assert first.facts["val_loss"] > 0
    assert first.facts["valid"] <= first.facts["parsed"]
    assert "failed" not in first.facts
    assert second.facts["failed"].startswith("the loss is")
    assert second.facts["val_loss"] is None
    json.dumps(second.facts, allow_nan=False)
    assert main(["grid", "--grid", str(path), "--train", train, "--point", "3", "--out", str(tmp_path / "x.yaml")]) == 2
    assert "point is 3, but" in capsys.readouterr().err
