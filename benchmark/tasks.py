"""What a worker does: every kind of task, from its plain specification to a published artifact."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import resource
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.attack import TOLERANCE, Attack, ClassLikelihoods, Victim, perturbation_size
from benchmark.dataset import Dataset, PartAnnotations, Split
from benchmark.defense import (
    NO_LABEL,
    Batch,
    Defense,
    FitContext,
    Hardener,
    Measure,
    SharedArtifact,
    Verdict,
    offers,
)
from benchmark.errors import BenchError, StorageError, TaskError
from benchmark.examination import draw, margins, recorded, roughness, stacked
from benchmark.files import remove
from benchmark.isolation import Bystander, IsolationError, Lent, UnansweredError, is_lasting, isolated, unchanged
from benchmark.model import Classifier, Model, load_weights, passes, save_weights
from benchmark.options import TrainOptions
from benchmark.plan.task import Task
from benchmark.plugins import Registry
from benchmark.progress import Progress
from benchmark.randomness import Rng
from benchmark.states import flat_state
from benchmark.statistics import class_separation, threshold_at_fpr
from benchmark.store import ArrayReader, ArrayWriter, Building, DamagedArtifactError, Store
from benchmark.training import MicroBatches, train
from benchmark.trust.looks import SHOWN, evenly, look
from benchmark.trust.probe_kinds import DRAWN, DRAWS, NOISE, NOISES, RERUN
from benchmark.wording import percent

T = TypeVar("T")
KEPT = 4
"""Classifiers, shared artifacts and data sets that a worker keeps in memory, each."""

_WHO = {
    "train": "the model",
    "artifact": "the shared artifact",
    "assess": "the shared artifact",
    "fit": "the defense",
    "craft": "the attack",
    "predict": "the model",
    "look": "the network looked at",
    "separate": "the model",
    "examine": "the attack",
    "observe": "what observes",
    "judge": "the defense",
    "threshold": "the host",
    "verify": "the attack",
}
"""Whose code a kind of task runs."""


class Worker:
    """Runs tasks in this process.

    Args:
        store: where artifacts are read and published.
        registry: all plugins.
        device: where networks and batches go.
        threads: torch threads; fixed for a run, since sums in another order differ in their last bits.
        tasks: all tasks of the plan by key, to make a defense from the tasks it was made by.
        fresh: do a task even if its artifact is there.
    """

    def __init__(
        self,
        store: Store,
        registry: Registry,
        device: torch.device,
        threads: int,
        tasks: dict[str, Task],
        fresh: bool = False,
    ) -> None:
        self.store = store
        self.registry = registry
        self.device = device
        self.tasks = tasks
        self.fresh = fresh
        self._splits: OrderedDict[Any, Split] = OrderedDict()
        self._datasets: OrderedDict[Any, Dataset] = OrderedDict()
        self._classifiers: OrderedDict[Any, Lent] = OrderedDict()
        self._artifacts: OrderedDict[Any, Lent] = OrderedDict()
        self._lent: dict[int, Lent] = {}
        self._handed: list[HandedSplit] = []
        torch.set_num_threads(threads)
        self._bystander = Bystander(self._judged_elsewhere)
        if device.type == "cuda":
            # Its generator is seeded with the others only once it is there: the first task would draw otherwise.
            torch.cuda.init()

    def run(self, task: Task, progress: Progress) -> dict[str, Any]:
        """Do the task, publish its artifact and return what it cost.

        Raises:
            TaskError: a plugin answered with something unusable.
            InputError: data, weights or options turned out to be unusable.
            DamagedArtifactError: an artifact has to be made again, be it the task's own.
            StorageError: the artifact cannot be written, since no space is left.
        """
        try:
            return self._run(task, progress)
        except (DamagedArtifactError, StorageError):
            raise
        except Exception as error:
            damaged = self.store.recheck(self._inputs(task))
            if damaged is None:
                raise
            raise damaged from error

    def _inputs(self, task: Task) -> set[str]:
        """Return the keys of all that a task may have read, and of what that was made from."""
        found: set[str] = set()
        pending = [*task.needs]
        while pending:
            key = pending.pop()
            if key not in found:
                found.add(key)
                pending.extend(self.tasks[key].needs)
        return found

    def _run(self, task: Task, progress: Progress) -> dict[str, Any]:
        def waiting(holder: str) -> None:
            progress.note(f"waiting for {holder}, which is at work on it too")

        with self.store.building(task.key, self.fresh, waiting) as building:
            if building is None:  # another run made it while we waited
                return self.store.meta(task.key)
            if task.kind in ("train", "artifact", "fit", "examine"):  # whatever lies there was not finished
                with building.storing():
                    _empty(building.out)
            before, started, measured = passes.copy(), perf_counter(), _peak_memory(self.device)
            try:
                with self._guarded(task):
                    images = getattr(self, f"_{task.kind}")(task, building, progress)
            except IsolationError:
                _empty(building.out, building.work)  # or the next try would go on with it
                raise
            spent = passes - before
            meta = {
                "kind": task.kind,
                "label": task.label,
                "seconds": perf_counter() - started,
                "images": images,
                "forward": spent.forward,
                "backward": spent.backward,
                "peak_memory_bytes": measured(),
                "device": str(self.device),
            }
            building.publish(meta)
            return meta

    @contextlib.contextmanager
    def _guarded(self, task: Task) -> Iterator[None]:
        """Let nothing that the task's plugins do to what they were handed, or to the process, reach another task.

        Raises:
            IsolationError: what was changed, and what to do instead.
        """
        who = _WHO.get(task.kind, "the task")
        self._lent, self._handed = {}, []
        try:
            with isolated(who, threads=True), Rng(0).spawn("globals", task.identity).seeded_globals():
                yield
        except Exception as error:
            changed = self._take_back()
            if changed and (not isinstance(error, BenchError) or isinstance(error, TaskError)):
                text = f"{who} changed {changed} (And then {type(error).__name__}: {error})"
                raise IsolationError(text, is_lasting(error)) from error
            raise
        changed = self._take_back()
        if changed:
            raise IsolationError(f"{who} changed {changed}")

    def _take_back(self) -> str:
        """Drop what is not as it was when the task got it, and return it in words."""
        found = [split.changed() for split in self._handed]
        for lent in self._lent.values():
            changed = lent.changed()
            found.append(changed)
            if not lent.keep:
                for kept in (self._classifiers, self._artifacts):
                    for key in [key for key, value in kept.items() if value is lent]:
                        del kept[key]
        return " Also ".join(filter(None, found))

    # -- kinds of task ------------------------------------------------------------------------------------------------

    def _train(self, task: Task, building: Building, progress: Progress) -> int:
        spec = task.spec
        rng = Rng(spec["seed"]).spawn(task.identity)
        data, validation = self._split(spec, "train"), self._split(spec, "val")
        model = self._model(spec["model"])
        classifier = model.build(len(data.class_names), data.image_shape, rng.spawn("weights"), progress)
        recipe: TrainOptions | None = model.options.train
        if recipe is not None:
            history = train(
                classifier,
                data,
                validation,
                recipe,
                rng=rng,
                device=self.device,
                progress=progress,
                checkpoint=building.work,
            )
            _write_json(building, "history.json", asdict(history))
        with building.storing():
            save_weights(classifier, building.out / "weights.safetensors")
        return len(data) if recipe is not None else 0

    def _artifact(self, task: Task, building: Building, progress: Progress) -> int:
        spec = task.spec
        artifact = self._new_artifact(spec)
        context = self._context(task, building, progress, spec["train"], None, {}, [], [])
        artifact.build(context)
        with building.storing():
            artifact.save(building.out)
        return len(context.train)

    def _assess(self, task: Task, building: Building, progress: Progress) -> int:
        split = self._split(task.spec, task.spec["split"])
        measures = self._shared(task.spec["artifact"]).assess(split, progress)
        for name, measure in measures.items():
            if not isinstance(measure, Measure) or not math.isfinite(measure.value):
                raise TaskError(f"assess returned {measure!r} for {name!r} instead of a Measure with a finite value")
        _write_json(building, "measures.json", {name: asdict(measure) for name, measure in measures.items()})
        return len(split)

    def _fit(self, task: Task, building: Building, progress: Progress) -> int:
        spec = task.spec
        defense = self._new_defense(spec)
        context = self._context(
            task,
            building,
            progress,
            spec["train"],
            spec["model"],
            {name: self._shared(key) for name, key in spec["artifacts"].items()},
            spec["observed"],
            spec["attacked"],
        )
        self._attach(defense, spec, context.train)
        defense.fit(context)
        with passes.uncounted():
            self._save_whole(defense, task, context.val, building, progress)
        return len(context.train)

    def _save_whole(self, defense: Defense, task: Task, val: Split, building: Building, progress: Progress) -> None:
        """Save a fitted defense, after a look whether it judges alike when another process has loaded it.

        Raises:
            TaskError: it does not.
        """
        if type(defense).fit is Defense.fit:  # nothing to save
            with building.storing():
                defense.save(building.out)
            return
        chosen = evenly(len(val), AGAIN)
        x = val.images(chosen).to(self.device)
        rng = Rng(task.spec["seed"]).spawn(task.identity, "saved whole")
        # What costs much to observe is not observed twice.
        observed = {
            one["name"]: self._rows(self._reader(one["key"]), chosen)
            for one in task.spec["observed"]
            if (one["split"], one["attack"]) == ("val", None) and defense.observations()[one["name"]].artifact
        }
        for name, request in defense.observations().items():
            if name not in observed and request.artifact is not None:
                with torch.no_grad():
                    observed[name] = dict(defense.shared[request.artifact].observe(x.clone()))
        before = _answers([self._verdict(defense, x, None, observed, Rng(rng.seed).spawn(0), 0)])
        with building.storing():
            defense.save(building.out)
        try:
            after = self._ask_elsewhere(task.key, building.out, val, x, None, observed, rng, 1)
        except UnansweredError as error:
            progress.warn(f"not checked whether another process judges alike by what `save` wrote: {error}")
            return
        except TaskError as error:
            raise TaskError(
                f"what `save` wrote cannot be judged by in another process, after `load`: {error}"
            ) from None
        wrong = _disagreements(before, after)
        if wrong:
            raise TaskError(
                f"the fit is not saved whole: {wrong} of {len(x)} validation images between the fitted defense and one "
                "that another process loaded. `save` must write all that `judge` reads, and `load` read it."
            )

    def _ask_elsewhere(
        self,
        fit: str,
        folder: Path,
        data: Split,
        x: Tensor,
        logits: Tensor | None,
        observed: dict[str, dict[str, Tensor]],
        rng: Rng,
        repeats: int,
    ) -> dict[str, Tensor]:
        """Return what a process in which no plugin has worked says about images, by what a fit saved in `folder`.

        Raises:
            UnansweredError: there is none, or it took too long.
            TaskError: what went wrong there.
        """
        rows = {name: {part: array.cpu().numpy() for part, array in rows.items()} for name, rows in observed.items()}
        names = _NamesOnly(data.class_names, data.image_shape)
        known = None if logits is None else logits.cpu().numpy()
        answers = self._bystander.ask(_Question(fit, folder, names, x.cpu().numpy(), known, rows, rng, repeats))
        return {name: torch.from_numpy(array) for name, array in answers.items()}

    def _judged_elsewhere(self, question: _Question) -> dict[str, np.ndarray]:
        """Load what a fit has saved so far, and judge; on the CPU, since a fork may not use a GPU."""
        self.device = torch.device("cpu")
        torch.set_num_threads(1)
        spec = self.tasks[question.fit].spec
        self._splits[spec["dataset"]["label"], "train"] = question.data
        defense = self._loaded(spec, question.folder)
        x = torch.from_numpy(question.x)
        logits = None if question.logits is None else torch.from_numpy(question.logits)
        observed = {
            name: {part: torch.from_numpy(array) for part, array in rows.items()}
            for name, rows in question.observed.items()
        }
        verdicts = [
            self._verdict(defense, x, logits, observed, question.rng.spawn(repeat), 0)
            for repeat in range(question.repeats)
        ]
        changed = self._take_back()
        if changed:
            raise IsolationError(f"the defense changed {changed}")
        return {name: array.numpy() for name, array in _answers(verdicts).items()}

    def _craft(self, task: Task, building: Building, progress: Progress) -> int:
        spec = task.spec
        attack: Attack = self.registry.create("attack", spec["attack"]["use"], spec["attack"]["options"])
        split = self._split(spec, spec["split"])
        victim = self._victim(spec["victim"], spec["held"], split, spec.get("draws", 1))
        rng = Rng(spec["seed"]).spawn(task.identity)
        eps = attack.options.eps

        def work(start: int, stop: int, part: slice, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            # One source per batch and sub-batch, so that an interruption does not shift the draws.
            handed, labels = x.clone(), y.clone()
            x_adv = attack.craft(victim, handed, labels, rng.spawn(start, part.start))
            if not unchanged(handed, x) or not unchanged(labels, y):
                raise IsolationError("the attack wrote into the images or labels that it was handed: x.clone() first")
            _check_adversarial(x_adv, x, attack.options.norm, eps, start + part.start)
            x_adv = x_adv.detach().float().clamp(0, 1)
            return {"x_adv": x_adv, "size": perturbation_size(x_adv - x, attack.options.norm)}

        return self._per_image(task, split, None, spec["batch_size"], building, progress, work)

    def _predict(self, task: Task, building: Building, progress: Progress) -> int:
        spec = task.spec
        split = self._split(spec, spec["split"])
        classifier = self._classifier(spec["classifier"])

        def work(start: int, stop: int, part: slice, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            with torch.no_grad():
                return {"logits": _finite(classifier(x), "the classifier's logits", start)}

        return self._per_image(task, split, spec["craft"], JUDGE_BATCH, building, progress, work)

    def _observe(self, task: Task, building: Building, progress: Progress) -> int:
        spec = task.spec
        split = self._split(spec, spec["split"])
        observe: Callable[[Tensor], dict[str, Tensor]]
        if spec["layers"] is None:
            artifact = self._shared(spec["observer"])

            def observe(x: Tensor) -> dict[str, Tensor]:
                handed = x.clone()
                seen = artifact.observe(handed)
                if not unchanged(handed, x):
                    raise IsolationError("observe wrote into the images that it was handed: x.clone() first")
                return seen
        else:
            classifier, layers = self._classifier(spec["observer"]), spec["layers"]

            def observe(x: Tensor) -> dict[str, Tensor]:
                return classifier.features(x, layers)

        def work(start: int, stop: int, part: slice, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            with torch.no_grad():
                try:
                    seen = observe(x).items()
                    return {name: _finite(array, f"the observation {name!r}", start) for name, array in seen}
                except TaskError as error:
                    if spec["layers"] is None:
                        raise
                    raise TaskError(
                        f"{error}. Name another layer, or train the network so that its activations stay finite."
                    ) from None

        count = self._per_image(task, split, spec["craft"], JUDGE_BATCH, building, progress, work)
        if spec["layers"] is None and spec["craft"] is None:
            with passes.uncounted():
                self._check_observed_alone(split, observe, ArrayReader(building.out))
        return count

    def _check_observed_alone(
        self, split: Split, observe: Callable[[Tensor], dict[str, Tensor]], observed: ArrayReader
    ) -> None:
        """Let some images be observed again, one by one.

        Raises:
            TaskError: what is observed depends on the neighbours.
        """
        chosen, others = evenly(len(split), AGAIN_ALONE), []
        spread = {name: _spread(observed, name) for name in observed.names}
        for index, x in zip(chosen, split.images(chosen).to(self.device)):
            with torch.no_grad():
                alone = observe(x[None])
            for name, row in self._rows(observed, [index]).items():
                near = (alone[name].double() - row.double()).abs() <= SCORE_TOLERANCE * spread[name]
                if not near.all():
                    others.append(index)
                    break
        # Boxes that score alike may change places with the last bit of a sum; neighbours would change most images.
        if len(others) > len(chosen) // 2:
            raise TaskError(
                f"what is observed of an image depends on its neighbours in the batch: {len(others)} of {len(chosen)} "
                "images are observed otherwise alone. Observe each image by itself."
            )

    def _judge(self, task: Task, building: Building, progress: Progress) -> int:
        spec = task.spec
        split = self._split(spec, spec["split"])
        defense = self._fitted(spec["fit"])
        rng = Rng(spec["seed"]).spawn(task.identity)
        logits = self._reader(spec["predict"]) if spec["predict"] else None
        observed = {name: self._reader(key) for name, key in spec["observed"].items()}

        def tensors(reader: ArrayReader, low: int, high: int) -> dict[str, Tensor]:
            return {name: torch.from_numpy(a).to(self.device) for name, a in reader.read(low, high).items()}

        def work(start: int, stop: int, part: slice, x: Tensor, y: Tensor) -> dict[str, Tensor]:
            low, high = start + part.start, start + part.stop
            known = tensors(logits, low, high)["logits"] if logits is not None else None
            seen = {name: tensors(reader, low, high) for name, reader in observed.items()}
            verdicts = [
                self._verdict(defense, x, known, seen, rng.spawn(start, part.start, repeat), start)
                for repeat in range(spec["repeats"])
            ]
            answer = _answers(verdicts)
            return {**answer, **{f"detail.{name}": array for name, array in verdicts[0].details.items()}}

        count = self._per_image(task, split, spec["craft"], spec["batch_size"], building, progress, work)
        with passes.uncounted():
            self._check_neighbours(task, defense, split, ArrayReader(building.out), min(AGAIN, spec["batch_size"]))
        return count

    def _check_neighbours(self, task: Task, defense: Defense, split: Split, judged: ArrayReader, most: int) -> None:
        """Judge some images again, in another company and alone; clean ones of the evaluation in another process, too.

        Raises:
            TaskError: the verdict depends on the neighbours, or on what this process did before.
        """
        spec = task.spec
        rng = Rng(spec["seed"]).spawn(task.identity, "neighbours")
        chosen = rng.numpy.permutation(len(split))[:most].tolist()
        x = (
            split.images(chosen)
            if spec["craft"] is None
            else torch.from_numpy(self._reader(spec["craft"]).take("x_adv", chosen))
        ).to(self.device)
        logits = self._rows(self._reader(spec["predict"]), chosen)["logits"] if spec["predict"] else None
        observed = {name: self._rows(self._reader(key), chosen) for name, key in spec["observed"].items()}
        first = {name: rows for name, rows in self._rows(judged, chosen).items() if name in VERDICT}

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
                self._verdict(defense, these, known, seen, rng.spawn(part.start, repeat), 0)
                for repeat in range(spec["repeats"])
            ]
            return {name: array[-len(x[part]) :] for name, array in _answers(verdicts).items()}

        cheap = all(request.artifact is None for request in defense.observations().values())
        clean = split.images(chosen[: len(chosen) // 2]).to(self.device) if spec["craft"] and cheap else None
        with torch.no_grad():
            together = again(slice(0, len(chosen)), clean)
            alone = [again(slice(one, one + 1)) for one in range(min(AGAIN_ALONE, len(chosen)))]
        spread = _spread(judged, "score") if "score" in judged.names else None
        for company, answers in (
            ("among other images", together),
            ("alone", {name: torch.cat([one[name] for one in alone]) for name in alone[0]}),
        ):
            same = {name: rows[: len(answers["label"])] for name, rows in first.items()}
            wrong = _disagreements(same, answers, spread, defense.randomised)
            if wrong:
                raise TaskError(
                    f"the verdict depends on the neighbours in the batch: {wrong} of {len(answers['label'])} images "
                    f"when they are judged again {company}. Judge each image by itself; what a batch is compared with "
                    "belongs into `fit`."
                )
        if spec["craft"] is not None or spec["predict"] is None or type(defense).judge is Hardener.judge:
            return  # one question per fit: it may cost seconds where networks are large
        try:
            folder = self.store.open(spec["fit"])
            fresh = self._ask_elsewhere(spec["fit"], folder, split, x, logits, observed, rng, spec["repeats"])
        except UnansweredError:
            return  # where there was something to fit, the fit has said so
        except TaskError as error:
            raise TaskError(f"some images cannot be judged in another process: {error}") from None
        wrong = _disagreements(first, fresh, spread, defense.randomised)
        if wrong:
            raise TaskError(
                f"the verdict depends on what was judged before: {wrong} of {len(x)} images when a process that has "
                "judged nothing yet judges them. Keep nothing in classes or modules; what is learnt belongs into `fit`."
            )

    def _rows(self, reader: ArrayReader, indices: Sequence[int]) -> dict[str, Tensor]:
        return {name: torch.from_numpy(reader.take(name, indices)).to(self.device) for name in reader.names}

    def _verdict(
        self,
        defense: Defense,
        x: Tensor,
        logits: Tensor | None,
        observed: dict[str, dict[str, Tensor]],
        rng: Rng,
        first: int,
    ) -> Verdict:
        """Return what the defense says about a batch that it cannot spoil for the next judgement."""
        handed = Batch(
            x.clone(),
            defense,
            rng,
            None if logits is None else logits.clone(),
            {name: {part: array.clone() for part, array in arrays.items()} for name, arrays in observed.items()},
        )
        own = {"x": (handed.x, x)}
        if logits is not None:
            own["logits"] = (handed.logits, logits)
        for name, arrays in observed.items():
            own |= {f"observed {name!r} {part}": (handed.observed(name)[part], array) for part, array in arrays.items()}
        rng.spawn("globals").seed_globals()
        with torch.no_grad():
            verdict = _checked(defense.judge(handed), x, defense, first)
        spoilt = [name for name, (theirs, ours) in own.items() if not unchanged(theirs, ours)]
        if spoilt:
            raise IsolationError(f"judge wrote into the batch that it was handed ({', '.join(spoilt)}): clone() first")
        return verdict

    def _look(self, task: Task, building: Building, progress: Progress) -> int:
        spec = task.spec
        split = self._split(spec, spec["split"])
        victim = self._victim(spec["network"], spec["held"], split)
        indices = evenly(len(split), SHOWN)
        x = split.images(indices).to(self.device)
        y = torch.from_numpy(split.labels[indices]).to(self.device)
        seen = look(victim.classifier, x, y, victim.detector_loss)
        _write_json(building, "probe.json", seen.plain())
        return len(indices)

    def _examine(self, task: Task, building: Building, progress: Progress) -> int:
        """Ask about a crafting what probes want to know: arrays with a row per image asked about."""
        split = self._split(task.spec, task.spec["split"])
        asked: Callable[..., dict[str, np.ndarray]] = getattr(self, f"_ask_{task.spec['asks']}")
        answer = asked(_Crafting(self, task, split, progress))
        writer = ArrayWriter(building)
        writer.add(answer)
        writer.flush()
        return len(next(iter(answer.values())))

    def _ask_path(self, crafting: _Crafting) -> dict[str, np.ndarray]:
        """Run the attack on one image after the other, so that each pass through the victim belongs to one."""
        chosen = evenly(len(crafting.split), SHOWN)
        x, y = crafting.images(chosen)
        ends, paths, gradients = [], [], []
        for number in range(len(chosen)):
            image, label = x[number : number + 1], y[number : number + 1]
            with recorded(crafting.victim, image, label, crafting.norm, crafting.eps) as (victim, path):
                ends.append(crafting.attack(victim, image, label, number))
            paths.append(path.rows())
            gradients.append(path.gradients())
            crafting.progress.update(number + 1, len(chosen))
        x_adv = torch.cat(ends)
        with torch.no_grad():
            ends_at = margins(crafting.victim.classifier(x_adv), y).tolist()
        for (margin, suspicion), last in zip(paths, ends_at, strict=True):
            if not np.isclose(margin, last, rtol=1e-4, atol=1e-5).any():  # a point that the attack has not looked at
                margin.append(last)
                suspicion.append(np.nan)
        return {
            **crafting.about(chosen, x, x_adv),
            "margin": stacked([margin for margin, _ in paths]),
            "suspicion": stacked([suspicion for _, suspicion in paths]),
            "gradients": np.array(gradients, dtype=np.int64),
        }

    def _ask_doubled(self, crafting: _Crafting) -> dict[str, np.ndarray]:
        """Run the attack with more steps and restarts, beside what it found before."""
        chosen = evenly(len(crafting.split), RERUN)
        x, y = crafting.images(chosen)
        before = crafting.crafted(chosen)
        found = crafting.about(chosen, before, crafting.attack(crafting.victim, x, y, 0))
        which = {f"doubled.{name}": np.full(len(chosen), True) for name in crafting.task.spec["doubled"]}
        return found | which

    def _ask_unconstrained(self, crafting: _Crafting) -> dict[str, np.ndarray]:
        """Run the attack with a budget that reaches every image."""
        chosen = evenly(len(crafting.split), SHOWN)
        x, y = crafting.images(chosen)
        return crafting.about(chosen, x, crafting.attack(crafting.victim, x, y, 0))

    def _ask_draws(self, crafting: _Crafting) -> dict[str, np.ndarray]:
        """Draw from the ball around images that withstand the attack, or may: thresholds of scores are not known here.

        Those that a detector may flag are the most suspicious ones; of their draws the least suspicious is kept.
        """
        eps, network = crafting.task.spec["eps"], crafting.victim.classifier
        every, left, doubtful = range(len(crafting.split)), list[int](), dict[int, float]()
        for start in range(0, len(every), JUDGE_BATCH):
            part = every[start : start + JUDGE_BATCH]
            (x, y), x_adv = crafting.images(part), crafting.within(part, eps)
            with torch.no_grad():
                right = network(x).argmax(1) == y
                stands = right & (network(x_adv).argmax(1) == y)
            suspicion, flagged = crafting.suspicion(x_adv)
            stands |= right & flagged
            left += [part[place] for place in stands.nonzero().flatten().tolist()]
            if suspicion is not None:
                turned = (right & ~stands).nonzero().flatten().tolist()
                doubtful |= {part[place]: float(suspicion[place]) for place in turned}
        most = sorted(doubtful, key=lambda one: -doubtful[one])
        chosen = [left[place] for place in evenly(len(left), DRAWN)] + most[: max(0, DRAWN - len(left))]
        drawn = bool(chosen)
        # Where none is left there is nothing to look for, and the rows of some others say so.
        chosen = chosen or list(evenly(len(every), 1))
        x, y = crafting.images(chosen)
        found = x.clone()
        for number in range(len(chosen) if drawn else 0):
            image, rng = x[number : number + 1], crafting.rng.spawn("draws", number)
            best = np.inf
            for wrong in draw(network, image, y[number], crafting.norm, eps, DRAWS, JUDGE_BATCH, rng):
                suspicion, flagged = crafting.suspicion(wrong)
                doubt = flagged.float() if suspicion is None else suspicion
                if float(doubt.min()) < best:
                    best, found[number] = float(doubt.min()), wrong[int(doubt.argmin())]
                if suspicion is None and best == 0:
                    break
            crafting.progress.update(number + 1, len(chosen))
        return {**crafting.about(chosen, crafting.within(chosen, eps), found), "drawn": np.full(len(chosen), drawn)}

    def _ask_neighbours(self, crafting: _Crafting) -> dict[str, np.ndarray]:
        """Look how the margin changes under little noise."""
        chosen = evenly(len(crafting.split), SHOWN)
        x, y = crafting.images(chosen)
        rough = roughness(crafting.victim.classifier, x, y, NOISE, NOISES, crafting.rng)
        return {"index": np.array(chosen), "change": rough.cpu().numpy()}

    def _ask_labels(self, crafting: _Crafting) -> dict[str, np.ndarray]:
        """Let what was attacked classify the adversarial images."""
        labels, sizes, count = [], [], len(crafting.split)
        for start in range(0, count, JUDGE_BATCH):
            part = range(start, min(start + JUDGE_BATCH, count))
            (x, _), x_adv = crafting.images(part), crafting.crafted(part)
            sizes.append(perturbation_size(x_adv - x, crafting.norm).cpu())
            with torch.no_grad():
                network = crafting.victim.classifier
                labels.append(torch.stack([network(x).argmax(1), network(x_adv).argmax(1)], 1).cpu())
            crafting.progress.update(part.stop, count)
        return {"label": torch.cat(labels).numpy(), "size": torch.cat(sizes).numpy()}

    def _separate(self, task: Task, building: Building, progress: Progress) -> int:
        """Measure how far apart the classes of clean images lie, (layers, images); NaN where that is not defined.

        And lay the states into the plane of their two largest variances, (layers, images, 2), with the shares of all
        variance, (layers, 2).
        """
        spec = task.spec
        split = self._split(spec, spec["split"])
        classifier, layers = self._classifier(spec["classifier"]), spec["layers"]
        memory, states = MicroBatches(progress), {layer: list[np.ndarray]() for layer in layers}
        for start in range(0, len(split), JUDGE_BATCH):
            stop = min(start + JUDGE_BATCH, len(split))
            x = split.images(range(start, stop)).to(self.device)

            def work(part: slice, x: Tensor = x) -> dict[str, Tensor]:
                with torch.no_grad():
                    return classifier.features(x[part], layers)

            for seen in memory.run(stop - start, work):
                for layer in layers:
                    state = _finite(seen[layer], f"the state at the layer {layer!r}", start)
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

    def _verify(self, task: Task, building: Building, progress: Progress) -> int:
        """Set an attack a problem per image that it must solve, on the features of the network that it attacks."""
        from benchmark.binarization import Ball, Features, problem, solved

        spec = task.spec
        attack: Attack = self.registry.create("attack", spec["attack"]["use"], spec["attack"]["options"])
        split, norm, eps = self._split(spec, spec["split"]), attack.options.norm, float(spec["eps"])
        if spec["held"] == "pipeline":
            defense = self._fitted(spec["victim"])
            classifier, through = defense.classifier, defense.surrogate()
        else:
            classifier, through = self._classifier(spec["victim"]), None
        features = Features(classifier, through).eval().requires_grad_(False)
        classes = len(split.class_names)
        rng = Rng(spec["seed"]).spawn(task.identity)
        indices = evenly(len(split), spec["images"])
        answers: list[tuple[bool, bool]] = []
        for number, index in enumerate(indices):
            x = split.images([index]).to(self.device)
            ball = Ball(x, norm, eps)
            one = problem(ball, features.through, features, classes, rng.spawn("problem", index))
            if one is not None:
                victim = Victim(one.network, classes, split.image_shape, self.device)
                y = torch.zeros(1, dtype=torch.int64, device=self.device)
                x_adv = attack.craft(victim, x.clone(), y, rng.spawn("attack", index))
                _check_adversarial(x_adv, x, norm, attack.options.eps, index)
                answers.append((solved(one, ball, x_adv.detach().float().clamp(0, 1)), one.random))
            progress.update(number + 1, len(indices))
        found = {"images": len(indices), "solved": [a for a, _ in answers], "random": [b for _, b in answers]}
        _write_json(building, "verification.json", found)
        return len(indices)

    def _threshold(self, task: Task, building: Building, progress: Progress) -> int:
        """Set the threshold above which the host flags, on the scores of clean validation images."""
        rate, judged = task.spec["false_positive_rate"], self._reader(task.spec["judge"])
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
        _write_json(building, "threshold.json", found)
        return len(judged)

    # -- images in, arrays out ----------------------------------------------------------------------------------------

    def _per_image(
        self,
        task: Task,
        split: Split,
        craft: str | None,
        batch_size: int,
        building: Building,
        progress: Progress,
        work: Callable[[int, int, slice, Tensor, Tensor], dict[str, Tensor]],
    ) -> int:
        """Write `work`'s arrays for all images of `split` (or its adversarial images), going on where a part ends."""
        writer = ArrayWriter(building)
        memory = MicroBatches(progress)
        adversarial = self._reader(craft) if craft is not None else None
        rng = Rng(0).spawn("globals", task.identity)
        first = writer.done
        if first % batch_size and first < len(split):
            raise TaskError(f"parts end at image {first}, which is not a multiple of the batch size {batch_size}")
        for start in range(first, len(split), batch_size):
            stop = min(start + batch_size, len(split))
            x = (
                split.images(range(start, stop))
                if adversarial is None
                else torch.from_numpy(adversarial.read(start, stop, ["x_adv"])["x_adv"])
            ).to(self.device)
            y = torch.from_numpy(split.labels[start:stop]).to(self.device)

            def part_of(
                part: slice, start: int = start, stop: int = stop, x: Tensor = x, y: Tensor = y
            ) -> dict[str, Tensor]:
                rng.spawn(start, part.start).seed_globals()
                return work(start, stop, part, x[part], y[part])

            answers = memory.run(stop - start, part_of)
            writer.add({name: torch.cat([a[name] for a in answers]).cpu().numpy() for name in answers[0]})
            progress.update(stop, len(split))
        writer.flush()
        return len(split)

    def _reader(self, key: str) -> ArrayReader:
        return ArrayReader(self.store.open(key))

    # -- making things from specifications ----------------------------------------------------------------------------

    def _split(self, spec: dict[str, Any], name: str) -> HandedSplit:
        reference = spec["dataset"]
        label = reference["label"]

        def make() -> Split:
            dataset = _kept(
                self._datasets, label, lambda: self.registry.create("dataset", reference["use"], reference["options"])
            )
            return dataset.split(name)

        with isolated(f"the data set {label!r}"):
            handed = HandedSplit(_kept(self._splits, (label, name), make), f"the {name} split of {label!r}")
        self._handed.append(handed)
        return handed

    def _model(self, reference: dict[str, Any]) -> Model:
        model: Model = self.registry.create("model", reference["use"], reference["options"])
        return model

    def _classifier(self, key: str) -> Classifier:
        """Return the frozen network of a train task, or the hardened network of a fit task."""

        def make() -> Lent:
            task = self.tasks[key]
            if task.kind == "fit":
                classifier = self._fitted(key).classifier
            else:
                data = self._split(task.spec, "train")
                model = self._model(task.spec["model"])
                folder = self.store.open(key)
                classifier = model.build(len(data.class_names), data.image_shape, Rng(0))
                load_weights(classifier, folder / "weights.safetensors")
                classifier.to(self.device).frozen()
            cure = "Work on a copy: copy.deepcopy(classifier)."
            return Lent(classifier, "the classifier that it was handed", cure, lambda: _look(classifier, self.device))

        return self._lend(self._classifiers, key, make)

    def _lend(self, kept: OrderedDict[Any, Lent], key: Any, make: Callable[[], Lent]) -> Any:
        lent = _kept(kept, key, make)
        self._lent[id(lent)] = lent
        return lent.value

    def _new_artifact(self, spec: dict[str, Any]) -> SharedArtifact:
        reference = spec["builder"]
        artifact: SharedArtifact = self.registry.create("artifact", reference["use"], reference["options"])
        artifact.device = self.device
        return artifact

    def _shared(self, key: str) -> SharedArtifact:
        def make() -> Lent:
            artifact = self._new_artifact(self.tasks[key].spec)
            artifact.load(self.store.open(key))
            cure = "What is shared is the same for all: keep what you compute elsewhere."
            return Lent(artifact, f"the shared artifact {type(artifact).__name__}", cure)

        return self._lend(self._artifacts, key, make)

    def _new_defense(self, spec: dict[str, Any]) -> Defense:
        reference = spec["defense"]
        defense: Defense = self.registry.create("defense", reference["use"], reference["options"])
        return defense

    def _attach(self, defense: Defense, spec: dict[str, Any], data: Split) -> None:
        defense.device = self.device
        defense.class_names = data.class_names
        defense.shared = {name: self._shared(key) for name, key in spec["artifacts"].items()}
        if spec["train"] is not None and defense.family != "hardener":
            defense.classifier = self._classifier(spec["train"])

    def _fitted(self, key: str) -> Defense:
        """Return a new object of a fitted defense: what one task does to it, the next does not see."""
        spec = self.tasks[key].spec
        return self._loaded(spec, self.store.open(key))

    def _loaded(self, spec: dict[str, Any], folder: Path) -> Defense:
        data = self._split(spec, "train")
        defense = self._new_defense(spec)
        self._attach(defense, spec, data)
        if defense.family == "hardener":
            defense.classifier = self._model(spec["model"]).build(len(data.class_names), data.image_shape, Rng(0))
        defense.load(folder)
        if defense.family == "hardener":
            defense.classifier = defense.classifier.to(self.device).frozen()
        return defense

    def _victim(self, key: str | list[str], held: str, split: Split, draws: int = 1) -> Victim:
        roads: dict[str, Callable[..., Any]] = {}
        network: nn.Module
        if isinstance(key, list):
            network = _Ensemble([self._classifier(one) for one in key])
        elif held == "pipeline":
            defense = self._fitted(key)
            surrogate = defense.surrogate()
            if offers(defense, "surrogate") and not isinstance(surrogate, nn.Module):
                raise TaskError(f"surrogate returned {_found(surrogate)} instead of a network. {LEAVE_OUT}")
            network = defense.classifier if surrogate is None else surrogate
            if network is not defense.classifier:
                classes = len(split.class_names)
                network.register_forward_hook(
                    lambda network, given, logits: _check_offer("surrogate", logits, len(given[0]), classes)
                )
            if draws > 1 and (surrogate is not None or defense.family in ("none", "hardener")):  # else it draws nothing
                network = _Expected(network, draws)
            for road in ("detector_loss", "class_suspicions", "class_likelihoods", "training_loss"):
                if offers(defense, road):
                    roads[road] = _road(defense, road, draws)
            if defense.family not in ("none", "hardener"):
                # All calls with one `rng` meet the same draws, so that an attacker compares candidates in pairs.
                def judge(x: Tensor, rng: Rng) -> tuple[Tensor, Tensor | None]:
                    with torch.no_grad():
                        verdicts = [
                            _checked(defense.judge(Batch(x.clone(), defense, rng.spawn(draw))), x, defense, 0)
                            for draw in range(draws)
                        ]
                    label = torch.stack([verdict.label for verdict in verdicts]).mode(0).values
                    scores = [verdict.score for verdict in verdicts if verdict.score is not None]
                    return label, torch.stack(scores).mean(0) if scores else None

                roads["judge"] = judge
            network.eval().requires_grad_(False)
        else:
            network = self._classifier(key)
        return Victim(network, len(split.class_names), split.image_shape, self.device, **roads)

    def _context(
        self,
        task: Task,
        building: Building,
        progress: Progress,
        train_key: str | None,
        model_reference: dict[str, Any] | None,
        artifacts: dict[str, SharedArtifact],
        observed: list[dict[str, Any]],
        attacked: list[dict[str, Any]],
    ) -> FitContext:
        data, validation = self._split(task.spec, "train"), self._split(task.spec, "val")
        if model_reference is None and train_key is not None:
            model_reference = self.tasks[train_key].spec["model"]
        model = self._model(model_reference) if model_reference is not None else None

        def new_classifier(rng: Rng) -> Classifier:
            if model is None:
                raise TaskError("a shared artifact without `per_classifier` has no architecture to build")
            return model.build(len(data.class_names), data.image_shape, rng)

        def arrays(key: str) -> Callable[[], dict[str, np.ndarray]]:
            return lambda: self._reader(key).read()

        return FitContext(
            classifier=self._classifier(train_key) if train_key is not None else None,
            new_classifier=new_classifier,
            recipe=model.options.train if model is not None else None,
            train=data,
            val=validation,
            rng=Rng(task.spec["seed"]).spawn(task.identity),
            device=self.device,
            progress=progress,
            checkpoint=building.work,
            artifacts=artifacts,
            observations={(one["name"], one["split"], one["attack"]): arrays(one["key"]) for one in observed},
            adversaries={
                (one["attack"], one["split"]): AttackedSplit(
                    data if one["split"] == "train" else validation, self._reader(one["key"])
                )
                for one in attacked
            },
        )


class _Crafting:
    """A crafting that is asked about, with the victim that its attack had.

    Args:
        worker: makes what is needed.
        task: that asks.
        split: the images that were attacked.
        progress: hears of the work.
    """

    def __init__(self, worker: Worker, task: Task, split: Split, progress: Progress) -> None:
        spec = task.spec
        self.task, self.split, self.progress = task, split, progress
        self.victim = worker._victim(spec["victim"], spec["held"], split, spec.get("draws", 1))
        self.rng = Rng(spec["seed"]).spawn(task.identity)
        self._worker = worker
        self._attack: Attack | None = None
        if "attack" in spec:
            self._attack = worker.registry.create("attack", spec["attack"]["use"], spec["attack"]["options"])
        self.norm: str = spec["norm"]
        self.eps: float | None = None if self._attack is None else self._attack.options.eps

    def images(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return clean images and their classes."""
        labels = torch.from_numpy(self.split.labels[list(indices)])
        return self.split.images(indices).to(self._worker.device), labels.to(self._worker.device)

    def crafted(self, indices: Sequence[int]) -> Tensor:
        """Return the adversarial images."""
        reader = self._worker._reader(self.task.spec["craft"])
        return torch.from_numpy(reader.take("x_adv", list(indices))).to(self._worker.device)

    def within(self, indices: Sequence[int], eps: float) -> Tensor:
        """Return the adversarial images, and the clean ones in place of those beyond a budget."""
        (x, _), x_adv = self.images(indices), self.crafted(indices)
        near = perturbation_size(x_adv - x, self.norm) <= eps * (1 + TOLERANCE)
        return torch.where(near[:, None, None, None], x_adv, x)

    def attack(self, victim: Victim, x: Tensor, y: Tensor, number: int) -> Tensor:
        """Run the attack, in batches as large as those of the crafting, as far as memory reaches."""
        attack, batch = self._attack, self.task.spec["batch_size"]
        assert attack is not None

        def craft(part: slice) -> Tensor:
            rng = self.rng.spawn(number, part.start)
            rng.spawn("globals").seed_globals()
            x_adv = attack.craft(victim, x[part].clone(), y[part].clone(), rng)
            _check_adversarial(x_adv, x[part], self.norm, self.eps, part.start)
            return x_adv.detach().float().clamp(0, 1)

        memory, done = MicroBatches(self.progress), list[Tensor]()
        for start in range(0, len(x), batch):

            def craft_part(part: slice, start: int = start) -> Tensor:
                return craft(slice(start + part.start, start + part.stop))

            done += memory.run(min(batch, len(x) - start), craft_part)
        return torch.cat(done)

    def about(self, indices: Sequence[int], before: Tensor, after: Tensor) -> dict[str, np.ndarray]:
        """Return what the attacked network, and the system that holds it, answer to two versions of images."""
        x, y = self.images(indices)
        found = {"index": np.array(indices), "y": y.cpu().numpy()}
        for name, images in (("before", before), ("after", after)):
            size = perturbation_size(images - x, self.norm)
            answers = {"size": size, **self._answers(images)}
            found |= {f"{name}.{part}": array.cpu().numpy() for part, array in answers.items()}
        return found

    def _answers(self, x: Tensor) -> dict[str, Tensor]:
        spec, worker = self.task.spec, self._worker
        with torch.no_grad():
            found = {"base_label": self.victim.classifier(x).argmax(1)}
        if self.victim.judge is None:
            return found
        defense = worker._fitted(spec["victim"])
        rngs = [self.rng.spawn("judge", repeat) for repeat in range(spec.get("repeats", 1))]
        return found | _answers([worker._verdict(defense, x, None, {}, rng, 0) for rng in rngs])

    def suspicion(self, x: Tensor) -> tuple[Tensor | None, Tensor]:
        """Return how suspicious (n,) a detector that is known to the attacker is of images, and whether it flags (n,).

        The score is None where it gives none, or sets its flags by itself, and flags are those that it sets by itself.
        """
        nowhere = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        if self.victim.judge is None:
            return None, nowhere
        answers = self._answers(x)
        flagged = answers["flagged"].all(1) if "flagged" in answers else nowhere
        scored = "score" in answers and "flagged" not in answers
        return answers["score"].mean(1) if scored else None, flagged


@dataclass(frozen=True)
class _Question:
    """What another process is asked to judge.

    Attributes:
        fit: key of the task that fitted the defense.
        folder: what the fit saved.
        data: of the data set that it learnt from.
        x: (N, C, H, W), the images.
        logits: (N, K) of the deployed classifier, where they are known.
        observed: arrays (N, ...) by name and part, as far as they are known.
        rng: spawned for each repeat.
        repeats: how often.
    """

    fit: str
    folder: Path
    data: _NamesOnly
    x: np.ndarray
    logits: np.ndarray | None
    observed: dict[str, dict[str, np.ndarray]]
    rng: Rng
    repeats: int


class _NamesOnly(Split):
    """What is needed of a data set to load what was learnt from it."""

    def __init__(self, class_names: tuple[str, ...], image_shape: tuple[int, int, int]) -> None:
        self.class_names, self.image_shape = class_names, image_shape
        self.labels = np.empty(0, dtype=np.int64)

    def images(self, indices: Sequence[int]) -> Tensor:
        """Refuse: there are none."""
        raise IndexError("load and judge have no access to the data set")


class HandedSplit(Split):
    """A split as plugins see it: images and labels are copies, the data set keeps its own."""

    def __init__(self, split: Split, what: str) -> None:
        self._split, self._what = split, what
        self.labels = split.labels.copy()
        self.class_names = split.class_names
        self.image_shape = split.image_shape
        self._parts: PartAnnotations | None = None

    def images(self, indices: Sequence[int]) -> Tensor:
        """Return a copy of the images of `indices`."""
        return self._split.images(indices).clone()

    def sample_ids(self, indices: Sequence[int]) -> list[str]:
        """Return the data set's names of the images."""
        return self._split.sample_ids(indices)

    def part_annotations(self) -> PartAnnotations | None:
        """Return a copy of the annotations."""
        if self._parts is None:
            self._parts = copy.deepcopy(self._split.part_annotations())
        return self._parts

    def changed(self) -> str:
        """Return what a plugin changed, in words; an empty text where all is as it was."""
        same = np.array_equal(self.labels, self._split.labels)
        same = same and (self.class_names, self.image_shape) == (self._split.class_names, self._split.image_shape)
        return "" if same else f"{self._what} that it was handed. Work on copies of labels and names."


class AttackedSplit(Split):
    """Adversarial examples of a split's images, under their true labels."""

    def __init__(self, clean: Split, crafted: ArrayReader) -> None:
        self._clean, self._crafted = clean, crafted
        self.labels = clean.labels
        self.class_names = clean.class_names
        self.image_shape = clean.image_shape

    def images(self, indices: Sequence[int]) -> Tensor:
        """Return the adversarial examples of `indices`."""
        return torch.from_numpy(self._crafted.take("x_adv", indices))

    def sample_ids(self, indices: Sequence[int]) -> list[str]:
        """Return the names of the clean images."""
        return self._clean.sample_ids(indices)


LEAVE_OUT = "A defense that has none leaves the method out, and its white-box rows are refused while planning."
JUDGE_BATCH = 256
"""Images per forward pass where nothing random depends on the batch."""


def _look(classifier: Classifier, device: torch.device) -> None:
    """Use a classifier once; what its forward pass raises, whoever uses it next will hear."""
    with passes.uncounted(), torch.no_grad(), contextlib.suppress(Exception):
        classifier(torch.rand(2, *classifier.image_shape, generator=Rng(0).torch).to(device))


AGAIN = 8
"""Images that are judged again, or before and after `save`."""
AGAIN_ALONE = 4
"""Of these, how many are judged alone; so many are observed alone."""
VERDICT = ("label", "score", "flagged", "label_if_flagged")
SCORE_TOLERANCE = 1e-2
"""Scores that differ by less than this share of their spread are equal: sums in another order and TF32 convolutions
stay below it in deep networks; a score that borrows less from others moves an area by as little."""


def _spread(reader: ArrayReader, name: str) -> float:
    """Return how far the highest value of an array lies above its lowest; it may be larger than the memory."""
    ends: list[float] = []
    for start in range(0, len(reader), JUDGE_BATCH):
        part = reader.read(start, start + JUDGE_BATCH, [name])[name]
        if part.size:
            ends += [float(part.min()), float(part.max())]
    return max(ends) - min(ends) if ends else 0.0


def _answers(verdicts: Sequence[Verdict]) -> dict[str, Tensor]:
    """Return what R verdicts say on N images: label, and the rest where there is any, (N, R)."""
    found = {name: [getattr(verdict, name) for verdict in verdicts] for name in VERDICT}
    return {name: torch.stack(values, 1) for name, values in found.items() if values[0] is not None}


def _disagreements(
    before: dict[str, Tensor], after: dict[str, Tensor], spread: float | None = None, randomised: bool = False
) -> str:
    """Return how many answers (N, R) on the same images differ, in words; an empty text where they agree.

    One label (or flag) of eight may differ: an image on the very boundary goes either way with the last bit of a sum.
    Of randomised defenses only the mean score is compared, with six standard errors of slack.
    """
    if set(before) != set(after):
        return f"{', '.join(sorted(set(before) ^ set(after)))} given for one and not for the other"
    count = len(before["label"])
    found = []
    for name in before:
        one, other = before[name].cpu().double(), after[name].cpu().double()
        if name == "score":
            slack = SCORE_TOLERANCE * (float(one.max() - one.min()) if spread is None else spread) + 1e-5 * one.abs()
            if randomised and one.shape[1] > 1:
                slack = slack.mean(1) + 6 * ((one.var(1) + other.var(1)) / one.shape[1]).sqrt()
                one, other = one.mean(1), other.mean(1)
            wrong, allowed = int((((one - other).abs() > slack).reshape(count, -1)).any(1).sum()), 0
            if randomised:
                wrong, allowed = wrong if one.dim() == 1 else 0, count // 2
        elif randomised:
            continue
        else:
            wrong, allowed = int((one != other).any(1).sum()), count // 8
        if wrong > allowed:
            found.append(f"another {name} for {wrong}")
    return ", ".join(found)


def _kept(kept: OrderedDict[Any, T], key: Any, make: Callable[[], T]) -> T:
    """Return `kept[key]`, made if need be; the least recently used is dropped."""
    if key not in kept:
        value = make()
        while len(kept) >= KEPT:
            kept.popitem(last=False)
        kept[key] = value
    kept.move_to_end(key)
    return kept[key]


def _check_adversarial(x_adv: Any, x: Tensor, norm: str, eps: float | None, first: int) -> None:
    """Refuse adversarial examples that are not what the attack promised.

    Raises:
        TaskError: what is wrong, and with which image.
    """
    if not isinstance(x_adv, Tensor) or x_adv.shape != x.shape:
        found = tuple(x_adv.shape) if isinstance(x_adv, Tensor) else type(x_adv).__name__
        raise TaskError(f"the attack returned {found} instead of a tensor of shape {tuple(x.shape)}")
    if not x_adv.is_floating_point():
        raise TaskError(f"the attack returned {x_adv.dtype} values instead of floats in [0, 1]")
    finite = torch.isfinite(x_adv).flatten(1).all(1)
    if not finite.all():
        raise TaskError(f"the attack returned NaN or infinite pixels in {_which(~finite, first)}")
    outside = ((x_adv < -TOLERANCE) | (x_adv > 1 + TOLERANCE)).flatten(1).any(1)
    if outside.any():
        low, high = x_adv.min().item(), x_adv.max().item()
        raise TaskError(f"the attack left [0, 1] (from {low:.4g} to {high:.4g}) in {_which(outside, first)}")
    if eps is not None:
        sizes = perturbation_size(x_adv - x, norm)
        over = sizes > eps * (1 + TOLERANCE) + TOLERANCE
        if over.any():
            raise TaskError(
                f"the attack exceeded its budget: {norm} {sizes.max().item():.6g} of {float(eps):.6g} allowed "
                f"in {_which(over, first)}"
            )


def _road(defense: Defense, name: str, draws: int) -> Callable[..., Any]:
    """Return what a defense offers to attackers, averaged over draws, so that it cannot write into their tensors."""
    method = getattr(defense, name)

    def told(*tensors: Tensor) -> Any:
        answers = [method(*(tensor.clone() for tensor in tensors)) for _ in range(draws)]
        for answer in answers:
            _check_offer(name, answer, len(tensors[0]), len(defense.class_names))
        return _mean(answers)

    return told


def _check_offer(name: str, answer: Any, count: int, classes: int) -> None:
    """Refuse what a defense offers to attackers of `count` images where it is not what the contract asks for.

    Raises:
        TaskError: what was found.
    """
    if answer is None:
        raise TaskError(f"{name} returned None. {LEAVE_OUT}")
    if name == "training_loss":
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise TaskError(f"{name} returned {_found(answer)} instead of a pair of tensors, loss and logits")
        parts = {" a loss of": (answer[0], (count,)), " logits of": (answer[1], (count, classes))}
    elif name == "class_likelihoods":
        if not isinstance(answer, ClassLikelihoods):
            raise TaskError(f"{name} returned {_found(answer)} instead of ClassLikelihoods")
        parts = {
            " a log_likelihood of": (answer.log_likelihood, (count, classes)),
            " a log_threshold of": (answer.log_threshold, (classes,)),
            " logits of": (answer.logits, (count, classes)),
        }
    else:
        parts = {"": (answer, (count,) if name == "detector_loss" else (count, classes))}
    for part, (value, wanted) in parts.items():
        if not isinstance(value, Tensor) or value.shape != wanted:
            raise TaskError(f"{name} returned{part} {_found(value)} instead of a tensor of shape {wanted}")


def _found(value: Any) -> Any:
    """Return what stands for a value in a message: a tensor's shape, None, or a type's name."""
    return tuple(value.shape) if isinstance(value, Tensor) else None if value is None else type(value).__name__


def _mean(answers: Sequence[Any]) -> Any:
    """Return the mean of tensors, or of each of those that a tuple or `ClassLikelihoods` holds."""
    first = answers[0]
    if len(answers) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.stack(list(answers)).mean(0)
    if isinstance(first, tuple):
        return tuple(_mean(parts) for parts in zip(*answers, strict=True))
    return replace(first, **{name: _mean([getattr(answer, name) for answer in answers]) for name in vars(first)})


class _Ensemble(nn.Module):
    """Logs of the mean probabilities of several networks, in place of logits.

    Their cross-entropy is the objective of Liu, Chen, Liu, Song, "Delving into Transferable Adversarial Examples and
    Black-box Attacks", ICLR 2017, Eq. 4, with equal weights.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> Tensor:
        """Return log-probabilities (N, classes) of images (N, C, H, W)."""
        said = torch.stack([network(x).log_softmax(1) for network in self.networks])
        return said.logsumexp(0) - math.log(len(said))


class _Expected(_Ensemble):
    """Logs of the mean probabilities over draws of a random network, in place of its logits.

    Their cross-entropy is that of the expected answer (Salman et al. 2019, arXiv:1906.04584, section 2.2).
    """

    def __init__(self, network: nn.Module, draws: int) -> None:
        super().__init__([network] * draws)


def _checked(verdict: Any, x: Tensor, defense: Defense, first: int) -> Verdict:
    """Refuse a verdict that is not what the contract asks for.

    Raises:
        TaskError: what is wrong.
    """
    if not isinstance(verdict, Verdict):
        raise TaskError(f"judge returned {type(verdict).__name__} instead of a Verdict")
    count = x.shape[0]
    for name in ("label", "score", "flagged", "label_if_flagged"):
        value = getattr(verdict, name)
        if value is not None and (not isinstance(value, Tensor) or value.shape != (count,)):
            found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise TaskError(f"judge returned a {name} of {found} instead of a tensor of shape ({count},)")
    for label in (verdict.label, verdict.label_if_flagged):
        if label is None:
            continue
        if label.is_floating_point() or label.dtype == torch.bool:
            raise TaskError(f"judge returned {label.dtype} labels instead of class indices")
        classes = len(defense.class_names)
        wrong = ((label < 0) & (label != NO_LABEL)) | (label >= classes)
        if wrong.any():
            raise TaskError(
                f"judge returned a label outside 0 to {classes - 1} (or {NO_LABEL}, no answer) for "
                f"{_which(wrong, first)}"
            )
    if verdict.label_if_flagged is not None and verdict.flagged is None and verdict.score is None:
        raise TaskError("judge returned label_if_flagged, and neither flags nor a score by which the host could flag")
    if verdict.score is not None:
        if not defense.gives_scores:
            raise TaskError("judge returned a score, but `gives_scores` is False: set it True in the defense")
        _finite(verdict.score, "the score", first)
    if verdict.flagged is not None and verdict.flagged.dtype != torch.bool:
        raise TaskError(f"judge returned {verdict.flagged.dtype} flags instead of booleans")
    return verdict


def _plane(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features (N, D) in the plane of their two largest variances (N, 2), and these as shares of all (2,)."""
    from sklearn.decomposition import PCA

    wide = features if features.shape[1] > 1 else np.pad(features, ((0, 0), (0, 1)))
    fitted = PCA(2, svd_solver="covariance_eigh").fit(wide.astype(np.float64))
    # Where nothing varies there are no shares of it.
    return fitted.transform(wide).astype(np.float32), np.nan_to_num(fitted.explained_variance_ratio_)


def _finite(values: Tensor, what: str, first: int) -> Tensor:
    """Return `values` (N, ...), or refuse NaN and infinity.

    Raises:
        TaskError: the images concerned.
    """
    if values.is_floating_point():
        good = torch.isfinite(values).flatten(1).all(1) if values.dim() > 1 else torch.isfinite(values)
        if not good.all():
            raise TaskError(f"{what} is NaN or infinite for {_which(~good, first)}")
    return values


def _which(bad: Tensor, first: int) -> str:
    indices = (torch.nonzero(bad).flatten() + first).tolist()
    shown = ", ".join(map(str, indices[:5])) + (", …" if len(indices) > 5 else "")
    return f"{len(indices)} of {len(bad)} images of a batch (numbers {shown})"


def _peak_memory(device: torch.device) -> Callable[[], int]:
    """Start measuring, and return a function that gives the peak in bytes: GPU memory there, resident memory here."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return lambda: int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _empty(*folders: Path) -> None:
    for folder in folders:
        for entry in folder.iterdir():
            remove(entry)


def _write_json(building: Building, name: str, value: Any) -> None:
    with building.storing():
        (building.out / name).write_text(json.dumps(value, indent=1))
