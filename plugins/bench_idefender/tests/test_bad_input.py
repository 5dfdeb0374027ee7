"""What cannot be fitted, through the host: one message that says where, what was found and what to do."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from benchmark import ArraySplit, Dataset, DatasetOptions, InputError, Model, ModelOptions, Rng, TrainOptions, hookimpl


class Lopsided(Dataset):
    """Three classes of 1x4x4 images; the training images have none of the last."""

    Options = DatasetOptions

    def check(self) -> None:
        pass

    def fingerprint(self) -> str:
        return "lopsided"

    def load(self, split: str) -> ArraySplit:
        generator = Rng(3).spawn(split).numpy
        labels = generator.permutation(120) % (2 if split == "train" else 3)
        images = 0.2 * generator.rand(120, 1, 4, 4) + 0.25 * labels[:, None, None, None]
        return ArraySplit(images.astype("float32"), labels, ["none", "half", "full"])


class Dead(nn.Module):
    """Half of the units are never active."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :8], torch.zeros_like(x[:, 8:])], 1)


class Diverged(nn.Module):
    """One unit is NaN."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, :1] / 0 - x[:, :1] / 0, x[:, 1:]], 1)


class Mended(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.nan_to_num()


class StrangeOptions(ModelOptions):
    train: TrainOptions | None = TrainOptions(epochs=2, batch_size=20, lr=0.1)


class Strange(Model):
    Options = StrangeOptions

    def network(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        network = nn.Sequential()
        network.add_module("flatten", nn.Flatten())
        network.add_module("dead", Dead())
        network.add_module("diverged", Diverged())
        network.add_module("mended", Mended())
        network.add_module("head", nn.Linear(16, num_classes))
        return network


@hookimpl
def register_datasets(register):
    register("lopsided", Lopsided)


@hookimpl
def register_models(register):
    register("strange", Strange)


def suite(images: str = "blobs", network: str = "linear", **options: object) -> str:
    detector = ", ".join(f"{name}: {value}" for name, value in {"components": 1, **options}.items())
    return f"""
    suite: broken
    title: What cannot be fitted
    seeds: [0]
    datasets: {{images: {{use: {images}}}}}
    models: {{network: {{use: {network}}}}}
    attacks: {{step: {{use: step, eps: 0.1}}}}
    defenses: {{plain: {{use: plain}}, detector: {{use: i-defender, {detector}}}}}
    grid: [{{datasets: all, models: all, attacks: all, defenses: all}}]
    """


@pytest.mark.parametrize("layer", ["penultimat", "[flatten, penultimat]"])
def test_a_layer_that_does_not_exist_is_refused_before_any_work(run_suite_file, tmp_path, layer):
    with pytest.raises(InputError) as refused:
        run_suite_file(suite(network="strange", layer=layer), __name__)
    said = str(refused.value)
    assert (
        "defenses.detector on models.network: unknown layer 'penultimat'. Did you mean 'penultimate'? Known: " in said
    )
    assert said.endswith("Known: dead, diverged, flatten, head, logits, mended, penultimate.")
    assert "suite.yaml:" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (suite(images="lopsided"), ["too few training images: 'full' 0", "Each class needs 20", "Give more images"]),
        (
            suite(components=40),
            ["'top' 30, 'bottom' 30", "(components: 40), so 80", "Give more images per class or set fewer components"],
        ),
    ],
    ids=["class without images", "more components than images"],
)
def test_too_few_images_are_refused_before_any_work(run_suite_file, tmp_path, broken, words):
    with pytest.raises(InputError) as refused:
        run_suite_file(broken, __name__)
    said = str(refused.value)
    assert "\n" not in said
    assert "suite.yaml:8: defenses.detector on datasets.images: i-defender: " in said
    for word in words:
        assert word in said
    assert not (tmp_path / "run").exists()


def test_a_singular_covariance_fails_the_cells_of_the_detector(run_suite_file):
    code, run, _ = run_suite_file(suite(network="strange", layer="dead", regularization=0.0), __name__)
    assert code == 1
    (failure,) = run.manifest["failures"]
    for word in ("i-defender: class 'top': a covariance is singular", "8 of them constant", "`regularization`"):
        assert word in failure["reason"]
    status = run.metrics.groupby("defense").status.unique()
    assert status["plain"].tolist() == ["ok"]
    assert status["detector"].tolist() == ["failed"]


def test_states_that_are_nan_fail_the_cells_that_need_them(run_suite_file):
    code, run, said = run_suite_file(suite(network="strange", layer="diverged"), __name__)
    assert code == 1
    failures = run.manifest["failures"]
    assert {cell["defense"] for failure in failures for cell in failure["cells"]} == {"detector"}
    for failure in failures:
        assert "extract hidden states: " in failure["reason"] + failure["task"]
        assert "the observation 'diverged' is NaN or infinite for " in failure["reason"]
        assert "(numbers 0, 1, 2, 3, 4, …). Name another layer, or train the network so" in failure["reason"]
        assert failure["reason"].removeprefix("needs ") in said
    status = run.metrics.groupby("defense").status.unique()
    assert status["plain"].tolist() == ["ok"]
    assert status["detector"].tolist() == ["failed"]
