"""The defense through the host, on digits: what is learned, saved, deployed and attacked, and what is refused."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from hardened import CPU, RECIPE, digits, fit_context, held_out, new_classifier, robust_accuracy, trained_without
from inline import run_inline
from pydantic import ValidationError
from torch import Tensor

from bench_pcl.attacks import PclReleased
from bench_pcl.options import PclOptions, ReleasedOptions
from bench_pcl.pcl import Pcl
from benchmark import Classifier, DataFacts, InputError, Rng, Setting, TrainOptions, Victim
from benchmark.defense import Batch
from benchmark.gradient import ascend, classification_loss, input_gradient, random_start
from benchmark.model import passes
from benchmark.plan.planner import make_plan
from benchmark.plugins import load_plugins, validate_options
from benchmark.statistics import class_separation
from benchmark.suite import load_suite
from benchmark.training import validate

BRANCHES = {"0": 16, "penultimate": None}


def fitted(folder: Path, classifier: Classifier | None, **options: object) -> Pcl:
    made = Pcl(validate_options(PclOptions, {"layers": BRANCHES, "train": {"lr": 0.01}, **options}))
    made.device, made.class_names, made.shared = CPU, tuple(map(str, range(10))), {}
    made.fit(fit_context(folder, classifier))
    return made


@pytest.fixture(scope="module")
def softmax() -> Classifier:
    return trained_without()


@pytest.fixture(scope="module")
def pcl(softmax: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Pcl:
    return fitted(
        tmp_path_factory.mktemp("pcl"),
        softmax,
        layers={"penultimate": None},
        prototype_lr=1.0,
        train={"lr": 0.1, "epochs": 30, "select": "last"},
    )


def accuracy(classifier: Classifier) -> float:
    x, y = held_out()
    with torch.no_grad():
        return float((classifier(x).argmax(1) == y).float().mean())


def test_classes_lie_further_apart_than_under_softmax_at_no_cost_in_accuracy(softmax: Classifier, pcl: Pcl) -> None:
    x, y = held_out()
    with torch.no_grad():
        states = [c.features(x)["penultimate"].numpy() for c in (softmax, pcl.classifier)]
    before, after = (np.mean(class_separation(each, y.numpy())) for each in states)
    assert after > 1.2 * before
    assert accuracy(pcl.classifier) >= accuracy(softmax)


def test_it_falls_below_5_percent_where_its_own_protocol_leaves_more_than_half(pcl: Pcl) -> None:
    """Croce and Hein 2020 have 0.28 % where 32 % were claimed; the same happens on digits, and this is why."""
    x, y = held_out()
    classifier, eps = pcl.classifier, 0.2
    cross_entropy_loss = classification_loss(classifier, y)

    def margin(images: Tensor) -> tuple[Tensor, Tensor]:
        logits = classifier(images)
        own = logits.gather(1, y[:, None]).squeeze(1)
        others = logits.scatter(1, y[:, None], -torch.inf).amax(1)
        return others - own, others > own

    def withstood(x_adv: Tensor) -> Tensor:
        return classifier(x_adv).argmax(1) == y

    ten = {"norm": "linf", "eps": eps, "step": eps / 10, "steps": 10}
    start = random_start(x, "linf", eps, Rng(0).numpy)
    own_protocol = [
        ascend(cross_entropy_loss, x, norm="linf", eps=eps, step=eps, steps=1),
        ascend(cross_entropy_loss, x, **ten),
        ascend(cross_entropy_loss, x, **ten, decay=1.0),
        ascend(cross_entropy_loss, x, **ten, start=start),
    ]
    claimed = torch.stack([withstood(x_adv) for x_adv in own_protocol]).all(0)
    strongest = withstood(ascend(margin, x, norm="linf", eps=eps, step=eps / 5, steps=20, keep="best"))
    vanished = input_gradient(cross_entropy_loss, x).flatten(1).abs().amax(1) == 0
    assert claimed.float().mean() > 0.5
    assert strongest.float().mean() < 0.05
    assert vanished.float().mean() > 0.5


@pytest.mark.parametrize("options", [{}, {"classify": "nearest-prototype"}, {"form": "as-released"}])
def test_what_is_saved_judges_and_is_attacked_alike(
    softmax: Classifier, tmp_path: Path, options: dict[str, object]
) -> None:
    made = fitted(tmp_path / "fit", softmax, train={"epochs": 1, "lr": 0.001}, **options)
    (tmp_path / "saved").mkdir()
    made.save(tmp_path / "saved")
    again = Pcl(made.options)
    again.device, again.class_names, again.shared = CPU, made.class_names, {}
    again.classifier = new_classifier(Rng(9))
    again.load(tmp_path / "saved")
    x, y = digits(1200, 1250).images(range(50)), torch.from_numpy(digits(1200, 1250).labels)
    with torch.no_grad():
        torch.testing.assert_close(again.classifier(x), made.classifier(x), rtol=0, atol=0)
    loss, logits = made.training_loss(x, y)
    torch.testing.assert_close(again.training_loss(x, y)[0], loss)
    torch.testing.assert_close(logits, made.classifier(x))
    assert made.judge(Batch(x, made, Rng(0))).label.tolist() == made.classifier(x).argmax(1).tolist()


def test_the_loss_that_was_minimised_is_attacked_however_the_network_answers(
    softmax: Classifier, tmp_path: Path
) -> None:
    x, y = (part[:50] for part in held_out())
    by_logits, by_prototypes = (
        fitted(tmp_path / classify, softmax, train={"epochs": 1, "lr": 0.001}, classify=classify).training_loss(x, y)
        for classify in ("softmax", "nearest-prototype")
    )
    torch.testing.assert_close(by_logits[0], by_prototypes[0])
    assert not torch.allclose(by_logits[1], by_prototypes[1])


def test_the_joint_loss_is_what_training_has_lowered(softmax: Classifier, pcl: Pcl, tmp_path: Path) -> None:
    hardly = {"lr": 1e-6, "epochs": 1, "select": "last"}
    untrained = fitted(tmp_path, softmax, layers={"penultimate": None}, prototype_lr=1e-6, train=hardly)
    train = digits(0, 1000)
    x, y = train.images(range(1000)), torch.from_numpy(train.labels)
    before, after = (made.training_loss(x, y)[0].mean().item() for made in (untrained, pcl))
    assert after < before - 1


def test_attacked_halves_of_batches_make_it_robuster(softmax: Classifier, tmp_path: Path) -> None:
    made = fitted(
        tmp_path,
        softmax,
        layers={"penultimate": None},
        train={"lr": 0.05, "epochs": 10, "select": "last"},
        adversarial={"eps": [0.1, 0.2], "steps": 3, "step_ratio": 0.5},
    )
    assert robust_accuracy(made.classifier) > robust_accuracy(None) + 0.15


def test_what_is_crafted_on_follows_the_form_unless_it_is_given(softmax: Classifier, tmp_path: Path) -> None:
    x, y = (part[:40] for part in held_out())

    def loss(form: str, **given: str) -> float:
        adversarial = {"eps": 0.15, "attack": "fgsm", **given}
        options = validate_options(PclOptions, {"form": form, "repel": 1.0, "attract": 1.0, "adversarial": adversarial})
        made = Pcl(options)
        made.class_names = tuple(map(str, range(10)))
        return made.objective(fit_context(tmp_path), softmax, RECIPE).loss(softmax, x, y, Rng(0)).item()

    for form, default, other in (("as-published", "joint", "cross-entropy"), ("as-released", "cross-entropy", "joint")):
        assert loss(form) == loss(form, loss=default)
        assert loss(form) != loss(form, loss=other)


@pytest.mark.parametrize(
    ("adversarial", "judged"),
    [({}, {"accuracy"}), ({"adversarial": {"eps": 0.15, "steps": 3}}, {"clean", "adversarial"})],
)
def test_the_best_epoch_is_selected_by_what_it_is_trained_for(
    softmax: Classifier, tmp_path: Path, adversarial: dict[str, object], judged: set[str]
) -> None:
    before = passes.copy()
    made = fitted(tmp_path, softmax, train={"epochs": 1, "lr": 0.001}, **adversarial)
    spent, foreseen = passes - before, made.passes(1000, 200, RECIPE)
    assert (spent.forward, spent.backward) == (foreseen.forward + 2, foreseen.backward)  # 2 tell the states' widths
    objective = made.objective(fit_context(tmp_path), softmax, RECIPE)
    assert validate(softmax, digits(1000, 1200), objective, Rng(0), 64, CPU).keys() == judged


def test_the_released_attack_on_normalised_pixels_moves_a_pixel_by_its_deviation_only(softmax: Classifier) -> None:
    test = digits(1200, 1300)
    x, y = test.images(range(100)), torch.from_numpy(test.labels)
    victim = Victim(softmax, 10, (1, 8, 8), CPU)
    plain, normalised = (
        PclReleased(validate_options(ReleasedOptions, {"eps": 0.2, "method": method, **std})).craft(
            victim, x, y, Rng(0)
        )
        for method, std in (("bim", {}), ("bim", {"std": [0.25]}))
    )
    assert (plain - x).abs().max() == pytest.approx(0.2, abs=1e-6)
    assert (normalised - x).abs().max() == pytest.approx(0.05, abs=1e-6)


SUITE = """
suite: pcl
title: PCL on digits
seeds: [0]
datasets: {digits: {use: digits, limit: {train: 300, val: 60, test: 60}}}
models: {cnn: {use: small_cnn, width: 8, train: {epochs: 4, batch_size: 32, lr: 0.05}}}
attacks:
  joint: {use: pcl-joint, eps: 0.15, steps: 5}
  bim: {use: bim, eps: 0.15, steps: 5, step: 0.03}
defenses:
  pcl: {use: pcl, layers: LAYERS, train: {lr: 0.01}}
grid:
  - {datasets: all, models: all, attacks: ATTACKS, defenses: all, knowledge: KNOWLEDGE}
"""


def suite(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    attacks: str,
    knowledge: str,
    layers: str = "{block1: 8, hidden: null}",
):
    monkeypatch.setenv("BENCH_PLUGINS", "core,datasets,models,pcl,gradient")
    path = tmp_path / "suite.yaml"
    text = SUITE.replace("ATTACKS", attacks).replace("KNOWLEDGE", knowledge).replace("LAYERS", layers)
    path.write_text(textwrap.dedent(text))
    registry = load_plugins(["inline"])
    return load_suite(str(path), registry=registry), registry


def test_its_own_loss_is_attacked_in_white_box_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, registry = suite(tmp_path, monkeypatch, "[joint, bim]", "white-box")
    code, run, said = run_inline(loaded, registry, tmp_path)
    assert code == 0, said
    table = run.metrics.set_index(["attack", "metric"]).value
    assert table["joint", "perturbation_max"] == pytest.approx(0.15, abs=1e-4)
    assert table["joint", "robust_accuracy"] < table["none", "clean_accuracy"]


def test_an_attacker_who_does_not_know_the_loss_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="needs the loss that the defense was trained by, and this attacker"):
        make_plan(*suite(tmp_path, monkeypatch, "joint", "gray-box"))


@pytest.mark.parametrize("branch", ["null", "16"])
def test_a_layer_that_the_network_lacks_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, branch: str
) -> None:
    with pytest.raises(InputError, match=r"'hiden'.*hidden"):
        make_plan(*suite(tmp_path, monkeypatch, "bim", "gray-box", f"{{hiden: {branch}}}"))


def test_one_class_is_refused() -> None:
    with pytest.raises(InputError, match="two or more classes"):
        Pcl(PclOptions()).check_setting(Setting(DataFacts(("only",), (1, 8, 8), {}), {}, TrainOptions(), None))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"layers": {}}, "name at least one layer"),
        ({"layers": {"gap": 0}}, "the branch at gap has 0 outputs"),
        ({"adversarial": {"eps": [0.5, 0.1]}}, "upside down"),
        ({"attract": -1.0}, "greater than or equal to 0"),
        ({"form": "as-released", "attract": 0.0}, "as-released needs both above 0"),
        ({"form": "as-released", "repel": 0.0}, "as-released needs both above 0"),
    ],
)
def test_unusable_options_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        validate_options(PclOptions, given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        *(({"std": std}, "one value above 0") for std in ([], [0.0], [2.0])),
        ({"method": "fgsm", "steps": 5}, "fgsm takes one step, not 5"),
    ],
)
def test_unusable_options_of_the_released_attacks_are_refused(given: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        validate_options(ReleasedOptions, {"eps": 0.1, **given})
