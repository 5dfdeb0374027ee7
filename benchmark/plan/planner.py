"""From a suite to a plan: cells share every piece of work that has the same content key."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from benchmark.binarization import INNER, NORMS, RANDOM, ROUNDS, STARTS, STEPS, TRIES
from benchmark.errors import InputError
from benchmark.isolation.process import torch_threads
from benchmark.names import CLEAN
from benchmark.plan.asked import Asked
from benchmark.plan.attackers import Attackers, evades
from benchmark.plan.checks import Checks
from benchmark.plan.components import Components
from benchmark.plan.graph import Graph
from benchmark.plan.plan import Plan, PlannedCell, PlannedVerification, Test, Tested
from benchmark.plan.probing import Probing
from benchmark.plan.task import Craft, Held, Verify
from benchmark.plugins import Registry
from benchmark.selection import Point
from benchmark.suite import GridEntry, Suite


def make_plan(suite: Suite, registry: Registry) -> Plan:
    """Expand the suite into cells and tasks, after checking that data, weights and packages are there.

    Raises:
        MissingError: all that is missing, one paragraph each.
        InputError: a data set cannot be read, or options do not fit what is installed.
    """
    return Planner(suite, registry).plan()


def plan_verification(suite: Suite, registry: Registry, images: int) -> Plan:
    """Return the tests of the suite's attacks, on so many images each, and the networks that they need; no cells.

    Raises:
        MissingError, InputError: as `make_plan`; or the suite attacks nothing.
    """
    return Planner(suite, registry).verification(images)


class Planner:
    """Expands a suite into cells and tasks."""

    def __init__(self, suite: Suite, registry: Registry) -> None:
        self.suite = suite
        self.components = Components(suite, registry)
        self.datasets = self.components.datasets
        self.graph = Graph(self.components)
        self.attackers, self.probing = Attackers(self.graph), Probing(self.graph)

    def _check(self) -> None:
        with torch_threads(self.suite.threads):
            Checks(self.components).check()
            self.probing.check()

    def verification(self, images: int) -> Plan:
        """Return the plan of `plan_verification`."""
        self._check()
        found: dict[tuple[Any, ...], PlannedVerification] = {}
        for dataset, model, attack, defense, entry, seed in self._points():
            if attack == CLEAN:
                continue
            craft = self.graph.tasks[self.attackers.craft(dataset, model, attack, defense, entry, seed)].of(Craft)
            beside = craft.held == "pipeline" and self.components.defense(defense).detects
            tests: tuple[Test, ...] = ("undetected", "inverted") if beside else ("classes",)
            for victim, test in itertools.product(craft.victim, tests):
                key = (dataset, attack, victim, craft.held, seed, test)
                if key not in found:
                    found[key] = self._verification(
                        dataset, attack, defense, entry, victim, craft.held, seed, images, test
                    )
                tested = found[key].tested
                found[key] = replace(found[key], tested=replace(tested, cells=tested.cells + 1))
        if not found:
            raise InputError(f"{self.suite.path}: no attack is in the grid, so there is none to verify.")
        return Plan(self.suite, [], self.graph.tasks, self.datasets, verifications=list(found.values()))

    def _verification(
        self,
        dataset: str,
        attack: str,
        defense: str,
        entry: GridEntry,
        victim: str,
        held: Held,
        seed: int,
        images: int,
        test: Test,
    ) -> PlannedVerification:
        instance = self.components.attack(attack)
        options = self.suite.attacks[attack].options
        norm, eps = options.norm, options.eps  # type: ignore[attr-defined]
        reason = self._unverifiable(instance, self.components.defense(defense), norm, eps, held, test)
        task = ""
        if not reason:
            split = self.suite.protocol.split
            spec = Verify(
                dataset=self.components.data(dataset, split),
                split=split,
                victim=victim,
                held=held,
                eps=str(eps),
                images=images,
                seed=seed,
                attack=self.components.attack_part(attack, not instance.minimum_norm),
                threshold=None if test == "classes" else self.graph.threshold(dataset, victim, defense, seed),
                inverted=test == "inverted",
            )
            count, work = min(images, self.datasets[dataset].size(split)), None
            if (per_image := instance.passes()) is not None:
                made = 2 * (INNER + 2) + RANDOM  # points that a problem is made from, and looked at
                # The detector looks at random points on the other side, and before that at those of the edge.
                sought = {"classes": 0, "undetected": RANDOM + TRIES, "inverted": RANDOM + ROUNDS * STARTS * STEPS}[
                    test
                ]
                backward = per_image.backward + (ROUNDS * STARTS * STEPS if test == "inverted" else 0)
                passes = count * (made + sought + per_image.forward), count * backward
                work = self.graph.passes((victim,), *passes, per_image.at_most or test != "classes")
            what = "" if test == "classes" else f", {test}"
            task = self.graph.add(f"verify {attack} on {self.graph.who((victim,))}{what}", spec, work)
        who = self.graph.who((victim,)) + (f" through {defense}" if held == "pipeline" else "")
        eps_text = "" if eps is None else str(eps)
        tested = Tested(
            dataset=dataset,
            attack=attack,
            network=who,
            test=test,
            knowledge=entry.knowledge,
            norm=norm,
            eps=eps_text,
            seed=seed,
            cells=0,
        )
        return PlannedVerification(tested=tested, task=task, reason=reason)

    @staticmethod
    def _unverifiable(attack: Asked, defense: Asked, norm: str, eps: Any, held: str, test: Test) -> str:
        """Return why the test says nothing of an attack on a defense, "" where it does."""
        if eps is None:
            return "it has no budget, and a problem is made within one"
        if norm not in NORMS:
            return f"problems are made in {' and '.join(NORMS)}, not in {norm}"
        if attack.needs_likelihoods or attack.needs_training_loss:
            return "it works on what the defense offers beside its logits, which a problem has not"
        if test != "classes" and not (evades(attack, defense) and defense.gives_scores):
            return f"it lowers no score of the {defense.family}, by which a problem is solved there"
        if held == "pipeline" and defense.randomised:
            return "a randomised defense has other features in each pass"
        return ""

    def plan(self) -> Plan:
        """Return the plan of `make_plan`."""
        self._check()
        cells = [self._cell(*point) for point in self._points()]
        return Plan(self.suite, cells, self.graph.tasks, self.datasets, list(self.graph.assessments.values()))

    def _points(self) -> Iterable[Point]:
        """Return the combinations of the grid, each once, as its first entry has it."""
        found: dict[tuple[str, ...], Point] = {}
        for point in self.suite.points():
            found.setdefault(point.identity(), point)
        return found.values()

    def _cell(self, dataset: str, model: str, attack: str, defense: str, entry: GridEntry, seed: int) -> PlannedCell:
        instance = self.components.defense(defense)
        fit = self.graph.fit(dataset, model, defense, seed)
        classifier = self.graph.network(dataset, model, defense, seed)
        clean_predict = self.graph.predict(dataset, classifier, None)
        split = self.suite.protocol.split
        if split == "val" and instance.gives_scores:
            raise InputError(
                f"{self.suite.defenses[defense].where}: protocol.split is val, but the threshold of the defense "
                f"{defense!r} is set on the validation images: judged on the same ones it would look too good. Leave "
                "the defense out, or evaluate on test images (`protocol: {split: test}`)."
            )
        clean_judge = self.graph.judge(dataset, fit, defense, None, split, clean_predict, seed)
        shared: dict[str, Any] = {
            "dataset": dataset,
            "model": model,
            "attack": attack,
            "defense": defense,
            "seed": seed,
            "clean_predict": clean_predict,
            "clean_judge": clean_judge,
            "threshold": self.graph.threshold(dataset, fit, defense, seed) if instance.gives_scores else None,
            "deployed_look": self.graph.look(dataset, (classifier,), "classifier"),
        }
        if attack == CLEAN:
            separation = self.graph.separate(dataset, classifier) if self.suite.separation else None
            return PlannedCell(**shared, knowledge="", norm="", eps="", separation=separation)
        options = self.suite.attacks[attack].options
        craft = self.attackers.craft(dataset, model, attack, defense, entry, seed)
        crafting = self.graph.tasks[craft].of(Craft)
        predict = self.graph.predict(dataset, classifier, craft)
        attacker = self.attackers.attacker(dataset, attack, defense, craft, classifier, fit)
        examinations, unasked = self.probing.examinations(dataset, attack, defense, craft, attacker)
        return PlannedCell(
            **shared,
            knowledge=entry.knowledge,
            norm=options.norm,  # type: ignore[attr-defined]
            eps="" if options.eps is None else str(options.eps),  # type: ignore[attr-defined]
            craft=craft,
            attacked_predict=predict,
            attacked_judge=self.graph.judge(dataset, fit, defense, craft, split, predict, seed),
            victim_look=self.graph.look(dataset, crafting.victim, crafting.held),
            sweep=self.attackers.sweep(attack),
            attacker=attacker,
            examinations=examinations,
            unasked=unasked,
            minimum_norm=self.components.attack(attack).minimum_norm,
        )
