"""PCL: a network whose features of one class lie together and far from those of the others.

Mustafa, Khan, Hayat, Goecke, Shen, Shao, "Adversarial Defense by Restricting the Hidden Space of Deep Neural Networks",
ICCV 2019: Algorithm 1 (the training, in two phases), Eq. 6 (classification), section 5.1 (the adversarial variants).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench_pcl.options import AdversarialPartOptions, PclOptions
from bench_pcl.prototypes import Head, Heads, NearestPrototype
from benchmark import (
    Classifier,
    CraftingObjective,
    CraftingOptions,
    FitContext,
    InputError,
    Objective,
    Passes,
    PublishedAttack,
    Rng,
    Setting,
    TrainedHardener,
    TrainOptions,
    capturing,
    craft,
    draw_eps,
    read_tensors,
    save_weights,
    unchanged,
)


class PrototypeObjective(CraftingObjective):
    """The joint loss of Algorithm 1, on clean images or on clean and attacked ones together."""

    trained: Heads

    def __init__(self, options: PclOptions, heads: Heads, recipe: TrainOptions) -> None:
        super().__init__(options.adversarial, recipe)
        self._options = options
        self._recipe = recipe
        self.trained = heads

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the branches, which follow the recipe, and the prototypes, which have a rate of their own."""
        released = self._options.form == "as-released"
        # The released code divides the prototypes' gradients by the weights of their losses.
        near = self._options.prototype_lr or (0.5 if released else self._recipe.lr)
        plain = {"momentum": 0.0, "weight_decay": 0.0} if self._recipe.optimizer == "sgd" else {"weight_decay": 0.0}
        branches: list[nn.Parameter] = []
        attracting: list[nn.Parameter] = []
        repelling: list[nn.Parameter] = []
        for name, parameter in self.trained.named_parameters():
            kind = name.rpartition(".")[2]
            {"prototypes": attracting, "repelling": repelling}.get(kind, branches).append(parameter)
        groups: list[dict[str, Any]] = [
            {"params": branches},
            {"params": attracting, "lr": near / self._options.attract if released else near, **plain},
        ]
        if released:
            far = self._options.repelling_lr / self._options.repel_weight
            groups.append({"params": repelling, "lr": far, **plain})
        return [group for group in groups if group["params"]]

    def loss(self, classifier: Classifier, x: Tensor, y: Tensor, rng: Rng) -> Tensor:
        """Return the mean joint loss of a batch; half of it attacked where the options say so."""
        adversarial = self._options.adversarial
        if adversarial is not None:
            x, y = torch.cat([x, self._attacked(classifier, adversarial, x, y, rng)]), torch.cat([y, y])
        return self.trained.joint(classifier.features(x, self.trained.layers), y, self.label_smoothing).mean()

    def _attacked(
        self, classifier: Classifier, crafting: AdversarialPartOptions, x: Tensor, y: Tensor, rng: Rng
    ) -> Tensor:
        def joint(images: Tensor) -> Tensor:
            return self.trained.joint(classifier.features(images, self.trained.layers), y)

        loss = joint if self._options.ascended == "joint" else None
        with unchanged(classifier, crafting.crafting_mode):
            return craft(classifier, x, y, crafting, draw_eps(crafting, rng), rng, loss)


class Pcl(TrainedHardener):
    """A network trained with the prototype conformity loss."""

    Options = PclOptions
    options: PclOptions
    _heads: Heads
    _network: nn.Module

    @property
    def published_attacks(self) -> tuple[PublishedAttack, ...]:  # type: ignore[override]
        """What AutoAttack left of the authors' network; of one with adversarial training nothing was published."""
        broken = PublishedAttack(
            "Croce and Hein 2020, arXiv:2003.01690, README of AutoAttack", 0.0028, "CIFAR-10, linf 8/255"
        )
        return () if self.options.adversarial is not None else (broken,)

    def passes(self, train: int, val: int, recipe: TrainOptions | None) -> Passes | None:
        """Return the passes of all epochs."""
        recipe = self.options.recipe(recipe)
        if recipe is None:
            return None
        adversarial = self.options.adversarial
        per_image = 1 if adversarial is None else 2 + adversarial.steps_taken
        images = recipe.epochs * train * per_image
        checked = CraftingObjective.passes(adversarial, recipe)
        return Passes(images + recipe.epochs * val * checked.forward, images + recipe.epochs * val * checked.backward)

    def check_setting(self, setting: Setting) -> None:
        """Look whether there are two classes, so that there is something to be far from, and states with a width.

        Raises:
            InputError: there are not, or the training cannot be done.
        """
        super().check_setting(setting)
        if len(setting.data.class_names) < 2:
            raise InputError(
                f"pcl: the loss needs two or more classes; this data set has {len(setting.data.class_names)}."
            )
        _widths(setting.states(self.layers()) or {}, self.layers())

    def crafting(self) -> tuple[CraftingOptions, ...]:
        """Return how the attacked half is made, and those of validation; nothing where there are none."""
        return () if self.options.adversarial is None else self.options.adversarial.attacks

    def layers(self) -> tuple[str, ...]:
        """Return the layers that the loss is applied to."""
        return tuple(self.options.layers)

    def objective(self, context: FitContext, classifier: Classifier, recipe: TrainOptions) -> Objective:
        """Return the joint loss, with fresh heads.

        Raises:
            InputError: the network lacks a layer, or a layer's state has no width.
        """
        layers = tuple(self.options.layers)
        with torch.no_grad():
            classifier.eval()
            states = classifier.features(torch.zeros(2, *context.train.image_shape, device=context.device), layers)
        widths = _widths(states, layers)
        with context.rng.spawn("prototypes").seeded_globals():
            self._heads = self._new_heads(widths).to(context.device)
        return PrototypeObjective(self.options, self._heads, recipe)

    def _new_heads(self, widths: Mapping[str, int]) -> Heads:
        released = self.options.form == "as-released"
        heads = [
            Head(width, self.options.layers[layer], len(self.class_names), released, self.options.branch_cross_entropy)
            for layer, width in widths.items()
        ]
        return Heads(heads, tuple(widths), self.options.attract, self.options.repel_weight)

    def _deploy(self, classifier: Classifier) -> Classifier:
        """Let `classifier` answer as `classify` says."""
        self._network = classifier.network
        if self.options.classify == "nearest-prototype":
            last = self._heads.heads[-1]
            assert isinstance(last, Head)
            classifier.network = NearestPrototype(classifier.network, self._heads.layers[-1], last)
        return classifier

    def harden(self, context: FitContext) -> Classifier:
        """Return the network of the selected epoch, which answers as `classify` says."""
        return self._deploy(super().harden(context))

    def save(self, folder: Path) -> None:
        """Write the network and the heads as safetensors."""
        super().save(folder)
        save_weights(self._heads, folder / "heads.safetensors")

    def load(self, folder: Path) -> None:
        """Read what `save` wrote, into the untrained network that the host has set."""
        tensors = read_tensors(folder / "heads.safetensors")
        widths = {
            layer: tensors[f"heads.{i}.prototypes" if outputs is None else f"heads.{i}.branch.weight"].shape[1]
            for i, (layer, outputs) in enumerate(self.options.layers.items())
        }
        self._heads = self._new_heads(widths)
        self._heads.load_state_dict(tensors)
        self._heads.to(self.device).eval().requires_grad_(False)
        self._deploy(self.classifier)
        super().load(folder)

    def training_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the joint loss (N,) of Algorithm 1 and what is answered, of images (N, C, H, W) with labels (N,).

        The loss has the network's own logits, also where the nearest prototype is the answer.
        """
        with capturing(self._network, (*self._heads.layers, "")) as states:
            answer = self.classifier(x)
        states["logits"] = states.pop("").float()
        return self._heads.joint(states, y), answer


def _widths(states: Mapping[str, Tensor], layers: Sequence[str]) -> dict[str, int]:
    """Return the number of channels or units per layer, of the layers whose states are known."""
    for layer in layers:
        if layer in states and states[layer].dim() < 2:
            raise InputError(f"pcl: the state of the layer {layer!r} is one number per image; name another layer.")
    return {layer: states[layer].shape[1] for layer in layers if layer in states}
