"""The training loop: resuming, selection, memory, divergence, augmentation, schedules."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.optimizer import register_optimizer_step_pre_hook

from benchmark.checkpoint import TrainingCheckpoint
from benchmark.crafting import craft
from benchmark.dataset import ArraySplit
from benchmark.errors import InputError, TaskError
from benchmark.model import Classifier
from benchmark.options import CraftingOptions, TrainOptions
from benchmark.progress import Progress
from benchmark.randomness import Rng
from benchmark.training import History, MicroBatches, Objective, augment, batches, train, validate

CPU = torch.device("cpu")
RECIPE = TrainOptions(epochs=4, batch_size=16, lr=0.1, augment=("flip", "crop"), crop_padding=1)


def blobs(count: int, seed: int = 0) -> ArraySplit:
    """Three classes of 1x6x6 images that differ in the bright row, with noise."""
    generator = np.random.RandomState(seed)
    labels = np.arange(count) % 3
    images = generator.uniform(0, 0.6, (count, 1, 6, 6)).astype(np.float32)
    for label in range(3):
        images[labels == label, :, 2 * label] += 0.4
    return ArraySplit(images, labels, ["top", "middle", "bottom"])


TRAIN, VAL = blobs(80), blobs(30, seed=1)


def classifier(dropout: float = 0.3, seed: int = 0) -> Classifier:
    """A small network with everything that carries state or draws at random: batch norm and dropout."""
    with Rng(seed).seeded_globals():
        network = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Flatten(),
            nn.Linear(4 * 36, 3),
        )
    return Classifier(network, 3, (1, 6, 6))


def linear(seed: int = 0) -> Classifier:
    """A network without batch norm, so that parts of a batch do not depend on each other."""
    with Rng(seed).seeded_globals():
        return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(36, 3)), 3, (1, 6, 6))


def weights(network: nn.Module) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in network.state_dict().items()}


def run(network: Classifier, recipe: TrainOptions = RECIPE, **changes: Any) -> History:
    arguments: dict[str, Any] = {"rng": Rng(7), "device": CPU, "progress": Progress(), **changes}
    return train(network, arguments.pop("train_split", TRAIN), arguments.pop("val_split", VAL), recipe, **arguments)


class InterruptedTrainingError(Exception):
    pass


class Listening(Progress):
    """Remembers what it was told; where there is a clock, a batch takes a minute."""

    def __init__(self, clock: Any = None) -> None:
        super().__init__()
        self.clock = clock
        self.warnings: list[str] = []
        self.updates: list[tuple[int, int]] = []

    def update(self, done: int, total: int, unit: str = "images") -> None:
        self.updates.append((done, total))
        if self.clock is not None:
            self.clock.seconds += 60

    def warn(self, text: str) -> None:
        self.warnings.append(text)


class Interrupting(Listening):
    """Raises at the first message from image number `at` on."""

    def __init__(self, at: int, clock: Any) -> None:
        super().__init__(clock)
        self.at = at

    def update(self, done: int, total: int, unit: str = "images") -> None:
        super().update(done, total, unit)
        if done >= self.at:
            raise InterruptedTrainingError


# -- the same again ---------------------------------------------------------------------------------------------------


def test_training_depends_on_the_given_randomness_alone():
    first, second, other = classifier(), classifier(), classifier()
    torch.manual_seed(1)
    np.random.seed(1)
    history = run(first)
    torch.manual_seed(2)
    np.random.seed(2)
    before = torch.get_rng_state()
    assert run(second) == history
    assert torch.equal(torch.get_rng_state(), before)
    run(other, rng=Rng(8))
    assert weights(first) == weights(second) != weights(other)


RECIPES = {
    "cosine": {},
    "constant": {"schedule": "constant"},
    "step": {"schedule": "step", "milestones": [2, 4]},
    "onecycle": {"schedule": "onecycle"},
    "adamw": {"optimizer": "adamw", "lr": 0.01},
    "last": {"select": "last"},
}


@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES)
@pytest.mark.parametrize("epoch", [1.5, 2.0, 3.9], ids="in epoch {}".format)
def test_an_interrupted_training_ends_with_the_same_bytes(tmp_path, clock, changes, epoch):
    recipe = TrainOptions.model_validate({**RECIPE.model_dump(), **changes}, strict=False)
    whole = classifier()
    expected = run(whole, recipe)
    stop = Interrupting(int(epoch * (len(TRAIN) + len(VAL))), clock)
    with pytest.raises(InterruptedTrainingError):
        run(classifier(), recipe, checkpoint=tmp_path, progress=stop)
    assert (tmp_path / "checkpoint.pt").exists() == (epoch > 1)
    # Another process begins with other initial weights at worst; the checkpoint decides.
    resumed, progress = classifier(seed=99), Listening()
    history = run(resumed, recipe, checkpoint=tmp_path, progress=progress)
    assert history == expected
    assert weights(resumed) == weights(whole)
    assert progress.updates[0][0] > (math.ceil(epoch) - 2) * (len(TRAIN) + len(VAL))
    assert progress.updates[-1] == (4 * (len(TRAIN) + len(VAL)),) * 2


class Anchored(Objective):
    """Pulls the logits to a target that is learned beside the network, faster than the network is."""

    def __init__(self) -> None:
        super().__init__()
        self.trained = nn.Linear(1, 3, bias=False)
        nn.init.zeros_(self.trained.weight)

    def parameter_groups(self) -> list[dict[str, Any]]:
        return [{"params": list(self.trained.parameters()), "lr": 0.5, "weight_decay": 0.0, "momentum": 0.0}]

    def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        return (classifier(x) - self.trained.weight.T).square().sum(1).mean()


@pytest.mark.parametrize("select", ["best", "last"])
def test_what_is_learned_beside_the_network_is_kept_and_resumed_with_it(tmp_path, clock, select):
    recipe = TrainOptions.model_validate({**RECIPE.model_dump(), "select": select}, strict=False)
    whole, objective = classifier(), Anchored()
    run(whole, recipe, objective=objective)
    assert objective.trained.weight.abs().min() > 0
    stop = Interrupting(int(2.5 * (len(TRAIN) + len(VAL))), clock)
    with pytest.raises(InterruptedTrainingError):
        run(classifier(), recipe, objective=Anchored(), checkpoint=tmp_path, progress=stop)
    if select == "last":  # as releases wrote it that kept each last epoch's weights a second time
        kept = TrainingCheckpoint(tmp_path / "checkpoint.pt", Progress())
        state = kept.read(torch.device("cpu"))
        kept.write({**state, "best": {name: 0 * tensor for name, tensor in state["learned"].items()}})
    resumed, other = classifier(seed=99), Anchored()
    run(resumed, recipe, objective=other, checkpoint=tmp_path)
    assert weights(resumed) == weights(whole)
    assert weights(other.trained) == weights(objective.trained)


def test_a_group_learns_at_its_own_rate():
    objective, network = Anchored(), linear()
    expected = (
        0.5 * 2 * network(TRAIN.images(range(len(TRAIN)))).detach().mean(0)
    )  # from 0, down the gradient of the mean squared distance
    recipe = TrainOptions(epochs=1, batch_size=len(TRAIN), lr=0.1, momentum=0.9, schedule="constant", select="last")
    run(network, recipe, objective=objective)
    torch.testing.assert_close(objective.trained.weight[:, 0], expected)


def torn(file):
    file.write_bytes(file.read_bytes()[:100])


def flipped(file):
    content = bytearray(file.read_bytes())
    # In the middle of the weights, where only the sense of a number changes.
    place = content.find(weights_in(file)) + 2
    content[place] ^= 1
    file.write_bytes(content)


def weights_in(file):
    state = torch.load(io.BytesIO(file.read_bytes()[32:]), weights_only=True)
    return next(iter(state["learned"].values())).numpy().tobytes()


def a_folder(file):
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("damage", [torn, flipped, a_folder])
def test_a_damaged_checkpoint_is_said_and_ignored(tmp_path, clock, damage):
    expected = classifier()
    run(expected, checkpoint=tmp_path, progress=Listening(clock))
    damage(tmp_path / "checkpoint.pt")
    again, progress = classifier(), Listening()
    run(again, checkpoint=tmp_path, progress=progress)
    assert weights(again) == weights(expected)
    assert [w for w in progress.warnings if "cannot be read" in w and "checkpoint.pt" in w]


def test_a_checkpoint_that_is_a_pickle_is_not_executed(tmp_path):
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (type(tmp_path).touch, (tmp_path / "executed",))

    TrainingCheckpoint(tmp_path / "checkpoint.pt", Progress()).write({"classifier": Trap()})
    run(classifier(), checkpoint=tmp_path)
    assert not (tmp_path / "executed").exists()


# -- which epoch is kept ----------------------------------------------------------------------------------------------


class Scripted(Objective):
    """Learns as usual and remembers the weights of each epoch; says that a given share of images is right."""

    def __init__(self, shares: list[float]) -> None:
        super().__init__()
        self.shares, self.seen = shares, []

    def correct(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> dict[str, Tensor]:
        assert not classifier.training
        self.seen.append(weights(classifier))
        share = self.shares[len(self.seen) - 1]
        right = torch.arange(len(y)) < round(share * len(y))
        return {"clean": right, "adversarial": ~right if share == 0.5 else right}


@pytest.mark.parametrize(
    ("select", "shares", "kept"),
    [
        ("best", [0.1, 0.9, 0.2, 0.3], 2),
        ("best", [0.5, 0.5, 0.5, 0.5], 1),  # the earliest of equals
        ("best", [0.0, 0.0, 0.0, 0.0], 1),
        ("last", [0.1, 0.9, 0.2, 0.3], 4),
    ],
)
def test_the_selected_epoch_is_kept(select, shares, kept):
    objective, network = Scripted(shares), classifier()
    recipe = RECIPE.model_copy(update={"select": select, "batch_size": len(VAL)})
    history = run(network, recipe, objective=objective)
    assert history.best_epoch == kept
    assert weights(network) == objective.seen[kept - 1]
    assert history.best_score == pytest.approx(shares[kept - 1])
    assert [e["epoch"] for e in history.epochs] == [1, 2, 3, 4]
    assert history.epochs[1]["clean"] == pytest.approx(shares[1])


def test_training_learns():
    network = linear()
    before = validate(network, VAL, Objective(), Rng(0), 8, CPU)["accuracy"]
    recipe = TrainOptions(epochs=30, batch_size=16, lr=0.5)
    history = run(network, recipe)
    assert before < 0.6 < 0.9 < history.best_score
    assert validate(network, VAL, Objective(), Rng(0), 7, CPU)["accuracy"] == history.best_score


def test_validation_accuracy_is_the_share_of_right_labels():
    network = linear()
    predicted = network(VAL.images(range(len(VAL)))).argmax(1).numpy()
    assert validate(network, VAL, Objective(), Rng(0), 8, CPU) == {"accuracy": (predicted == VAL.labels).mean()}


# -- what a step does -------------------------------------------------------------------------------------------------


def test_one_epoch_is_stochastic_gradient_descent_written_out():
    """Without augmentation or schedule, in the order that the generator gives."""
    recipe = TrainOptions(epochs=1, batch_size=32, lr=0.1, momentum=0.9, weight_decay=0.01, schedule="constant")
    network, reference = linear(), linear()
    run(network, recipe)
    order = Rng(7).spawn("epoch", 1).spawn("order").numpy.permutation(len(TRAIN))
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    for start in range(0, len(TRAIN), 32):
        indices = order[start : start + 32]
        optimizer.zero_grad()
        cross_entropy(reference(TRAIN.images(indices)), torch.from_numpy(TRAIN.labels[indices])).backward()
        optimizer.step()
    assert weights(network) == weights(reference)


class Attacking(Objective):
    """Attacks each batch twice before it learns from it: casts kept from the first attack would lack their graph."""

    def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        for _ in range(2):
            x = craft(classifier, x, y, CraftingOptions(attack="pgd", eps=0.1, steps=2), 0.1, rng)
        return super().loss(classifier, x, y, rng)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_mixed_precision_is_for_the_steps_alone(precision):
    network = linear()
    computed: dict[bool, set[torch.dtype]] = {True: set(), False: set()}
    network.network[-1].register_forward_hook(lambda module, x, y: computed[module.training].add(y.dtype))
    recipe = TrainOptions(epochs=8, batch_size=16, lr=0.1, precision=precision)
    assert run(network, recipe, objective=Attacking()).best_score > 0.9
    assert computed == {True: {getattr(torch, precision)}, False: {torch.float32}}
    assert {weight.dtype for weight in network.state_dict().values()} == {torch.float32}


def test_every_image_is_seen_once_per_epoch_and_none_alone():
    class Watching(Objective):
        def __init__(self) -> None:
            super().__init__()
            self.sizes: list[int] = []
            self.seen: list[float] = []

        def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
            assert classifier.training
            self.sizes.append(len(y))
            self.seen += x[:, 0, 0, 0].tolist()
            return super().loss(classifier, x, y, rng)

    split, objective = blobs(33), Watching()
    run(classifier(), TrainOptions(epochs=2, batch_size=16), train_split=split, objective=objective)
    assert objective.sizes == [16, 17] * 2
    whole = sorted(split.images(range(33))[:, 0, 0, 0].tolist())
    assert sorted(objective.seen[:33]) == sorted(objective.seen[33:]) == whole
    assert objective.seen[:33] != objective.seen[33:]  # another order


def test_batch_norm_over_one_position_learns_although_one_image_is_left_over():
    network = Classifier(
        nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)), 3, (1, 6, 6)
    )
    history = run(network, TrainOptions(epochs=1, batch_size=16), train_split=blobs(17))
    assert math.isfinite(history.epochs[0]["loss"])


@given(count=st.integers(1, 40), size=st.integers(1, 12))
def test_batches_keep_order_and_size(count, size):
    split = blobs(max(count, 3))
    order = np.random.RandomState(count).permutation(count)
    found = list(batches(split, order, size, CPU))
    assert torch.equal(torch.cat([x for x, _ in found]), split.images(order.tolist()))
    assert torch.equal(torch.cat([y for _, y in found]), torch.from_numpy(split.labels[order]))
    sizes = [len(y) for _, y in found]
    assert all(s == size for s in sizes[:-1])
    assert sizes[-1] <= size + (size > 1)
    assert size == 1 or count == 1 or sizes[-1] > 1


def rates(recipe: TrainOptions, count: int = 80) -> tuple[list[float], list[float]]:
    """Return learning rate and momentum of each step, heard where the optimizer takes it."""
    heard: list[tuple[float, float]] = []

    def listen(optimizer: torch.optim.Optimizer, *unused: Any) -> None:
        group = optimizer.param_groups[0]
        heard.append((group["lr"], group["momentum"]))

    handle = register_optimizer_step_pre_hook(listen)
    try:
        run(linear(), recipe, train_split=blobs(count))
    finally:
        handle.remove()
    return [rate for rate, _ in heard], [momentum for _, momentum in heard]


def test_schedules():
    base = {"epochs": 4, "batch_size": 16, "lr": 0.1, "momentum": 0.7}  # 5 steps per epoch
    found, _ = rates(TrainOptions(**base, schedule="constant"))
    assert found == [0.1] * 20
    found, _ = rates(TrainOptions(**base, schedule="cosine"))
    assert found == pytest.approx([0.05 * (1 + math.cos(math.pi * step / 20)) for step in range(20)])
    found, _ = rates(TrainOptions(**base, schedule="step", milestones=(2, 4), gamma=0.1))
    assert found == pytest.approx([0.1] * 5 + [0.01] * 10 + [0.001] * 5)
    found, momentum = rates(TrainOptions(**base, schedule="onecycle"))
    assert len(found) == 20
    assert max(found) == pytest.approx(0.1, rel=0.02)
    assert found[0] == pytest.approx(0.1 / 25)
    assert found[-1] < found[0]
    assert momentum == [0.7] * 20  # the recipe's


def test_schedules_count_the_steps_that_are_taken():
    """33 images in batches of 16 are 2 steps, since the last image joins the second batch."""
    found, _ = rates(TrainOptions(epochs=2, batch_size=16, lr=0.1), count=33)
    assert found == pytest.approx([0.05 * (1 + math.cos(math.pi * step / 4)) for step in range(4)])


def test_label_smoothing_spreads_the_target():
    network = linear()
    x, y = TRAIN.images([0, 1]), torch.tensor([0, 1])
    log_p = network(x).log_softmax(1)
    expected = -(0.8 * log_p[[0, 1], [0, 1]] + 0.2 * log_p.mean(1)).mean()
    torch.testing.assert_close(Objective(0.2).loss(network, x, y, Rng(0)), expected)


# -- what goes wrong --------------------------------------------------------------------------------------------------


class Breaking(Objective):
    def __init__(self, value: float, at: int) -> None:
        super().__init__()
        self.value, self.left = value, at

    def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        self.left -= 1
        return super().loss(classifier, x, y, rng) * (self.value if self.left == 0 else 1)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_fails_the_task_and_says_where(value):
    with pytest.raises(TaskError, match=r"training diverged: the loss is (nan|inf) in epoch 2, batch 3\. .*0\.1"):
        run(linear(), objective=Breaking(value, at=8))


def test_weights_that_are_not_finite_fail_the_task_though_the_last_loss_was():
    class Steep(Objective):
        def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
            loss = super().loss(classifier, x, y, rng)
            loss.register_hook(lambda gradient: gradient * math.nan)
            return loss

    recipe = TrainOptions(epochs=1, batch_size=80)
    with pytest.raises(TaskError, match="weights became NaN or infinite in epoch 1"):
        run(linear(), recipe, objective=Steep())


@pytest.mark.parametrize(("splits"), [{"train_split": blobs(0)}, {"val_split": blobs(0)}])
def test_an_empty_split_is_refused(splits):
    with pytest.raises(InputError, match="at least one training and one validation image"):
        run(linear(), **splits)


class Hungry(Objective):
    """Runs out of memory with more than `most` images: before anything is done, or halfway through the gradients."""

    def __init__(self, most: int, error: type[BaseException] = MemoryError, late: bool = False) -> None:
        super().__init__()
        self.most, self.error, self.late = most, error, late
        self.sizes: list[int] = []

    def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        self.sizes.append(len(y))
        if len(y) <= self.most:
            return super().loss(classifier, x, y, rng)
        if self.late:  # the last layer has its gradient when memory runs out
            loss = super().loss(classifier, x, y, rng)
            loss.backward()
        raise self.error("not enough memory: you tried to allocate 1 GB")

    def correct(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> dict[str, Tensor]:
        if len(y) > self.most:
            raise self.error("not enough memory: you tried to allocate 1 GB")
        return super().correct(classifier, x, y, rng)


@pytest.mark.parametrize("late", [False, True], ids=["early", "in the backward pass"])
@pytest.mark.parametrize("error", [MemoryError, RuntimeError, torch.OutOfMemoryError])
def test_out_of_memory_halves_the_batch_and_changes_nothing_else(error, late):
    recipe = TrainOptions(epochs=2, batch_size=16, lr=0.1)
    expected, network = linear(), linear()
    history = run(expected, recipe)
    objective, progress = Hungry(5, error, late), Listening()
    found = run(network, recipe, objective=objective, progress=progress)
    assert progress.warnings == [f"out of memory: going on with batches of {size} images" for size in (8, 4)]
    assert objective.sizes == [16, 8] + [4] * 40  # 80 images, twice
    for one, other in zip(network.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert [e["loss"] for e in found.epochs] == pytest.approx([e["loss"] for e in history.epochs])
    assert [e["accuracy"] for e in found.epochs] == [e["accuracy"] for e in history.epochs]


def test_memory_that_runs_out_in_validation_alone_is_no_end_either():
    class HungryJudge(Hungry):
        def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
            return Objective.loss(self, classifier, x, y, rng)

    progress, plain, hungry = Listening(), linear(), linear()
    recipe = TrainOptions(epochs=1, batch_size=16)
    history = run(plain, recipe)
    assert run(hungry, recipe, objective=HungryJudge(5), progress=progress) == history
    assert len(progress.warnings) == 2


def test_a_single_image_that_does_not_fit_is_an_error():
    with pytest.raises(MemoryError, match="batch of one image"):
        run(linear(), objective=Hungry(0))


def test_other_errors_are_not_taken_for_memory():
    class Buggy(Objective):
        def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        run(linear(), objective=Buggy())


@given(count=st.integers(1, 50), fits=st.integers(1, 60))
def test_micro_batches_cover_every_image_once(count, fits):
    memory, done = MicroBatches(Progress()), []

    def work(part: slice) -> list[int]:
        indices = list(range(count))[part]
        if len(indices) > fits:
            raise MemoryError
        done.extend(indices)
        return indices

    results = memory.run(count, work)
    assert [index for part in results for index in part] == list(range(count)) == done
    assert max(map(len, results)) <= fits
    assert (memory.limit is None) == (count <= fits)


# -- augmentation -----------------------------------------------------------------------------------------------------


def recipe_of(*names: str, padding: int = 4) -> TrainOptions:
    return TrainOptions.model_validate({"augment": names, "crop_padding": padding}, strict=False)


def windows(image: np.ndarray, padding: int) -> list[np.ndarray]:
    """All crops of an image (C, H, W) after zero padding."""
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    steps = range(2 * padding + 1)
    return [padded[:, top : top + height, left : left + width] for top in steps for left in steps]


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    names=st.sampled_from([(), ("flip",), ("crop",), ("flip", "crop")]),
    padding=st.integers(1, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_an_augmented_image_is_a_window_of_the_image_or_its_mirror_image(shape, names, padding, seed):
    x = torch.rand(shape, generator=torch.Generator().manual_seed(1))
    before = x.clone()
    recipe = recipe_of(*names, padding=padding)
    changed = augment(x, recipe, Rng(seed))
    assert changed.shape == x.shape
    assert torch.equal(x, before)
    assert torch.equal(changed, augment(x, recipe, Rng(seed)))
    for image, result in zip(x.numpy(), changed.numpy(), strict=True):
        sources = [image, image[:, :, ::-1]] if "flip" in names else [image]
        candidates = [w for source in sources for w in (windows(source, padding) if "crop" in names else [source])]
        assert any(np.array_equal(result, candidate) for candidate in candidates)


def test_flips_and_offsets_are_fair_and_drawn_per_image():
    x = torch.rand(1, 1, 5, 5).repeat(4000, 1, 1, 1)
    flipped = (augment(x, recipe_of("flip"), Rng(0)) != x).flatten(1).any(1)
    assert flipped.float().mean().item() == pytest.approx(0.5, abs=0.04)  # 5 standard deviations
    crops = augment(x, recipe_of("crop", padding=1), Rng(0)).flatten(1)
    _, counts = crops.unique(dim=0, return_counts=True)
    assert len(counts) == 9
    assert counts.float().div(4000).sub(1 / 9).abs().max() < 0.025


def test_augmentation_differs_between_epochs_and_batches():
    class Watching(Objective):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[Tensor] = []

        def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
            self.seen.append(x.clone())
            return super().loss(classifier, x, y, rng)

    objective = Watching()
    same = ArraySplit(np.repeat(blobs(1).images([0]).numpy(), 64, axis=0), np.zeros(64), ["a", "b", "c"])
    run(linear(), TrainOptions(epochs=2, batch_size=32, augment=("crop",)), train_split=same, objective=objective)
    assert len(objective.seen) == 4
    assert all(not torch.equal(a, b) for i, a in enumerate(objective.seen) for b in objective.seen[:i])
