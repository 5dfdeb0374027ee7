"""Tasks that judge: the verdicts of a defense, and the threshold that the host flags by."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmark.dataset import Split
from benchmark.defense import (
    Defense,
    Hardener,
)
from benchmark.errors import TaskError
from benchmark.isolation.bystander import UnansweredError
from benchmark.model import passes
from benchmark.plan.task import Judge, Task, Threshold
from benchmark.progress import Progress
from benchmark.randomness import Rng
from benchmark.statistics import threshold_at_fpr
from benchmark.store.arrays import ArrayReader
from benchmark.store.store import Building
from benchmark.tasks.elsewhere import ask_elsewhere
from benchmark.tasks.verdicts import AGAIN, AGAIN_ALONE, VERDICT, answers_of, disagreements, spread_of, verdict_on
from benchmark.tasks.workshop import Workshop, write_json
from benchmark.wording import percent


def judge(shop: Workshop, task: Task, building: Building, progress: Progress) -> int:
    """Let a fitted defense judge images, and look whether it judges each by itself."""
    spec = task.of(Judge)
    split = shop.split(spec, spec.split)
    defense = shop.fitted(spec.fit)
    rng = Rng(spec.seed).spawn(task.identity)
    logits = shop.reader(spec.predict) if spec.predict else None
    observed = {name: shop.reader(key) for name, key in spec.observed.items()}

    def tensors(reader: ArrayReader, low: int, high: int) -> dict[str, Tensor]:
        return {name: torch.from_numpy(a).to(shop.device) for name, a in reader.read(low, high).items()}

    def work(start: int, stop: int, part: slice, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        low, high = start + part.start, start + part.stop
        known = tensors(logits, low, high)["logits"] if logits is not None else None
        seen = {name: tensors(reader, low, high) for name, reader in observed.items()}
        verdicts = [
            verdict_on(defense, x, known, seen, rng.spawn(start, part.start, repeat), start)
            for repeat in range(spec.repeats)
        ]
        answer = answers_of(verdicts)
        return {**answer, **{f"detail.{name}": array for name, array in verdicts[0].details.items()}}

    count = shop.per_image(task, split, spec.craft, spec.batch_size, building, progress, work)
    with passes.uncounted():
        _check_neighbours(shop, task, defense, split, ArrayReader(building.out), min(AGAIN, spec.batch_size))
    return count


def _check_neighbours(
    shop: Workshop, task: Task, defense: Defense, split: Split, judged: ArrayReader, most: int
) -> None:
    """Judge some images again, in another company and alone; clean ones of the evaluation in another process, too.

    Raises:
        TaskError: the verdict depends on the neighbours, or on what this process did before.
    """
    spec = task.of(Judge)
    rng = Rng(spec.seed).spawn(task.identity, "neighbours")
    chosen = rng.numpy.permutation(len(split))[:most].tolist()
    x = (
        split.images(chosen) if spec.craft is None else torch.from_numpy(shop.reader(spec.craft).take("x_adv", chosen))
    ).to(shop.device)
    logits = shop.rows(shop.reader(spec.predict), chosen)["logits"] if spec.predict else None
    observed = {name: shop.rows(shop.reader(key), chosen) for name, key in spec.observed.items()}
    first = {name: rows for name, rows in shop.rows(judged, chosen).items() if name in VERDICT}

    def again(part: slice, strangers: Tensor | None = None) -> dict[str, Tensor]:
        """Judge a part of the images, with clean ones among them where these cost little."""
        these, known = x[part], logits[part] if logits is not None else None
        seen = {name: {key: array[part] for key, array in rows.items()} for name, rows in observed.items()}
        if strangers is not None:
            these = torch.cat([strangers, these])
            known = None if known is None else torch.cat([defense.classifier(strangers), known])
            for name, request in defense.observations().items():
                found = defense.classifier.features(strangers, request.layers)
                seen[name] = {key: torch.cat([found[key], array]) for key, array in seen[name].items()}
        verdicts = [
            verdict_on(defense, these, known, seen, rng.spawn(part.start, repeat), 0) for repeat in range(spec.repeats)
        ]
        return {name: array[-len(x[part]) :] for name, array in answers_of(verdicts).items()}

    cheap = all(request.artifact is None for request in defense.observations().values())
    clean = split.images(chosen[: len(chosen) // 2]).to(shop.device) if spec.craft and cheap else None
    with torch.no_grad():
        together = again(slice(0, len(chosen)), clean)
        alone = [again(slice(one, one + 1)) for one in range(min(AGAIN_ALONE, len(chosen)))]
    spread = spread_of(judged, "score") if "score" in judged.names else None
    for company, answers in (
        ("among other images", together),
        ("alone", {name: torch.cat([one[name] for one in alone]) for name in alone[0]}),
    ):
        same = {name: rows[: len(answers["label"])] for name, rows in first.items()}
        wrong = disagreements(same, answers, spread, defense.randomised)
        if wrong:
            raise TaskError(
                f"the verdict depends on the neighbours in the batch: {wrong} of {len(answers['label'])} images "
                f"when they are judged again {company}. Judge each image by itself; what a batch is compared with "
                "belongs into `fit`."
            )
    if spec.craft is not None or spec.predict is None or type(defense).judge is Hardener.judge:
        return  # one question per fit: it may cost seconds where networks are large
    try:
        folder = shop.store.open(spec.fit)
        fresh = ask_elsewhere(shop, spec.fit, folder, split, x, logits, observed, rng, spec.repeats)
    except UnansweredError:
        return  # where there was something to fit, the fit has said so
    except TaskError as error:
        raise TaskError(f"some images cannot be judged in another process: {error}") from None
    wrong = disagreements(first, fresh, spread, defense.randomised)
    if wrong:
        raise TaskError(
            f"the verdict depends on what was judged before: {wrong} of {len(x)} images when a process that has "
            "judged nothing yet judges them. Keep nothing in classes or modules; what is learnt belongs into `fit`."
        )


def threshold(shop: Workshop, task: Task, building: Building, progress: Progress) -> int:
    """Set the threshold above which the host flags, on the scores of clean validation images."""
    spec = task.of(Threshold)
    rate, judged = spec.false_positive_rate, shop.reader(spec.judge)
    found: dict[str, Any] = {"threshold": None, "flagged": None}
    if "score" in judged.names and "flagged" not in judged.names:
        scores = judged.read(names=["score"])["score"].ravel()
        found["threshold"] = threshold_at_fpr(scores, rate)
        found["flagged"] = float((scores > found["threshold"]).mean())
        tied = float((scores == scores.max()).mean())
        if tied > rate:
            progress.warn(
                f"{percent(tied)} of the clean validation images share the highest score, more than the "
                f"false-positive rate of {percent(rate)}: no threshold keeps that rate, so no such image is "
                "flagged. Let the score tell more images apart, or allow a higher rate."
            )
    write_json(building, "threshold.json", found)
    return len(judged)
