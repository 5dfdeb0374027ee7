"""The search finds what the generator can draw; training resumes; the defense keeps its contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from bench_defensegan.detector import DefenseGan, DefenseGanRectifier, reconstruct
from bench_defensegan.gan import Critic, Generator, NaturalImages, train_generator
from bench_defensegan.options import DefenseGanOptions, GeneratorOptions
from benchmark import ArraySplit, Batch, Classifier, DataFacts, FitContext, InputError, Rng, Setting, TaskError
from benchmark.progress import Progress

CPU = torch.device("cpu")
SHAPE = (1, 8, 8)
SMALL = GeneratorOptions(latent=2, width=2, iterations=6, critic_steps=2, batch_size=8, lr=0.001)


class Plane(nn.Module):
    """Draws every image whose left half has one brightness and whose right half another."""

    def forward(self, z):
        left, right = z.sigmoid().view(-1, 2, 1, 1, 1).unbind(1)
        return torch.cat([left.expand(-1, 1, 8, 4), right.expand(-1, 1, 8, 4)], 3)


def halves(left: float, right: float) -> torch.Tensor:
    return torch.cat([torch.full((1, 1, 8, 4), left), torch.full((1, 1, 8, 4), right)], 3)


def classifier() -> Classifier:
    """Return a network that says whether the right half is brighter, and is misled by one bright pixel."""
    network = nn.Sequential(nn.Flatten(), head := nn.Linear(64, 2))
    with torch.no_grad():
        head.weight.zero_()
        head.weight[1] = halves(-1.0, 1.0).flatten()
        head.weight[1, 0] = 100.0
        head.bias.zero_()
    return Classifier(network, 2, SHAPE).frozen()


def context(split: ArraySplit, folder) -> FitContext:
    return FitContext(
        classifier=None,
        new_classifier=lambda rng: classifier(),
        recipe=None,
        train=split,
        val=split,
        rng=Rng(0),
        device=CPU,
        progress=Progress(),
        checkpoint=folder,
    )


def blobs(count: int = 40, shape: tuple[int, int, int] = SHAPE) -> ArraySplit:
    pixels = np.random.RandomState(0).rand(count, *shape).astype(np.float32)
    return ArraySplit(pixels, np.arange(count) % 2, ("dark", "bright"))


def attached(kind=DefenseGan, **options) -> DefenseGan:
    """Return the defense on a generator that draws halves."""
    chosen = {"generator": {"latent": 2}, "restarts": 3, "steps": 80, **options}
    defense = kind(DefenseGanOptions.model_validate(chosen))
    natural = NaturalImages(defense.options.generator)
    natural.generator, natural.image_shape, natural.device = Plane(), SHAPE, CPU
    defense.shared = {"generator": natural}
    defense.classifier, defense.class_names, defense.device = classifier(), ("dark", "bright"), CPU
    return defense


@pytest.fixture
def fit(tmp_path):
    def fit(kind=DefenseGan, shape=SHAPE, **options) -> DefenseGan:
        defense = attached(kind, **options)
        defense.fit(context(blobs(shape=shape), tmp_path))
        return defense

    return fit


def judged(defense: DefenseGan, x: torch.Tensor):
    return defense.judge(Batch(x, defense, Rng(0)))


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 9, 21), (2, 64, 64)])
def test_networks_fit_images_of_any_size_they_allow(shape):
    images = Generator(5, 2, shape)(torch.randn(3, 5))
    assert images.shape == (3, *shape)
    assert images.min() >= 0
    assert images.max() <= 1
    assert Critic(2, shape)(images).shape == (3,)


def test_for_mnist_the_layers_are_the_released_ones():
    generator, critic = Generator(128, 64, (1, 28, 28)), Critic(64, (1, 28, 28))
    assert generator.sizes == [(4, 4), (7, 7), (14, 14), (28, 28)]
    assert [tuple(layer.weight.shape[:2]) for layer in generator.layers] == [(256, 128), (128, 64), (64, 1)]
    weights = [tuple(layer.weight.shape[:2]) for layer in critic.network if hasattr(layer, "weight")]
    assert weights == [(64, 1), (128, 64), (256, 128), (1, 4 * 4 * 256)]


@pytest.mark.parametrize("shape", [(1, 7, 8), (1, 8, 65), (3, 224, 224)])
def test_images_of_a_size_that_the_generator_cannot_draw_are_refused(shape, tmp_path):
    natural = NaturalImages(SMALL)
    natural.device = CPU
    with pytest.raises(InputError, match=rf"8 to 64 pixels a side, these are {shape[1]}x{shape[2]}"):
        natural.build(context(blobs(4, shape), tmp_path))


def test_the_search_finds_what_the_generator_can_draw():
    wanted = torch.cat([halves(0.2, 0.7), halves(0.6, 0.6), halves(0.9, 0.1)])
    starts = torch.randn(3, 2, generator=Rng(0).torch)
    found = reconstruct(Plane(), wanted, starts, steps=200, lr=10.0, momentum=0.7)
    assert found.error.max() < 1e-4
    torch.testing.assert_close(found.images, wanted, atol=0.01, rtol=0)


def test_the_error_is_the_distance_to_the_nearest_image():
    """What is left of an image is what the halves' means do not explain."""
    x = torch.rand(6, *SHAPE, generator=Rng(1).torch)
    nearest = torch.cat([half.mean(dim=(2, 3), keepdim=True).expand_as(half) for half in x.split(4, 3)], 3)
    expected = (x - nearest).square().mean(dim=(1, 2, 3))
    found = reconstruct(Plane(), x, torch.zeros(1, 2), steps=200, lr=10.0, momentum=0.7)
    torch.testing.assert_close(found.error, expected, atol=1e-4, rtol=0)


def test_the_nearest_of_all_restarts_counts():
    """A start so far out that no gradient is left does no harm beside a good one."""
    x = halves(0.2, 0.7)
    good, lost = torch.zeros(1, 2), torch.full((1, 2), 500.0)
    alone = reconstruct(Plane(), x, good, steps=100, lr=10.0, momentum=0.7)
    both = reconstruct(Plane(), x, torch.cat([lost, good]), steps=100, lr=10.0, momentum=0.7)
    assert torch.equal(both.error, alone.error)
    assert reconstruct(Plane(), x, lost, steps=100, lr=10.0, momentum=0.7).error > 0.1


def test_reconstructions_do_not_depend_on_the_batch(fit):
    defense = fit()
    x = torch.rand(5, *SHAPE, generator=Rng(2).torch)
    alone = torch.cat([judged(defense, image[None]).score for image in x])
    torch.testing.assert_close(judged(defense, x).score, alone)


def test_the_detector_suspects_what_cannot_be_drawn_and_keeps_the_label(fit):
    defense = fit()
    natural = torch.cat([halves(0.3, 0.6), halves(0.8, 0.2)])
    attacked = natural.clone()
    attacked[:, 0, 0, 0] = 1.0
    clean, verdict = judged(defense, natural), judged(defense, attacked)
    assert verdict.score.min() > 10 * clean.score.max()
    assert verdict.flagged is None
    assert verdict.label.tolist() == [1, 1]


def test_the_rectifier_answers_with_the_reconstructions_class(fit):
    defense = fit(DefenseGanRectifier)
    attacked = halves(0.8, 0.2)
    attacked[:, 0, 0, 0] = 1.0
    assert classifier()(attacked).argmax(1).item() == 1
    # The generator has no image with one bright pixel; that its left half is bright misleads the network no more.
    verdict = judged(defense, attacked)
    assert verdict.label.item() == defense.classifier(defense.reconstruct(attacked).images).argmax(1).item()
    assert verdict.score.item() == pytest.approx(judged(fit(), attacked).score.item())


def test_the_surrogate_is_the_pipeline_with_the_classifiers_gradient(fit):
    defense = fit(DefenseGanRectifier)
    x = halves(0.8, 0.2).requires_grad_()
    logits = defense.surrogate()(x)
    torch.testing.assert_close(logits.detach(), defense.classifier(defense.reconstruct(x).images), atol=1e-4, rtol=1e-4)
    (gradient,) = torch.autograd.grad(logits[0, 1], x)
    torch.testing.assert_close(gradient.flatten(), defense.classifier.network[1].weight[1])


def test_detector_loss_is_the_score_and_its_gradient_the_slope(fit):
    defense = fit(steps=400)
    x = torch.rand(2, *SHAPE, generator=Rng(3).torch).requires_grad_()
    loss = defense.detector_loss(x)
    torch.testing.assert_close(loss.detach(), judged(defense, x.detach()).score)
    (gradient,) = torch.autograd.grad(loss.sum(), x)
    direction = torch.randn(x.shape, generator=Rng(4).torch)
    above, below = (judged(defense, (x + sign * 0.01 * direction).detach()).score for sign in (1, -1))
    slope = (gradient * direction).flatten(1).sum(1)
    torch.testing.assert_close((above - below) / 0.02, slope, atol=2e-3, rtol=0.05)


def test_saved_and_loaded_scores_are_the_same_bits(fit, tmp_path):
    defense, again = fit(), attached()
    folder = tmp_path / "state"
    folder.mkdir()
    defense.save(folder)
    again.load(folder)
    x = torch.rand(3, *SHAPE, generator=Rng(5).torch)
    assert torch.equal(judged(defense, x).score, judged(again, x).score)


def test_a_generator_of_other_images_is_refused():
    defense = DefenseGan(DefenseGanOptions(generator_data="faces"))
    of = {shape: DataFacts(("a", "b"), shape, {}) for shape in [(1, 8, 8), (3, 8, 8), (1, 7, 8)]}
    defense.check_setting(Setting(of[1, 8, 8], {"faces": of[1, 8, 8]}, None, None))
    with pytest.raises(InputError, match=r"learns images of shape \(1, 8, 8\) from 'faces', the images to judge are"):
        defense.check_setting(Setting(of[3, 8, 8], {"faces": of[1, 8, 8]}, None, None))
    with pytest.raises(InputError, match="8 to 64 pixels a side, these are 7x8"):
        defense.check_setting(Setting(of[1, 7, 8], {"faces": of[1, 7, 8]}, None, None))


def test_training_makes_the_generator_draw_what_it_has_seen(tmp_path):
    """All images are grey with one brightness, 0.8; an untrained generator draws around 0.5."""
    split = ArraySplit(np.full((40, *SHAPE), 0.8, np.float32), np.zeros(40, int), ("grey",))
    options = GeneratorOptions(latent=2, width=4, iterations=60, critic_steps=2, batch_size=16, lr=0.005)
    generator = train_generator(split, options, Rng(0), CPU, Progress(), tmp_path)
    drawn = generator(torch.randn(64, 2, generator=Rng(1).torch))
    assert abs(float(drawn.mean()) - 0.8) < 0.12


def test_an_interrupted_training_ends_with_the_same_generator(tmp_path, clock):
    split = blobs()
    whole, part = tmp_path / "whole", tmp_path / "part"
    whole.mkdir()
    part.mkdir()
    expected = train_generator(split, SMALL, Rng(0), CPU, Progress(), whole).state_dict()
    steps = 0

    def interrupt(*message: object) -> None:
        nonlocal steps
        steps += 1
        clock.seconds += 60
        if steps == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_generator(split, SMALL, Rng(0), CPU, Progress(interrupt, every=0), part)
    assert (part / "gan.pt").exists()
    resumed = []
    again = train_generator(
        split, SMALL, Rng(0), CPU, Progress(lambda kind, done, *rest: resumed.append(done), every=0), part
    )
    assert resumed == [4, 5, 6]
    assert all(torch.equal(tensor, expected[name]) for name, tensor in again.state_dict().items())


def test_a_damaged_checkpoint_is_said_and_training_begins_again(tmp_path):
    (tmp_path / "gan.pt").write_bytes(b"no checkpoint")
    said = []
    train_generator(blobs(), SMALL, Rng(0), CPU, Progress(lambda *message: said.append(message)), tmp_path)
    assert any(kind == "warning" and "training begins again" in str(rest[0]) for kind, *rest in said)


def test_images_that_are_not_finite_end_in_one_message(tmp_path):
    pixels = np.full((10, *SHAPE), np.nan, np.float32)
    split = ArraySplit(pixels, np.zeros(10, int), ("grey",))
    with pytest.raises(TaskError, match=r"diverged: the loss is nan in step 1\. Lower generator\.lr, or look whether"):
        train_generator(split, SMALL, Rng(0), CPU, Progress(), tmp_path)


def test_a_saved_generator_draws_the_same_images(tmp_path):
    built, loaded = NaturalImages(SMALL), NaturalImages(SMALL)
    built.device = loaded.device = CPU
    work = tmp_path / "work"
    work.mkdir()
    built.build(context(blobs(), work))
    folder = tmp_path / "out"
    folder.mkdir()
    built.save(folder)
    loaded.load(folder)
    z = torch.randn(4, 2, generator=Rng(0).torch)
    assert torch.equal(built.generator(z), loaded.generator(z))
    assert loaded.image_shape == SHAPE
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".safetensors"]


def test_defaults_are_the_published_ones():
    options = DefenseGanOptions()
    assert (options.restarts, options.steps, options.lr, options.momentum) == (10, 200, 10.0, 0.7)
    generator = options.generator
    assert (generator.latent, generator.iterations, generator.batch_size) == (128, 200_000, 50)
    assert (generator.critic_steps, generator.penalty, generator.lr) == (5, 10.0, 1e-4)


@pytest.mark.parametrize("options", [{"restarts": 0}, {"steps": 0}, {"lr": 0.0}, {"generator": {"latent": 0}}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValidationError):
        DefenseGanOptions.model_validate(options)


SUITE = """
suite: digits
datasets: {digits: {use: digits, limit: {train: 100, val: 40, test: 40}}}
models: {linear: {use: linear, train: {epochs: 3, batch_size: 20, lr: 0.5}}}
attacks: {step: {use: step, eps: 0.5}}
defenses:
  detector: &small
    use: defense-gan
    restarts: 2
    steps: 20
    generator: {latent: 4, width: 2, iterations: 10, critic_steps: 2, batch_size: 16}
  rectifier: {<<: *small, use: defense-gan-rectifier}
grid: [{}]
"""


def test_through_the_host_both_defenses_share_one_generator(tmp_path, monkeypatch):
    from inline import run_inline

    from benchmark.plugins import load_plugins
    from benchmark.suite import load_suite

    monkeypatch.setenv("BENCH_PLUGINS", "core")
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE)
    registry = load_plugins(["toy", "inline", "bench_datasets", "bench_defensegan"])
    code, run, said = run_inline(load_suite(str(path), registry=registry), registry, tmp_path)
    assert code == 0, said
    journal = (tmp_path / "run" / "journal.jsonl").read_text().splitlines()
    assert sum('"task done"' in line and '"artifact"' in line for line in journal) == 1
    metrics = run.metrics
    # With ten steps of training the number says nothing, but it is the same: both score by the same distance.
    auroc = metrics[metrics.metric == "auroc_all"].set_index("defense").value
    assert auroc["detector"] == auroc["rectifier"]
