"""Prototypes, auxiliary branches and the loss that holds features to them.

Mustafa, Khan, Hayat, Goecke, Shen, Shao, "Adversarial Defense by Restricting the Hidden Space of Deep Neural Networks",
ICCV 2019: Eq. 5 (the loss), Eq. 6 (the nearest prototype), Eq. 8 and 9 (auxiliary branches).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from benchmark import capturing


def distances(features: Tensor, prototypes: Tensor) -> Tensor:
    """Return the Euclidean distances (N, K) of features (N, D) to prototypes (K, D); the gradient at distance 0 is 0.

    Differences are taken before they are squared: the shorter way by products loses small distances in float32.
    """
    return torch.cdist(features, prototypes, compute_mode="donot_use_mm_for_euclid_dist")


def _of_own(values: Tensor, y: Tensor) -> Tensor:
    return values.gather(1, y[:, None]).squeeze(1)


def _mean_of_others(values: Tensor, y: Tensor) -> Tensor:
    return (values.sum(1) - _of_own(values, y)) / (values.shape[1] - 1)


def conformity(features: Tensor, y: Tensor, prototypes: Tensor, attract: float = 1.0, repel: float = 1.0) -> Tensor:
    """Return the prototype conformity loss (N,) of Eq. 5, per image.

    ||f - w_y|| - 1/(K - 1) sum_{j != y} (||f - w_j|| + ||w_y - w_j||), the first term weighted by `attract` and the
    second by `repel` (both 1 in the paper).

    Args:
        features: (N, D).
        y: (N,) class indices.
        prototypes: (K, D), K >= 2.
    """
    to_all = distances(features, prototypes)
    between = distances(prototypes, prototypes)[y]
    return attract * _of_own(to_all, y) - repel * (_mean_of_others(to_all, y) + _mean_of_others(between, y))


def released_conformity(
    features: Tensor, y: Tensor, attracting: Tensor, repelling: Tensor, attract: float = 1.0, repel: float = 1e-4
) -> Tensor:
    """Return the loss (N,) of the authors' released code, per image.

    attract ||f - a_y||^2 - repel / (K - 1) sum_{j != y} ||f - r_j||^2, with attracting prototypes a and repelling r,
    each (K, D).
    """
    near, far = distances(features, attracting).square(), distances(features, repelling).square()
    return attract * _of_own(near, y) - repel * _mean_of_others(far, y)


class Head(nn.Module):
    """What the loss has at one layer: the branch that maps its state to features, and the prototypes.

    Args:
        width: channels of the layer's state.
        outputs: of the branch's fully connected layer; None for no branch.
        num_classes: number of prototypes.
        released: with a second set of prototypes, to be far from.
        branch_classifier: with a linear classifier on the features, for the cross-entropy of Eq. 8.
    """

    def __init__(
        self,
        width: int,
        outputs: int | None,
        num_classes: int,
        released: bool,
        branch_classifier: bool,
    ) -> None:
        super().__init__()
        self.branch = nn.Identity() if outputs is None else nn.Linear(width, outputs)
        size = width if outputs is None else outputs
        # As in the released code, from a standard normal distribution.
        self.prototypes = nn.Parameter(torch.randn(num_classes, size))
        self.repelling = nn.Parameter(torch.randn(num_classes, size)) if released else None
        self.classifier = nn.Linear(size, num_classes) if branch_classifier else None

    def forward(self, state: Tensor) -> Tensor:
        """Return the features (N, D) of a state (N, C, H, W) or (N, D)."""
        features: Tensor = self.branch(state.flatten(2).mean(2) if state.dim() > 2 else state)
        return features


class Heads(nn.Module):
    """The heads at all layers, and the joint loss over them.

    Args:
        heads: in the order of the layers.
        layers: their names, as `Classifier.features` knows them.
        attract, repel: weights of the two parts of the loss.
    """

    def __init__(self, heads: list[Head], layers: tuple[str, ...], attract: float, repel: float) -> None:
        super().__init__()
        self.heads = nn.ModuleList(heads)
        self.layers = layers
        self.attract, self.repel = attract, repel

    def conformity(self, states: Mapping[str, Tensor], y: Tensor) -> Tensor:
        """Return the sum (N,) over layers of the loss, and of the branches' cross-entropies where there are any."""
        total = torch.zeros(len(y), device=y.device)
        for layer, head in zip(self.layers, self.heads):
            assert isinstance(head, Head)
            features = head(states[layer])
            if head.repelling is None:
                total = total + conformity(features, y, head.prototypes, self.attract, self.repel)
            else:
                total = total + released_conformity(
                    features, y, head.prototypes, head.repelling, self.attract, self.repel
                )
            if head.classifier is not None:
                total = total + cross_entropy(head.classifier(features), y, reduction="none")
        return total

    def joint(self, states: Mapping[str, Tensor], y: Tensor, label_smoothing: float = 0.0) -> Tensor:
        """Return cross-entropy plus `conformity` (N,): what Algorithm 1 minimises, and its adaptive attacker ascends.

        Args:
            states: of `Classifier.features`, with the logits.
            y: (N,) class indices.
            label_smoothing: of the cross-entropy at the network's end.
        """
        learned = cross_entropy(states["logits"], y, reduction="none", label_smoothing=label_smoothing)
        return learned + self.conformity(states, y)


class NearestPrototype(nn.Module):
    """A network that answers by the prototypes at one layer of another network (Eq. 6).

    Args:
        network: the other one; what comes after the layer is computed and not used.
        layer: as `Classifier.features` knows it.
        head: of that layer.
    """

    def __init__(self, network: nn.Module, layer: str, head: Head) -> None:
        super().__init__()
        self.head = head
        self.network = network
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return the negative distances (N, K) of normalised images (N, C, H, W) to the prototypes."""
        with capturing(self.network, (self.layer,)) as states:
            self.network(x)
        return -distances(self.head(states[self.layer]), self.head.prototypes)
