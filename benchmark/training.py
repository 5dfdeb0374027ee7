"""The training loop: recipes, best-validation selection, checkpoints, progress."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from benchmark.checkpoint import TrainingCheckpoint
from benchmark.dataset import Split
from benchmark.errors import InputError, TaskError
from benchmark.model import Classifier
from benchmark.options import TrainOptions
from benchmark.progress import Progress
from benchmark.randomness import Rng


class Objective:
    """What a step minimises and what an epoch is judged by: plain cross-entropy. Hardeners override it.

    Attributes:
        label_smoothing: of the cross-entropy.
        trained: what is learned beside the network (prototypes, auxiliary branches), None where nothing is. It goes
            to the device, into checkpoints, and back to the selected epoch together with the network.
    """

    trained: nn.Module | None = None

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the parameters of `trained` as optimizer groups; what a group does not say is the recipe's.

        The recipe's schedule scales the learning rate of every group alike.
        """
        return [] if self.trained is None else [{"params": list(self.trained.parameters())}]

    def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return the mean loss of a batch; the classifier is in train mode."""
        return cross_entropy(classifier(x), y, label_smoothing=self.label_smoothing)

    def correct(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> dict[str, Tensor]:
        """Return by name which validation images count as right, (N,) bool; an epoch's score is the mean over all."""
        with torch.no_grad():
            return {"accuracy": classifier(x).argmax(1) == y}


@dataclass
class History:
    """What happened during training, one entry per epoch."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    best_score: float = -1.0


def train(
    classifier: Classifier,
    train_split: Split,
    val_split: Split,
    recipe: TrainOptions,
    *,
    rng: Rng,
    device: torch.device,
    progress: Progress,
    checkpoint: Path | None = None,
    objective: Objective | None = None,
) -> History:
    """Train `classifier` and `objective.trained` in place by `recipe`; they end with the weights of the selected epoch.

    The draws of an epoch depend on `rng` and the epoch's number alone, so a training that was interrupted and resumed
    from `checkpoint` (a folder) ends with the same weights as one that was not.

    Raises:
        InputError: a split is empty.
        TaskError: the loss became NaN or infinite.
    """
    if not len(train_split) or not len(val_split):
        raise InputError("training needs at least one training and one validation image")
    objective = objective or Objective(recipe.label_smoothing)
    classifier.to(device).requires_grad_(True)
    # One module for both, so that neither can be forgotten where weights are kept, written or restored.
    learned = nn.ModuleDict({"classifier": classifier})
    if objective.trained is not None:
        learned["beside"] = objective.trained.to(device)
    batches_per_epoch = len(_chunks(np.arange(len(train_split)), recipe.batch_size))
    optimizer = _optimizer(classifier, objective, recipe)
    schedule = _schedule(optimizer, recipe, batches_per_epoch)
    history = History()
    best: dict[str, Tensor] | None = None
    kept = TrainingCheckpoint(checkpoint / "checkpoint.pt", progress) if checkpoint is not None else None
    first_epoch = 1
    state = kept.read(device) if kept is not None else None
    if state is not None:
        learned.load_state_dict(state["learned"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        history = History(state["epochs"], state["best_epoch"], state["best_score"])
        best = state["best"] if recipe.select == "best" else None  # checkpoints of earlier releases hold the last, too
        first_epoch = len(history.epochs) + 1
    memory = MicroBatches(progress)
    per_epoch = len(train_split) + len(val_split)
    for epoch in range(first_epoch, recipe.epochs + 1):
        epoch_rng = rng.spawn("epoch", epoch)
        learned.train()
        order = epoch_rng.spawn("order").numpy.permutation(len(train_split))
        total_loss = 0.0
        done = (epoch - 1) * per_epoch
        with epoch_rng.spawn("dropout").seeded_globals():
            for number, (x, y) in enumerate(batches(train_split, order, recipe.batch_size, device)):
                batch_rng = epoch_rng.spawn("batch", number)
                x = augment(x, recipe, batch_rng)
                # No cache: it would hand the casts of one pass, whose graph is gone, to the next (attacks take many).
                with torch.autocast(device.type, torch.bfloat16, recipe.precision == "bfloat16", cache_enabled=False):
                    loss = _backward(classifier, objective, optimizer, x, y, batch_rng, memory)
                if not math.isfinite(loss):
                    raise TaskError(
                        f"training diverged: the loss is {loss} in epoch {epoch}, batch {number + 1}. "
                        f"Lower train.lr (now {recipe.lr:g})."
                    )
                optimizer.step()
                schedule.step()
                total_loss += loss * len(y)
                done += len(y)
                progress.update(done, recipe.epochs * per_epoch, "training images")
        if not _is_finite(learned):
            raise TaskError(
                f"training diverged: weights became NaN or infinite in epoch {epoch}. "
                f"Lower train.lr (now {recipe.lr:g})."
            )
        learned.eval()
        scores = validate(classifier, val_split, objective, rng.spawn("validation"), recipe.batch_size, device, memory)
        done += len(val_split)
        progress.update(done, recipe.epochs * per_epoch, "training images")
        score = float(np.mean(list(scores.values())))
        history.epochs.append({"epoch": epoch, "loss": total_loss / len(train_split), **scores})
        if recipe.select == "last" or score > history.best_score:
            history.best_epoch, history.best_score = epoch, score
            if recipe.select == "best":
                best = {name: tensor.detach().clone() for name, tensor in learned.state_dict().items()}
        if kept is not None and kept.due and epoch < recipe.epochs:
            kept.write(
                {
                    "learned": learned.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "schedule": {k: v for k, v in schedule.state_dict().items() if not callable(v)},
                    "epochs": history.epochs,
                    "best_epoch": history.best_epoch,
                    "best_score": history.best_score,
                    "best": best,
                }
            )
    if best is not None:
        learned.load_state_dict(best)
    return history


def validate(
    classifier: Classifier,
    split: Split,
    objective: Objective,
    rng: Rng,
    batch_size: int,
    device: torch.device,
    memory: MicroBatches | None = None,
) -> dict[str, float]:
    """Return the share of validation images that each of the objective's criteria counts as right."""
    classifier.eval()
    memory = memory or MicroBatches(Progress())
    totals: dict[str, int] = {}
    for number, (x, y) in enumerate(batches(split, np.arange(len(split)), batch_size, device)):
        correct = partial(_correct, classifier, objective, x, y, rng.spawn(number))
        for part in memory.run(len(y), correct):
            for name, count in part.items():
                totals[name] = totals.get(name, 0) + count
    return {name: total / len(split) for name, total in totals.items()}


def batches(
    split: Split, order: Sequence[int] | np.ndarray, batch_size: int, device: torch.device
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images (n, C, H, W) and labels (n,) of `split` in `order`; the next batch is read in a thread meanwhile.

    A single image that would be left over joins the batch before it.
    """
    chunks = _chunks(np.asarray(order), batch_size)

    def read(indices: np.ndarray) -> tuple[Tensor, Tensor]:
        return split.images(indices.tolist()), torch.from_numpy(split.labels[indices])

    with ThreadPoolExecutor(1) as thread:
        pending = thread.submit(read, chunks[0]) if chunks else None
        for following in [*chunks[1:], None]:
            assert pending is not None
            x, y = pending.result()
            pending = thread.submit(read, following) if following is not None else None
            yield x.to(device, non_blocking=True), y.to(device, non_blocking=True)


def _chunks(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    chunks = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    if len(chunks) > 1 and len(chunks[-1]) == 1 < batch_size:
        # Batch norm cannot learn from a batch of one image where only one position is left.
        last = chunks.pop()
        chunks[-1] = np.concatenate([chunks[-1], last])
    return chunks


def augment(x: Tensor, recipe: TrainOptions, rng: Rng) -> Tensor:
    """Return images flipped and cropped at random as the recipe says, (N, C, H, W) as `x`."""
    count, _, height, width = x.shape
    if "flip" in recipe.augment:
        flipped = (torch.rand(count, generator=rng.spawn("flip").torch) < 0.5).to(x.device)
        x = torch.where(flipped.view(-1, 1, 1, 1), x.flip(3), x)
    if "crop" in recipe.augment:
        size = recipe.crop_padding
        padded = pad(x, (size, size, size, size))
        offsets = torch.randint(0, 2 * size + 1, (2, count), generator=rng.spawn("crop").torch).to(x.device)
        rows = (offsets[0][:, None] + torch.arange(height, device=x.device))[:, None, :, None]
        columns = (offsets[1][:, None] + torch.arange(width, device=x.device))[:, None, None, :]
        image = torch.arange(count, device=x.device)[:, None, None, None]
        channel = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
        x = padded[image, channel, rows, columns]
    return x


class MicroBatches:
    """Runs work on batches and halves them while memory runs out; the smaller size is kept, and said once.

    Args:
        progress: hears the warning.
        limit: most images at once, from the beginning.
    """

    def __init__(self, progress: Progress, limit: int | None = None) -> None:
        self.limit = limit
        self._progress = progress

    def run(self, count: int, work: Callable[[slice], Any], undo: Callable[[], None] | None = None) -> list[Any]:
        """Return `work(slice)` for slices that cover `count` images.

        Where `work` leaves something behind, such as gradients, `undo` clears it and all slices are worked anew: there
        is no telling how far the one that ran out of memory came.

        Raises:
            MemoryError: even a single image does not fit.
        """
        size = min(self.limit or count, count)
        results: list[Any] = []
        start = 0
        while start < count:
            try:
                results.append(work(slice(start, min(start + size, count))))
                start += size
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                # Drop the references that the traceback holds, or the memory stays taken.
                error.__traceback__ = None
                if size == 1:
                    raise MemoryError(f"out of memory with a batch of one image: {error}") from None
                size = max(1, size // 2)
                self.limit = size
                if undo is not None:
                    undo()
                    results.clear()
                    start = 0
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                self._progress.warn(f"out of memory: going on with batches of {size} images")
        return results


def is_out_of_memory(error: BaseException) -> bool:
    """Tell an out-of-memory error, of the GPU or of the host, from any other."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "out of memory" in text
        or "can't allocate memory" in text
        or "not enough memory" in text
        or "alloc_failed" in text  # cuBLAS and cuDNN
    )


def _backward(
    classifier: Classifier,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    x: Tensor,
    y: Tensor,
    rng: Rng,
    memory: MicroBatches,
) -> float:
    """Leave the gradient of the mean loss of a batch in the parameters, and return that loss."""

    def work(part: slice) -> float:
        share = len(y[part]) / len(y)
        loss = objective.loss(classifier, x[part], y[part], rng) * share
        loss.backward()
        return loss.item()

    optimizer.zero_grad(set_to_none=True)
    return sum(memory.run(len(y), work, undo=partial(optimizer.zero_grad, set_to_none=True)))


def _correct(
    classifier: Classifier, objective: Objective, x: Tensor, y: Tensor, rng: Rng, part: slice
) -> dict[str, int]:
    return {name: int(right.sum()) for name, right in objective.correct(classifier, x[part], y[part], rng).items()}


def _is_finite(learned: nn.Module) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in learned.state_dict().values())


def _optimizer(classifier: Classifier, objective: Objective, recipe: TrainOptions) -> torch.optim.Optimizer:
    own = {"params": [p for p in classifier.parameters() if p.requires_grad]}
    parameters = [own, *objective.parameter_groups()]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(parameters, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def _schedule(
    optimizer: torch.optim.Optimizer, recipe: TrainOptions, per_epoch: int
) -> torch.optim.lr_scheduler.LRScheduler:
    steps = recipe.epochs * per_epoch
    if recipe.schedule == "cosine":
        return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    if recipe.schedule == "onecycle":
        highest = [group["lr"] for group in optimizer.param_groups]
        return torch.optim.lr_scheduler.OneCycleLR(optimizer, highest, total_steps=steps + 1, cycle_momentum=False)
    if recipe.schedule == "step":
        marks = [(epoch - 1) * per_epoch for epoch in recipe.milestones]
        return torch.optim.lr_scheduler.MultiStepLR(optimizer, marks, recipe.gamma)
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
