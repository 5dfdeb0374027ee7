from __future__ import annotations

import copy
import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hardened import CPU, digits
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import kstest
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import bench_advtrain
from bench_advtrain.adversarial_training import AdversarialObjective, AdversarialTraining
from bench_advtrain.none import NoDefense
from bench_advtrain.options import AdversarialTrainingOptions
from benchmark import training
from benchmark.defense import Batch, FitContext
from benchmark.errors import InputError
from benchmark.gradient import ascend, classification_loss, random_start
from benchmark.model import Classifier, Passes, passes
from benchmark.options import TrainOptions
from benchmark.plugins import Provenance, Registry, validate_options
from benchmark.progress import Progress
from benchmark.randomness import Rng
from benchmark.setting import DataFacts, Setting

RECIPE = TrainOptions(epochs=6, batch_size=64, lr=0.1, weight_decay=0.0)
EPS = 0.15  # of a grey range of 1, on digits of 8 x 8 pixels


def new_classifier(rng: Rng) -> Classifier:
    with rng.seeded_globals():
        network = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * 64, 32),
            nn.BatchNorm1d(32),
            nn.ReLU(),
            nn.Linear(32, 10),
        )
    return Classifier(network, 10, (1, 8, 8))


def fit_context(folder: Path, recipe: TrainOptions | None = RECIPE, images: int = 1000) -> FitContext:
    folder.mkdir(exist_ok=True)
    return FitContext(
        classifier=None,
        new_classifier=new_classifier,
        recipe=recipe,
        train=digits(0, images),
        val=digits(1000, 1000 + images // 5),
        rng=Rng(3),
        device=CPU,
        progress=Progress(),
        checkpoint=folder,
    )


def options(**given: Any) -> AdversarialTrainingOptions:
    validated = validate_options(AdversarialTrainingOptions, {"eps": EPS, **given})
    assert isinstance(validated, AdversarialTrainingOptions)
    return validated


def objective(recipe: TrainOptions = RECIPE, **given: Any) -> AdversarialObjective:
    return AdversarialObjective(options(**given), recipe)


def plainly_trained(context: FitContext) -> Classifier:
    assert context.recipe is not None
    classifier = new_classifier(context.rng.spawn("initial weights"))
    training.train(
        classifier,
        context.train,
        context.val,
        context.recipe,
        rng=context.rng.spawn("training"),
        device=CPU,
        progress=Progress(),
    )
    return classifier.frozen()


@pytest.fixture(scope="module")
def undefended(tmp_path_factory: pytest.TempPathFactory) -> Classifier:
    return plainly_trained(fit_context(tmp_path_factory.mktemp("plain")))


def robust_accuracy(classifier: Classifier, norm: str, eps: float) -> float:
    split = digits(1200, 1797)
    x, y = split.images(range(len(split))), torch.from_numpy(split.labels)
    start = random_start(x, norm, eps, Rng(0).numpy)
    loss = classification_loss(classifier, y)
    x_adv = ascend(loss, x, norm=norm, eps=eps, step=eps / 5, steps=20, start=start)
    return float((classifier(x_adv).argmax(1) == y).float().mean())


def same_weights(one: Classifier, other: Classifier) -> bool:
    return all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in one.state_dict().items())


def inputs_of(classifier: Classifier) -> list[Tensor]:
    """Return a list that receives every batch of images that goes into the classifier."""
    seen: list[Tensor] = []
    classifier.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
    return seen


def grey(count: int) -> tuple[Tensor, Tensor]:
    """Images around 0.5, where no perturbation below 0.4 is cut off at black or white."""
    x = 0.5 + 0.1 * (torch.rand(count, 1, 8, 8, generator=torch.Generator().manual_seed(0)) - 0.5)
    return x, torch.arange(count) % 10


@pytest.mark.parametrize(
    ("given", "norm", "eps"),
    [
        ({"attack": "pgd", "steps": 5}, "linf", EPS),
        ({"attack": "pgd", "steps": 5, "norm": "l2", "eps": 0.8}, "l2", 0.8),
        ({"attack": "fgsm", "eps": [0.05, 0.2], "mix": 0.5}, "linf", EPS),
    ],
    ids=["pgd-linf", "pgd-l2", "fgsm-interval-mixed"],
)
def test_hardened_network_withstands_pgd_that_breaks_the_undefended(
    tmp_path: Path, undefended: Classifier, given: dict[str, Any], norm: str, eps: float
) -> None:
    defense = AdversarialTraining(options(**given))
    defense.fit(fit_context(tmp_path))
    # 597 images: a difference of 0.2 is more than seven standard errors.
    assert robust_accuracy(defense.classifier, norm, eps) > robust_accuracy(undefended, norm, eps) + 0.2


def test_saved_network_judges_alike(tmp_path: Path) -> None:
    defense = AdversarialTraining(options(attack="fgsm", train={"epochs": 1}))
    defense.fit(fit_context(tmp_path / "fit", images=200))
    (tmp_path / "out").mkdir()
    defense.save(tmp_path / "out")

    loaded = AdversarialTraining(defense.options)
    loaded.classifier = new_classifier(Rng(99))
    loaded.load(tmp_path / "out")

    x = digits(0, 50).images(range(50))
    assert not any(p.requires_grad for p in loaded.classifier.parameters())
    assert torch.equal(defense.classifier(x), loaded.classifier(x))
    verdict = loaded.judge(Batch(x, loaded, Rng(0)))
    assert torch.equal(verdict.label, defense.classifier(x).argmax(1))
    assert verdict.score is None


# The loss of a batch


def fgsm_by_hand(classifier: Classifier, x: Tensor, y: Tensor, eps: float) -> Tensor:
    """Goodfellow et al. 2015, section 4, clipped to the range of pixels; the network in eval mode."""
    judge = copy.deepcopy(classifier).eval()
    x = x.clone().requires_grad_()
    cross_entropy(judge(x), y).backward()
    assert x.grad is not None
    return (x.detach() + eps * x.grad.sign()).clamp(0, 1)


@pytest.mark.parametrize("mix", [0.0, 0.3, 0.5, 1.0])
def test_loss_is_the_weighted_sum_of_clean_and_adversarial_loss(mix: float) -> None:
    classifier = new_classifier(Rng(0))
    split = digits(0, 40)
    x, y = split.images(range(40)), torch.from_numpy(split.labels)
    classifier.train()(x)  # gives batch normalisation statistics of its own
    x_adv = fgsm_by_hand(classifier, x, y, EPS)
    shown = {0.0: x_adv, 1.0: x}.get(mix, torch.cat([x, x_adv]))
    losses = cross_entropy(copy.deepcopy(classifier)(shown), y.repeat(len(shown) // 40), reduction="none")
    clean, adversarial = losses[:40].mean(), losses[-40:].mean()

    loss = objective(attack="fgsm", mix=mix).loss(classifier, x, y, Rng(1))

    torch.testing.assert_close(loss, mix * clean + (1 - mix) * adversarial)


def test_clean_loss_alone_is_plain_training_bit_for_bit(tmp_path: Path) -> None:
    recipe = RECIPE.model_copy(update={"epochs": 2, "select": "last", "label_smoothing": 0.1})
    context = fit_context(tmp_path, recipe, images=300)
    defense = AdversarialTraining(options(mix=1))
    defense.fit(context)
    assert same_weights(defense.classifier, plainly_trained(context))


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_crafting_leaves_no_trace_in_the_network(mode: str) -> None:
    classifier = new_classifier(Rng(0))
    split = digits(0, 40)
    x, y = split.images(range(40)), torch.from_numpy(split.labels)
    cross_entropy(classifier.train()(x), y).backward()
    gradients = [p.grad.clone() for p in classifier.parameters() if p.grad is not None]
    untouched = copy.deepcopy(classifier)
    seen = inputs_of(classifier)

    objective(steps=3, crafting_mode=mode).loss(classifier, x, y, Rng(1))

    assert all(module.training for module in classifier.modules())
    assert all(p.requires_grad for p in classifier.parameters())
    kept = [p.grad for p in classifier.parameters() if p.grad is not None]
    assert len(kept) == len(gradients) == 10
    assert all(torch.equal(a, b) for a, b in zip(kept, gradients, strict=True))
    # The one pass that learns has moved the running statistics, and nothing else has.
    untouched(seen[-1])
    assert same_weights(classifier, untouched)


def test_a_layer_that_is_held_in_eval_mode_stays_there() -> None:
    classifier = new_classifier(Rng(0)).train()
    held = classifier.network[1]
    held.eval()
    objective(steps=1).loss(classifier, *grey(8), Rng(1))
    assert not held.training
    assert classifier.network[5].training


def test_drawn_budgets_are_uniform_in_the_interval_and_steps_follow() -> None:
    classifier = new_classifier(Rng(0)).train()
    x, y = grey(4)
    judged = objective(attack="fgsm", eps=["4/255", 0.05])
    seen = inputs_of(classifier)
    sizes = []
    for number in range(300):
        judged.loss(classifier, x, y, Rng(5).spawn("batch", number))
        sizes.append(float((seen[-1] - x).abs().max()))
    # FGSM moves every pixel by eps.
    assert min(sizes) >= 4 / 255 - 1e-6
    assert max(sizes) <= 0.05 + 1e-6
    assert kstest(sizes, "uniform", args=(4 / 255, 0.05 - 4 / 255)).pvalue > 0.01


def test_parts_of_a_split_batch_share_the_budget_but_not_the_noise() -> None:
    # An almost zero step leaves the random start, whose size shows the budget.
    classifier = new_classifier(Rng(0)).train()
    x = torch.full((1, 1, 8, 8), 0.5).repeat(200, 1, 1, 1)
    y = torch.zeros(200, dtype=torch.int64)
    seen = inputs_of(classifier)
    rng = Rng(8)
    judged = objective(eps=[0.1, 0.4], steps=1, step=1e-9)
    judged.loss(classifier, x[:100], y[:100], rng)
    judged.loss(classifier, x[100:], y[100:], rng)
    one, other = seen[1] - 0.5, seen[3] - 0.5
    assert not torch.equal(one, other)
    # 6,400 uniform draws each: their largest lies within 1 % of the budget.
    assert float(one.abs().max()) == pytest.approx(float(other.abs().max()), rel=0.01)

    whole = inputs_of(classifier)
    judged.loss(classifier, x, y, Rng(8))
    torch.testing.assert_close(torch.cat([one, other]), whole[1] - 0.5)


@given(
    norm=st.sampled_from(["linf", "l2"]),
    attack=st.sampled_from(["pgd", "fgsm"]),
    eps=st.floats(1e-3, 1),
    step_ratio=st.none() | st.floats(0.01, 5),
    random=st.none() | st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_every_image_learned_from_is_in_the_ball_and_in_the_range(
    norm: str, attack: str, eps: float, step_ratio: float | None, random: bool | None, seed: int
) -> None:
    classifier = new_classifier(Rng(seed)).train()
    split = digits(seed % 1700, seed % 1700 + 5)
    x, y = split.images(range(5)), torch.from_numpy(split.labels)
    seen = inputs_of(classifier)
    judged = objective(attack=attack, norm=norm, eps=eps, step_ratio=step_ratio, random_start=random)
    judged.loss(classifier, x, y, Rng(seed))
    delta = (seen[-1] - x).flatten(1)
    size = delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)
    assert float(size.max()) <= eps * (1 + 1e-5) + 1e-6
    assert float(seen[-1].min()) >= 0
    assert float(seen[-1].max()) <= 1 + 1e-6


# Training as a whole


def test_best_epoch_is_the_one_with_the_best_mean_of_clean_and_adversarial_accuracy() -> None:
    classifier = new_classifier(Rng(1))
    train, val = digits(0, 300), digits(1000, 1200)
    judged = objective(attack="fgsm")
    history = training.train(
        classifier, train, val, RECIPE, rng=Rng(2), device=CPU, progress=Progress(), objective=judged
    )
    means = [(epoch["clean"] + epoch["adversarial"]) / 2 for epoch in history.epochs]
    assert len(means) == RECIPE.epochs
    assert history.best_epoch == 1 + int(np.argmax(means))
    assert all(epoch["adversarial"] < epoch["clean"] for epoch in history.epochs)
    again = training.validate(classifier, val, judged, Rng(2).spawn("validation"), RECIPE.batch_size, CPU)
    assert (again["clean"] + again["adversarial"]) / 2 == pytest.approx(max(means))


def test_validation_attack_can_be_another_than_the_training_attack(undefended: Classifier) -> None:
    val = digits(1000, 1200)

    def adversarial_accuracy(**given: Any) -> float:
        judged = objective(**given)
        return training.validate(undefended, val, judged, Rng(0), 64, CPU)["adversarial"]

    at_lower_end = adversarial_accuracy(attack="fgsm", eps=0.02)
    at_upper_end = adversarial_accuracy(attack="fgsm", eps=0.2)
    assert at_lower_end > at_upper_end + 0.2
    assert adversarial_accuracy(attack="fgsm", eps=[0.02, 0.2]) == at_upper_end
    stronger = {"attack": "fgsm", "eps": 0.2}
    assert adversarial_accuracy(attack="fgsm", eps=0.02, validation=stronger) == at_upper_end


def test_interrupted_training_ends_with_the_same_weights(tmp_path: Path, clock: Any) -> None:
    class Killed(Progress):
        def update(self, done: int, total: int, unit: str = "images") -> None:
            clock.seconds += 60
            if done > 0.6 * total:
                raise KeyboardInterrupt

    given = {"eps": [0.05, 0.2], "steps": 2, "mix": 0.5}
    whole = AdversarialTraining(options(**given))
    whole.fit(fit_context(tmp_path / "whole", images=200))

    context = fit_context(tmp_path / "killed", images=200)
    with pytest.raises(KeyboardInterrupt):
        AdversarialTraining(options(**given)).fit(dataclasses.replace(context, progress=Killed()))
    before = passes.copy()
    resumed = AdversarialTraining(options(**given))
    resumed.fit(context)

    assert same_weights(whole.classifier, resumed.classifier)
    all_passes = resumed.passes(200, 40, RECIPE)
    assert all_passes is not None
    assert (passes - before).forward == all_passes.forward // 2  # three of six epochs


@pytest.mark.parametrize(
    ("given", "per_train", "per_val"),
    [
        # Fewest: a pass per step, and the learning step's own.
        ({"steps": 3}, Passes(4, 4), Passes(5, 3)),
        ({"attack": "fgsm"}, Passes(2, 2), Passes(3, 1)),
        ({"steps": 3, "mix": 0.5}, Passes(5, 5), Passes(5, 3)),
        ({"steps": 3, "mix": 1}, Passes(1, 1), Passes(5, 3)),
        ({"steps": 3, "train": {"select": "last"}}, Passes(4, 4), Passes(1, 0)),
        ({"steps": 3, "validation": {"eps": 0.2, "steps": 4}}, Passes(4, 4), Passes(6, 4)),
        ({"steps": 3, "crafting_mode": "train"}, Passes(4, 4), Passes(5, 3)),
    ],
)
def test_no_more_passes_than_needed(tmp_path: Path, given: dict[str, Any], per_train: Passes, per_val: Passes) -> None:
    defense = AdversarialTraining(options(**given))
    context = fit_context(tmp_path, RECIPE.model_copy(update={"epochs": 2}), images=100)
    before = passes.copy()
    defense.fit(context)
    made = passes - before
    assert made == Passes(
        2 * (100 * per_train.forward + 20 * per_val.forward),
        2 * (100 * per_train.backward + 20 * per_val.backward),
    )
    assert made == defense.passes(100, 20, context.recipe)


def test_progress_reaches_its_end(tmp_path: Path) -> None:
    messages: list[tuple[Any, ...]] = []
    context = fit_context(tmp_path, RECIPE.model_copy(update={"epochs": 1}), images=100)
    context.progress = Progress(lambda *message: messages.append(message))
    AdversarialTraining(options(steps=1)).fit(context)
    assert messages[-1] == ("progress", 120, 120, "training images")


def test_training_can_begin_with_the_trained_model(tmp_path: Path, undefended: Classifier) -> None:
    still = {"epochs": 1, "lr": 1e-12, "select": "last"}
    context = fit_context(tmp_path, images=100)
    context.classifier = undefended
    before = copy.deepcopy(undefended)

    defense = AdversarialTraining(options(steps=1, init="model", train=still))
    assert defense.needs_classifier
    defense.fit(context)

    parameters = dict(undefended.named_parameters())
    for name, parameter in defense.classifier.named_parameters():
        torch.testing.assert_close(parameter, parameters[name])
    assert defense.classifier is not undefended
    assert same_weights(undefended, before)
    assert not AdversarialTraining(options()).needs_classifier


# Options


@pytest.mark.parametrize(
    ("given", "where", "what"),
    [
        ({"eps": 8}, "eps", "eps 8 makes no sense for linf .* Did you mean '8/255'?"),
        ({"eps": [0.02, 5]}, "eps", "eps 5 makes no sense for linf .* Did you mean '5/255'?"),
        ({"eps": "300/255"}, "eps", r"the largest is 1\.$"),
        ({"eps": [0.05, 0.02]}, "eps", r"\[0.05, 0.02\] is upside down"),
        ({"eps": [0.1, 0.2, 0.3]}, "eps", "write a budget such as 8/255, or an interval such as"),
        ({"eps": {"low": 0.1}}, "eps", "write a budget such as 8/255, or an interval such as"),
        ({"eps": True}, "eps", "write a budget"),
        ({"eps": [0.1, None]}, "eps", "write a budget"),
        ({"eps": "eight"}, "eps", "'eight' is not a number or a fraction"),
        ({"eps": [0, 0.1]}, "eps", "'0' must be a finite number above 0"),
        ({"steps": 0}, "steps", "greater than or equal to 1"),
        ({"steps": 2.5}, "steps", "integer"),
        ({"attack": "fgsm", "steps": 5}, "steps", "fgsm takes one step, not 5"),
        ({"step": "2/255", "step_ratio": 0.1}, "step_ratio", "not both"),
        ({"norm": "l1"}, "norm", "'linf' or 'l2'"),
        ({"mix": 1.5}, "mix", "less than or equal to 1"),
        ({"validation": {"eps": 16}}, "validation.eps", "Did you mean '16/255'?"),
        ({"validation": {"steps": 20}}, "validation.eps", "required"),
        ({"train": {"epoch": 3}}, "train.epoch", "not permitted"),
        ({"train": {"epochs": 0}}, "train.epochs", "greater than or equal to 1"),
        ({"iterations": 7}, "iterations", "not permitted"),
    ],
)
def test_unusable_options_are_refused_where_they_stand(given: dict[str, Any], where: str, what: str) -> None:
    with pytest.raises(ValidationError) as caught:
        options(**given)
    (error,) = caught.value.errors()
    assert ".".join(map(str, error["loc"])) == where
    assert re.search(what, error["msg"])


def test_eps_has_no_default() -> None:
    with pytest.raises(ValidationError, match="eps"):
        validate_options(AdversarialTrainingOptions, {})


def test_defaults_of_steps_and_starts() -> None:
    pgd, fgsm = options(eps="8/255"), options(eps="8/255", attack="fgsm")
    assert (pgd.steps_taken, fgsm.steps_taken) == (7, 1)
    assert (pgd.starts_at_random, fgsm.starts_at_random) == (True, False)
    assert pgd.step_size(0.03) == pytest.approx(2.5 * 0.03 / 7)
    assert fgsm.step_size(0.03) == 0.03
    assert options(step_ratio=0.1).step_size(0.2) == pytest.approx(0.02)
    assert options(step="2/255").step_size(0.2) == 2 / 255


sizes = st.builds(lambda top, bottom: f"{top}/{bottom}", st.integers(1, 255), st.just(255)) | st.floats(1e-6, 1)


@given(
    eps=sizes | st.tuples(sizes, sizes),
    train=st.none()
    | st.fixed_dictionaries(
        {}, optional={"epochs": st.integers(1, 9), "lr": st.floats(0.01, 1), "augment": st.just(["flip"])}
    ),
    step=st.none() | sizes,
)
def test_options_survive_being_written_and_read(eps: Any, train: dict[str, Any] | None, step: Any) -> None:
    def number(size: Any) -> float:
        top, _, bottom = str(size).partition("/")
        return float(top) / float(bottom or 1)

    if isinstance(eps, tuple):
        eps = sorted(eps, key=number)
    first = options(eps=eps, train=train, step=step)
    written = first.model_dump(mode="json")
    second = validate_options(AdversarialTrainingOptions, written)
    assert second == first
    assert second.model_dump(mode="json") == written
    assert written["train"] == train  # defaults would override the model's recipe
    own = TrainOptions(epochs=77, lr=0.5, weight_decay=0.25)
    assert isinstance(second, AdversarialTrainingOptions)
    merged = second.recipe(own)
    assert merged is not None
    assert merged.model_dump(mode="json") == {**own.model_dump(mode="json"), **(train or {})}


def test_schema_accepts_both_forms_of_eps() -> None:
    eps = AdversarialTrainingOptions.model_json_schema()["properties"]["eps"]
    assert [form["type"] for form in eps["anyOf"]] == ["number", "string", "array"]


def test_model_without_a_recipe_needs_one_here(tmp_path: Path) -> None:
    context = fit_context(tmp_path, recipe=None, images=100)
    assert AdversarialTraining(options()).passes(100, 20, None) is None
    with pytest.raises(InputError, match=r"no training recipe .* `train: \{epochs: 20\}`"):
        AdversarialTraining(options()).fit(context)
    AdversarialTraining(options(steps=1, train={"epochs": 1})).fit(context)


def test_sizes_that_do_not_fit_the_images(tmp_path: Path) -> None:
    setting = Setting(DataFacts(("a", "b"), (1, 8, 8), {}), {}, RECIPE, None)
    with pytest.raises(InputError, match=r"eps 300 in l2 is more than the 8.0 .* Did you mean '300/255'\?"):
        AdversarialTraining(options(norm="l2", eps=300)).check_setting(setting)
    with pytest.raises(InputError, match="eps 300"):
        AdversarialTraining(options(validation={"norm": "l2", "eps": 300})).check_setting(setting)

    context = fit_context(tmp_path, images=100)
    warnings: list[str] = []
    context.progress = Progress(lambda *message: warnings.extend(m for m in message[1:] if message[0] == "warning"))
    AdversarialTraining(options(eps="4/255", step=2.0, steps=1, train={"epochs": 1})).fit(context)
    assert len(warnings) == 1
    assert re.search(r"step 2.0 is wider than the ball \(eps 4/255\).*'2.0/255'", warnings[0])


def test_suite_snippets_of_the_readme_are_valid() -> None:
    readme = (Path(bench_advtrain.__file__).parent / "README.md").read_text()
    defenses = {
        name: dict(entry)
        for block in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
        for name, entry in yaml.safe_load(block)["defenses"].items()
    }
    registry = Registry()
    registry.add_module("advtrain", bench_advtrain, Provenance("bench_advtrain", "unmask-bench", "0"))
    for entry in defenses.values():
        registry.create("defense", entry.pop("use"), entry)
    assert {"none", "at-unmask", "at-pcl-pgd"} <= set(defenses)


# No defense, and the registration


def test_none_answers_with_the_classifier(undefended: Classifier) -> None:
    defense = NoDefense(validate_options(NoDefense.Options, {}))
    defense.classifier = undefended
    x = digits(0, 20).images(range(20))
    verdict = defense.judge(Batch(x, defense, Rng(0)))
    assert torch.equal(verdict.label, undefended(x).argmax(1))
    assert verdict.score is None
    assert verdict.flagged is None
    assert defense.needs_classifier
    before = passes.copy()
    defense.judge(Batch(x, defense, Rng(0), logits=undefended(x)))
    assert (passes - before).forward == 20  # those of this test: judging costs none


def test_options_are_validated_without_torch() -> None:
    code = """
import sys
import bench_advtrain
from benchmark.plugins import Provenance, Registry, validate_options
registry = Registry()
registry.add_module("advtrain", bench_advtrain, Provenance("bench_advtrain", "unmask-bench", "0"))
for name in ("none", "adversarial_training"):
    registration = registry.get("defense", name)
    assert registration.version == "1" and registration.summary, registration
    validate_options(registration.options_type(), {"eps": 0.1} if name != "none" else {})
assert "torch" not in sys.modules
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
