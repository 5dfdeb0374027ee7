"""The U-net is the released one; it restores what the network sees, and falls with it where somebody knows it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from bench_denoiser.denoiser import Dunet, GuidedDenoiser, _Guided, _Pairs
from bench_denoiser.options import GuidedDenoiserOptions
from benchmark import ArraySplit, Batch, Classifier, DataFacts, FitContext, InputError, Rng, Setting, passes
from benchmark.plan.planner import make_plan
from benchmark.plugins import load_plugins
from benchmark.progress import Progress
from benchmark.suite import load_suite

NAMES, SHAPE = ("dark", "bright"), (1, 8, 8)
BOARD = (np.indices(SHAPE[1:]).sum(0) % 2) * 2.0 - 1


def clean(count: int = 64, seed: int = 0) -> ArraySplit:
    """Return smooth images (N, 1, 8, 8), dark or bright."""
    labels = np.arange(count) % 2
    pixels = (
        np.where(labels == 0, 0.4, 0.6)[:, None, None, None] + np.random.RandomState(seed).randn(count, *SHAPE) / 50
    )
    return ArraySplit(pixels.astype(np.float32), labels, NAMES)


def attacked(split: ArraySplit) -> ArraySplit:
    """Return their adversarial versions: a checkerboard that the network reads as the other class."""
    sign = np.where(split.labels == 0, 1, -1)[:, None, None, None]
    pixels = split.images(range(len(split))).numpy() + 0.3 * sign * BOARD
    return ArraySplit(pixels.astype(np.float32), split.labels, NAMES)


def classifier() -> Classifier:
    """Return a network that goes by the mean, and by a faint pattern more than by it."""
    network = nn.Sequential()
    network.add_module("maps", nn.Identity())
    network.add_module("flat", nn.Flatten())
    network.add_module("head", head := nn.Linear(64, 2))
    with torch.no_grad():
        weight = torch.ones(64) + torch.from_numpy(BOARD).flatten().float()
        head.weight.copy_(torch.stack([-weight, weight]))
        head.bias.copy_(torch.tensor([32.0, -32.0]))
    return Classifier(network, 2, SHAPE).frozen()


def attached(**options) -> GuidedDenoiser:
    recipe = {"epochs": 12, "batch_size": 16, "schedule": "cosine", **options.pop("train", {})}
    defense = GuidedDenoiser(
        GuidedDenoiserOptions.model_validate(
            {"attacks": ("board",), "width": 2, "levels": 2, **options, "train": recipe}
        )
    )
    defense.classifier, defense.class_names = classifier(), NAMES
    defense.device, defense.shared = torch.device("cpu"), {}
    return defense


@pytest.fixture(scope="module")
def fit(tmp_path_factory):
    """Return a function that fits a denoiser as the host does, once for equal options."""
    done: dict[str, GuidedDenoiser] = {}

    def fit(**options) -> GuidedDenoiser:
        if str(options) not in done:
            done[str(options)] = fitted(**options)
        return done[str(options)]

    def fitted(**options) -> GuidedDenoiser:
        defense = attached(**options)
        splits = {"train": clean(), "val": clean(40, 1)}
        defense.fit(
            FitContext(
                classifier=defense.classifier,
                new_classifier=lambda rng: classifier(),
                recipe=None,
                train=splits["train"],
                val=splits["val"],
                rng=Rng(0),
                device=defense.device,
                progress=Progress(),
                checkpoint=tmp_path_factory.mktemp("checkpoint"),
                adversaries={
                    (attack, name): attacked(split)
                    for attack in defense.training_attacks()
                    for name, split in splits.items()
                },
            )
        )
        return defense

    return fit


def images(split: ArraySplit) -> torch.Tensor:
    return split.images(range(len(split)))


def right(defense: GuidedDenoiser, x: torch.Tensor, split: ArraySplit) -> float:
    """Return the share of images that the defended network gets right."""
    label = defense.judge(Batch(x, defense, Rng(0))).label
    return float((label == torch.from_numpy(split.labels)).float().mean())


def test_the_network_is_that_of_the_released_code():
    network = Dunet(3, 64, 5)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    out = [64] * 2 + [128] * 3 + [256] * 9 + [256] * 6 + [128] * 3 + [64] * 2 + [3]
    assert [c.out_channels for c in convolutions] == out
    assert [group[0].in_channels for group in network.up] == [512, 512, 384, 192]
    assert [c.stride[0] for group in network.down for c in group.modules() if isinstance(c, nn.Conv2d)].count(2) == 4
    assert sum(isinstance(m, nn.BatchNorm2d) for m in network.modules()) == len(convolutions) - 1
    assert network.last.kernel_size == (1, 1)
    assert network.last.bias is None


@pytest.mark.parametrize("size", [(8, 8), (9, 13)])
def test_images_keep_their_size_and_get_a_correction(size):
    network = Dunet(2, 2, 3).eval()
    x = torch.rand(3, 2, *size)
    assert network(x).shape == x.shape
    nn.init.zeros_(network.last.weight)
    assert torch.equal(network(x), x)


@pytest.mark.parametrize("layer", ["logits", "penultimate", "maps", "input"])
def test_what_it_has_learned_from_is_right_again(fit, layer):
    natural = clean(seed=2)
    defense = fit(layer=layer)
    broken = images(attacked(natural))
    assert (defense.classifier(broken).argmax(1) == torch.from_numpy(natural.labels)).sum() == 0
    assert right(defense, broken, natural) > 0.95
    assert right(defense, images(natural), natural) > 0.95


def test_the_loss_is_the_mean_absolute_difference_of_what_guides(fit):
    """Of denoised and clean images, where one by one it could be that of labels or of pixels."""
    defense, natural = fit(layer="logits"), clean(seed=2)
    broken, x = images(attacked(natural)), images(natural)
    for layer, see in (("logits", defense.classifier), ("input", nn.Identity()), ("maps", nn.Identity())):
        guided = attached(layer=layer)
        objective = _Guided(guided._seen, guided.classifier)
        with torch.no_grad():
            loss = objective.loss(defense.denoiser, torch.cat((broken, x), 1), torch.zeros(64), Rng(0))
            expected = (see(defense.denoiser.network(broken)) - see(x)).abs().mean()
        torch.testing.assert_close(loss, expected)


def test_each_version_of_an_image_stands_beside_the_clean_one():
    natural = clean(6)
    versions = [natural, attacked(natural), ArraySplit(1 - images(natural).numpy(), natural.labels, NAMES)]
    pairs, order = _Pairs(natural, versions[1:]), np.random.RandomState(0).permutation(18)
    image, beside = pairs.images(order.tolist()).chunk(2, 1)
    for index, one, other in zip(order, image, beside, strict=True):
        version, row = divmod(int(index), 6)
        assert torch.equal(one, versions[version].images([row])[0])
        assert torch.equal(other, natural.images([row])[0])
        assert pairs.labels[index] == natural.labels[row]
    assert len(pairs) == 18


def test_who_knows_it_gets_a_gradient_through_all_of_it(fit):
    natural = clean(seed=3)
    defense, y = fit(), torch.from_numpy(natural.labels)
    pipeline, x = defense.surrogate().eval(), images(natural)
    assert torch.equal(pipeline(x).argmax(1), defense.judge(Batch(x, defense, Rng(0))).label)
    for _ in range(40):
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(nn.functional.cross_entropy(pipeline(x), y, reduction="sum"), x)
        x = torch.clamp(x + 0.02 * gradient.sign(), images(natural) - 0.3, images(natural) + 0.3)
    assert right(defense, images(attacked(natural)), natural) > 0.95
    assert right(defense, x.detach(), natural) < 0.1


def test_the_classifier_is_left_as_it_was(fit):
    before, after = classifier().state_dict(), fit().classifier
    assert not after.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in after.state_dict().items())
    assert not any(parameter.requires_grad for parameter in after.parameters())


def test_saved_and_loaded_answers_are_the_same_bits_and_none_depends_on_the_batch(fit, tmp_path):
    defense, again, x = fit(train={"epochs": 2}), attached(), images(attacked(clean(seed=4)))
    folder = tmp_path / "state"
    folder.mkdir()
    defense.save(folder)
    again.load(folder)
    assert [path.suffix for path in folder.iterdir()] == [".safetensors"]
    with torch.no_grad():
        logits = defense.surrogate()(x)
        assert torch.equal(logits, again.surrogate()(x))
        alone = torch.cat([defense.surrogate()(one[None]) for one in x[:5]])
    torch.testing.assert_close(alone, logits[:5])


@pytest.mark.parametrize(
    ("layer", "attacks"), [("logits", ("board",)), ("maps", ("board", "other")), ("input", ("a",))]
)
def test_the_plan_knows_the_passes_of_a_fit(fit, layer, attacks):
    before = passes.copy()
    defense = fit(layer=layer, attacks=attacks, train={"epochs": 1})
    assert passes - before == defense.passes(64, 40, None)


def setting(shape) -> Setting:
    counts = {split: np.array([20, 20]) for split in ("train", "val", "test")}
    data = DataFacts(NAMES, shape, counts)
    return Setting(data, {"blobs": data}, None, None)


def test_images_too_small_for_the_levels_are_refused_with_what_fits():
    attached(levels=3).check_setting(setting((1, 8, 8)))
    attached(levels=5).check_setting(setting((3, 299, 32)))
    with pytest.raises(InputError, match=r"5 levels need images of at least 32 .* 1x8x8 .* Set `levels` to 3 at most"):
        attached(levels=5).check_setting(setting((1, 8, 8)))
    with pytest.raises(InputError, match=r"2 levels need images of at least 4 .* Give larger images"):
        attached(levels=2).check_setting(setting((1, 3, 8)))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"attacks": ()},
        {"attacks": ("a", "a")},
        {"attacks": ("a",), "levels": 1},
        {"attacks": ("a",), "width": 0},
        {"attacks": ("a",), "train": {"batch_size": 1}},
        {"attacks": ("a",), "train": {"label_smoothing": 0.1}},
    ],
)
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValidationError):
        GuidedDenoiserOptions(**options)


SUITE = """
suite: digits
datasets: {digits: {use: digits, limit: {train: 500, val: 50, test: 90}}}
models: {cnn: {use: small_cnn, width: 8, train: {epochs: 8, batch_size: 32, lr: 0.05}}}
attacks:
  taught: {use: pgd, norm: linf, eps: [0.05, 0.15], steps: 4}
  pgd: {use: pgd, norm: linf, eps: 0.15, step: 0.02, steps: 20}
defenses:
  none: {use: none}
  denoiser:
    use: guided-denoiser
    attacks: [taught@0.05, taught@0.15]
    width: 4
    levels: 3
    train: {epochs: 4, batch_size: 32, schedule: cosine}
grid: [{attacks: pgd, knowledge: [gray-box, white-box]}]
"""


def test_a_layer_or_an_attack_that_is_not_there_is_told_while_planning(tmp_path):
    path, registry = tmp_path / "suite.yaml", load_plugins()
    for change, message in (
        (("levels: 3", "levels: 3\n    layer: blok1"), "layer 'blok1'"),
        (("taught@0.05, ", "taught, "), "unknown attack 'taught'"),
    ):
        path.write_text(SUITE.replace(*change))
        with pytest.raises(InputError, match=message):
            make_plan(load_suite(str(path), registry=registry), registry)
