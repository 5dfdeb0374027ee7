"""Tasks that look at a network: what alarms ask, and how far its classes lie apart."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from benchmark.plan.task import Look, Separate, Task
from benchmark.progress import Progress
from benchmark.states import flat_state
from benchmark.statistics import class_separation
from benchmark.store.store import Building
from benchmark.tasks.checks import finite
from benchmark.tasks.victims import victim_of
from benchmark.tasks.workshop import JUDGE_BATCH, Workshop, write_json
from benchmark.training import MicroBatches
from benchmark.trust.looks import SHOWN, evenly, look


def look_at(shop: Workshop, task: Task, building: Building, progress: Progress) -> int:
    """Look at what an attacker holds, or at the deployed classifier, with a few images."""
    spec = task.of(Look)
    split = shop.split(spec, spec.split)
    victim = victim_of(shop, spec.network, spec.held, split)
    indices = evenly(len(split), SHOWN)
    x = split.images(indices).to(shop.device)
    y = torch.from_numpy(split.labels[indices]).to(shop.device)
    # None alone: a network may refuse one image, and what depends on neighbours shows beside one alone.
    most = max(2, shop.at_once(split, gradients=True))
    memory = MicroBatches(progress, max((n for n in range(2, most + 1) if len(x) % n != 1), default=len(x)))
    seen = look(victim.classifier, x, y, memory, victim.detector_loss)
    write_json(building, "probe.json", seen.plain())
    return len(indices)


def separate(shop: Workshop, task: Task, building: Building, progress: Progress) -> int:
    """Measure how far apart the classes of clean images lie, (layers, images); NaN where that is not defined.

    And lay the states into the plane of their two largest variances, (layers, images, 2), with the shares of all
    variance, (layers, 2).
    """
    spec = task.of(Separate)
    split = shop.split(spec, spec.split)
    classifier, layers = shop.classifier(spec.classifier), spec.layers
    memory, states = MicroBatches(progress, shop.at_once(split)), {layer: list[np.ndarray]() for layer in layers}
    for start in range(0, len(split), JUDGE_BATCH):
        stop = min(start + JUDGE_BATCH, len(split))
        x = split.images(range(start, stop)).to(shop.device)

        def work(part: slice, x: Tensor = x) -> dict[str, Tensor]:
            with torch.no_grad():
                return classifier.features(x[part], layers)

        for seen in memory.run(stop - start, work):
            for layer in layers:
                state = finite(seen[layer], f"the state at the layer {layer!r}", start)
                states[layer].append(flat_state(state).cpu().numpy())
        progress.update(stop, len(split))
    whole = [np.concatenate(states[layer]) for layer in layers]
    found = [class_separation(features, split.labels) for features in whole]
    planes = [_plane(features) for features in whole]
    undefined = np.full(len(split), np.nan)
    with building.storing():
        np.save(building.out / "separation.npy", np.stack([undefined if one is None else one for one in found]))
        np.save(building.out / "planes.npy", np.stack([points for points, _ in planes]))
        np.save(building.out / "shares.npy", np.stack([shares for _, shares in planes]))
    return len(split)


def _plane(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, D) in the plane of their two largest variances (N, 2), and these as shares of all (2,)."""
    from sklearn.decomposition import PCA

    wide = features if features.shape[1] > 1 else np.pad(features, ((0, 0), (0, 1)))
    fitted = PCA(2, svd_solver="covariance_eigh").fit(wide.astype(np.float64))
    # Where nothing varies there are no shares of it.
    return fitted.transform(wide).astype(np.float32), np.nan_to_num(fitted.explained_variance_ratio_)
