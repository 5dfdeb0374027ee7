"""The defense through the contract of defenses and through the host, with an extractor that reads parts from pixels."""

from __future__ import annotations

import json
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from bench_unmask.class_parts import PAPER
from bench_unmask.options import UnMaskDefenseOptions
from bench_unmask.unmask import SENSITIVITY_SCORES, UnMask
from benchmark import (
    ArraySplit,
    ArtifactRequest,
    Batch,
    Classifier,
    DataFacts,
    Dataset,
    DatasetOptions,
    FitContext,
    InputError,
    MissingError,
    Model,
    ModelOptions,
    Options,
    PartAnnotations,
    Rng,
    Setting,
    SharedArtifact,
    Split,
    TrainOptions,
    Verdict,
    hookimpl,
)
from benchmark.defense import NO_LABEL
from benchmark.progress import Progress

CLASSES = ("car", "person", "bottle")
V = {
    "car": ("wheel", "door", "mirror"),
    "person": ("head", "arm", "hand", "leg"),
    "bottle": ("body", "cap", "label"),
}
PARTS = tuple(part for parts in V.values() for part in parts)


# -- images whose red pixels are parts and whose green ones are what the classifier looks at ---------------------------


def drawn(shown: list[set[str]], looks_like: list[int]) -> np.ndarray:
    """Return images (N, 3, 6, 6) in [0, 1]: bright red pixels for the parts shown, a weak green texture per class."""
    x = np.full((len(shown), 3, 36), 0.5, dtype=np.float32)
    x[:, 0] = 0
    for n, (parts, label) in enumerate(zip(shown, looks_like, strict=True)):
        x[n, 0, [PARTS.index(part) for part in parts]] = 1
        x[n, 1] += np.where(np.arange(36) % 3 == label, 0.15, -0.15)
        x[n, 2] = 0.5 + 0.001 * n  # no two images alike
    return x.reshape(-1, 3, 6, 6)


def split_of(count: int, seed: int, keep: float = 0.8) -> DrawnSplit:
    """Return images of all classes, each part of the class shown with probability `keep`."""
    generator = np.random.RandomState(seed)
    labels = np.arange(count) % len(CLASSES)
    shown = [{part for part in V[CLASSES[label]] if generator.rand() < keep} for label in labels]
    shown[-1] = set()  # K finds nothing in one of them
    return DrawnSplit(drawn(shown, labels.tolist()), labels, shown)


class DrawnSplit(ArraySplit):
    def __init__(self, images: np.ndarray, labels: np.ndarray, shown: list[set[str]]) -> None:
        super().__init__(images, labels, CLASSES)
        self.shown = shown

    def part_annotations(self) -> PartAnnotations:
        pairs = [(n, PARTS.index(part)) for n, parts in enumerate(self.shown) for part in sorted(parts)]
        return PartAnnotations(
            {
                "images": [{"id": n} for n in range(len(self))],
                "categories": [{"id": number, "name": part} for number, part in enumerate(PARTS)],
                "annotations": [{"id": k, "image_id": n, "category_id": number} for k, (n, number) in enumerate(pairs)],
            }
        )


class DrawnParts(Dataset):
    Options = DatasetOptions

    def check(self) -> None:
        pass

    def fingerprint(self) -> str:
        return "drawn"

    def load(self, split: str) -> Split:
        return split_of({"train": 90, "val": 60, "test": 60}[split], {"train": 0, "val": 1, "test": 2}[split])


class PixelReader(SharedArtifact):
    """Finds the parts without a network: the score of a part is the brightness of its red pixel."""

    parts: tuple[str, ...] = PARTS
    presence: dict[str, dict[str, float]] | None = None

    def build(self, context: FitContext) -> None:
        pass

    def save(self, folder: Path) -> None:
        (folder / "parts.json").write_text(json.dumps(self.parts))

    def load(self, folder: Path) -> None:
        self.parts = tuple(json.loads((folder / "parts.json").read_text()))

    def observe(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = x[:, 0].flatten(1)[:, : len(PARTS)]
        return {"scores": scores, "boxes": torch.tensor([0.1, 0.2, 0.6, 0.7]).expand(len(x), len(PARTS), 4)}


class ToyUnMask(UnMask):
    def artifacts(self) -> dict[str, ArtifactRequest]:
        return {"extractor": ArtifactRequest("pixel-reader", Options())}


class DrawnPartsOfPeople(DrawnParts):
    """The same images under a class name that the paper's matrix does not have."""

    class_name: ClassVar[str] = "persn"

    def fingerprint(self) -> str:
        return "drawn people"

    def load(self, split: str) -> Split:
        loaded = super().load(split)
        loaded.class_names = tuple(self.class_name if name == "person" else name for name in CLASSES)
        return loaded


class TextureOptions(ModelOptions):
    train: TrainOptions | None = None


class TextureReader(nn.Module):
    """Classifies by the green texture alone, which a small perturbation turns round."""

    def __init__(self) -> None:
        super().__init__()
        self.texture = nn.Parameter((torch.arange(36) % 3 == torch.arange(3)[:, None]).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, 1].flatten(1) - 0.5) @ self.texture.T


class Texture(Model):
    Options = TextureOptions

    def network(self, num_classes: int, image_shape: tuple[int, int, int]) -> nn.Module:
        return TextureReader()


@hookimpl
def register_models(register):
    register("texture", Texture)


@hookimpl
def register_datasets(register):
    register("drawn_parts", DrawnParts)
    register("drawn_parts_of_people", DrawnPartsOfPeople)


@hookimpl
def register_artifacts(register):
    register("pixel-reader", PixelReader)


@hookimpl
def register_defenses(register):
    register("toy_unmask", ToyUnMask)


# -- fitting and judging as the host does ---------------------------------------------------------------------------


def attached(**options: Any) -> ToyUnMask:
    defense = ToyUnMask(UnMaskDefenseOptions(**options))
    defense.classifier = Classifier(TextureReader(), 3, (3, 6, 6)).frozen()
    defense.class_names, defense.device = CLASSES, torch.device("cpu")
    defense.shared = {"extractor": PixelReader(Options())}
    return defense


@pytest.fixture
def table(tmp_path) -> str:
    path = tmp_path / "parts.yaml"
    path.write_text("\n".join(f"{name}: [{', '.join(parts)}]" for name, parts in V.items()))
    return str(path)


@pytest.fixture
def fit(tmp_path, table) -> Callable[..., ToyUnMask]:
    """Return a function that fits the defense, with the table of V unless `class_parts` says otherwise."""

    def fit(
        *,
        val: Split | None = None,
        train: Split | None = None,
        warnings: list[str] | None = None,
        extractor: PixelReader | None = None,
        **options: Any,
    ) -> ToyUnMask:
        defense = attached(**{"class_parts": table, **options})
        extractor = extractor or defense.shared["extractor"]
        val = val or split_of(60, 1)

        def hear(kind: str, *message: object) -> None:
            if kind == "warning" and warnings is not None:
                warnings.append(str(message[0]))

        seen = {name: array.numpy() for name, array in extractor.observe(val.images(range(len(val)))).items()}
        defense.fit(
            FitContext(
                classifier=defense.classifier,
                new_classifier=lambda rng: defense.classifier,
                recipe=None,
                train=train or split_of(90, 0),
                val=val,
                rng=Rng(0),
                device=defense.device,
                progress=Progress(hear),
                checkpoint=tmp_path,
                artifacts={"extractor": extractor},
                observations={("parts", "val", None): lambda: seen},
            )
        )
        return defense

    return fit


def judged(defense: UnMask, shown: list[set[str]], looks_like: list[str]) -> Verdict:
    x = torch.from_numpy(drawn(shown, [CLASSES.index(name) for name in looks_like]))
    return defense.judge(Batch(x, defense, Rng(0)))


def names(verdict: Verdict) -> list[str | None]:
    label = verdict.label
    if verdict.flagged is not None and verdict.label_if_flagged is not None:
        label = torch.where(verdict.flagged, verdict.label_if_flagged, label)
    return [None if one == NO_LABEL else CLASSES[one] for one in label.tolist()]


SHOWN = [set(V["car"]), set(V["car"]), {"wheel", "head"}, set()]
LOOKS = ["car", "person", "person", "bottle"]


def test_always_every_image_is_classified_by_its_parts(fit):
    verdict = judged(fit(threshold=0.9), SHOWN, LOOKS)
    assert names(verdict) == ["car", "car", "car", None]  # {wheel, head}: 1/4 of a car, 1/5 of a person
    assert verdict.flagged.tolist() == [False, True, False, True]
    assert verdict.score.tolist() == [0, 1, 4 / 5, 1]


def test_when_flagged_the_others_keep_the_classifiers_class(fit):
    verdict = judged(fit(threshold=0.9, rectify="when-flagged"), SHOWN, LOOKS)
    assert names(verdict) == ["car", "car", "person", None]
    lower = judged(fit(threshold=0.8, rectify="when-flagged"), SHOWN, LOOKS)
    assert lower.flagged.tolist() == [False, True, True, True]  # 0.8 >= 0.8
    assert names(lower) == ["car", "car", "car", None]
    assert names(judged(fit(threshold=0.0, rectify="when-flagged"), SHOWN, LOOKS)) == ["car", "car", "car", None]


def test_an_image_that_matches_no_class_may_keep_the_classifiers_class(fit):
    assert names(judged(fit(unmatched="classifier"), SHOWN, LOOKS)) == ["car", "car", "car", "bottle"]


def test_details_explain_the_verdict(fit):
    details = judged(fit(), SHOWN, LOOKS).details
    assert details["similarity"].shape == (4, 3)
    assert details["part_scores"].shape == (4, len(PARTS))
    assert details["part_boxes"].shape == (4, len(PARTS), 4)
    assert details["parts_unmatched"].tolist() == [False, False, False, True]
    assert details["parts_none"].tolist() == [False, False, False, True]
    assert not details["parts_tied"].any()
    tied = judged(fit(), [{"wheel", "cap"}] * 2, ["bottle", "car"])  # 1/4 of a car, 1/4 of a bottle
    assert tied.details["parts_tied"].tolist() == [True, True]
    assert names(tied) == ["bottle", "car"]


def test_the_host_flags_unless_the_threshold_is_a_number(fit):
    verdict = judged(fit(rectify="when-flagged"), SHOWN, LOOKS)
    assert verdict.flagged is None
    at_number = judged(fit(rectify="when-flagged", threshold=0.5), SHOWN, LOOKS)
    assert torch.equal(at_number.flagged, at_number.score >= 0.5)
    for one in (verdict, at_number):  # Algorithm 1: the classifier's class, or that of the parts where it is flagged
        assert torch.equal(one.label_if_flagged, judged(fit(), SHOWN, LOOKS).label)
        assert [CLASSES[label] for label in one.label.tolist()] == LOOKS


def test_a_low_part_score_finds_more(fit):
    x = torch.from_numpy(drawn([set(V["car"])], [0]))
    x[:, 0] *= 0.6
    for part_score, found in ((0.0, "car"), (0.6, "car"), (0.61, None)):
        defense = fit(part_score=part_score)
        assert names(defense.judge(Batch(x, defense, Rng(0)))) == [found]


def test_what_is_saved_judges_the_same_and_explains(fit, tmp_path):
    defense = fit(threshold=0.5, part_score=0.45)
    folder = tmp_path / "fitted"
    folder.mkdir()
    defense.save(folder)
    again = attached(class_parts="learned", threshold=0.5, part_score=0.45)  # the table is not read again
    again.load(folder)
    before, after = judged(defense, SHOWN, LOOKS), judged(again, SHOWN, LOOKS)
    assert torch.equal(before.label, after.label)
    assert torch.equal(before.score, after.score)
    assert torch.equal(before.flagged, after.flagged)
    said = json.loads((folder / "explanation.json").read_text())
    assert said["parts"] == list(PARTS)
    assert said["classes"] == list(CLASSES)
    assert said["matrix"] == [[int(part in V[name]) for part in PARTS] for name in CLASSES]
    assert (said["part_score"], said["threshold"]) == (0.45, 0.5)
    assert said["overlap"] == {"shared": 0, "unique": len(PARTS), "share": 0}
    sensitivity = said["part_score_sensitivity"]
    assert [row["part_score"] for row in sensitivity] == list(SENSITIVITY_SCORES)
    assert all(row == {**sensitivity[0], "part_score": row["part_score"]} for row in sensitivity)  # pixels are 0 or 1
    labels = torch.from_numpy(split_of(60, 1).labels)
    verdict = defense.judge(Batch(split_of(60, 1).images(range(60)), defense, Rng(0)))
    assert said["validation"]["rectified_accuracy"] == (verdict.label == labels).double().mean().item()
    assert said["validation"]["similarity"] == pytest.approx(1 - verdict.score.mean().item())
    assert said["validation"]["flagged"] == verdict.flagged.double().mean().item()


def test_sensitivity_shows_where_parts_are_lost(fit):
    shown = [set(V[name]) for name in CLASSES * 5]
    dimmed = drawn(shown, [0, 1, 2] * 5)
    dimmed[:, 0] *= 0.5
    val = DrawnSplit(dimmed, np.arange(15) % 3, shown)
    rows = fit(val=val).explanation.part_score_sensitivity
    accuracy = {row["part_score"]: row["rectified_accuracy"] for row in rows}
    assert {accuracy[score] for score in SENSITIVITY_SCORES if score <= 0.5} == {1.0}
    assert {accuracy[score] for score in SENSITIVITY_SCORES if score > 0.5} == {0.0}
    assert rows[-1]["parts_unmatched"] == rows[-1]["parts_none"] == 1


# -- the class-part matrix --------------------------------------------------------------------------------------------


def test_v_is_learned_from_the_cells_own_annotations_where_the_extractor_has_none(fit):
    about = fit(class_parts="learned").explanation.class_parts()
    assert {name: set(about[name]) for name in CLASSES} == {name: set(V[name]) for name in CLASSES}


def test_v_is_learned_from_what_the_extractor_has_learned_from(fit):
    extractor = PixelReader(Options())
    extractor.presence = {name: dict.fromkeys(V[name], 0.9) | {"arm": 0.4} for name in CLASSES} | {"cow": {}}
    about = fit(class_parts="learned", extractor=extractor, share=0.5).explanation.class_parts()
    assert about["person"] == set(V["person"]) - {"arm"}
    assert about["car"] == set(V["car"])
    more = fit(class_parts="learned", extractor=extractor, share=0.3).explanation.class_parts()
    assert more["car"] == {*V["car"], "arm"}
    assert more.overlap().shared == 1


def test_a_learned_v_without_annotations_is_refused(fit):
    plain = ArraySplit(drawn([set()] * 3, [0, 1, 2]), np.arange(3), CLASSES)
    with pytest.raises(InputError, match="no part annotations to learn it from"):
        fit(class_parts="learned", train=plain)


def test_a_class_without_frequent_parts_is_refused(fit):
    with pytest.raises(InputError, match=r"'car' has no part that is annotated in 100% of its training images"):
        fit(class_parts="learned", share=1.0)


def test_parts_that_the_extractor_does_not_know_are_left_out_with_a_warning(fit):
    warnings: list[str] = []
    about = fit(class_parts="paper", warnings=warnings).explanation.class_parts()
    assert about["bottle"] == {"body", "cap"}
    assert about["car"] == {"mirror", "door", "wheel"}
    assert len(warnings) == 1
    assert "left out: vehicle_left, vehicle_right" in warnings[0]


def test_a_class_of_which_the_extractor_knows_no_part_is_refused(fit, tmp_path):
    path = tmp_path / "other.csv"
    path.write_text("class,wheel,fin\ncar,1,0\nperson,1,1\nbottle,0,1\n")
    with pytest.raises(InputError, match=r"class 'bottle' has the parts fin .* learned none of them"):
        fit(class_parts=str(path))


def setting(*class_names: str) -> Setting:
    return Setting(DataFacts(class_names, (3, 32, 32), {}), {}, None, None)


def test_a_class_that_v_lacks_is_refused_with_the_nearest(table):
    defense = attached(class_parts=table)
    defense.check()
    defense.check_setting(setting(*CLASSES))
    with pytest.raises(InputError, match=r"unknown class 'persn'. Did you mean 'person'\? .*class_parts: learned"):
        defense.check_setting(setting("car", "persn"))
    with pytest.raises(InputError, match="unknown class 'face'"):
        attached(class_parts="paper").check_setting(setting("face", "car"))
    attached(class_parts="learned").check_setting(setting("anything", "at all"))


def test_a_table_is_read_while_the_run_is_planned(tmp_path):
    with pytest.raises(MissingError, match=r"no file .*nowhere.yaml"):
        attached(class_parts=str(tmp_path / "nowhere.yaml")).check()
    empty = tmp_path / "empty.yaml"
    empty.write_text("car: []\n")
    with pytest.raises(InputError, match="class 'car' has no parts"):
        attached(class_parts=str(empty)).check()


def test_the_fingerprint_follows_the_tables_content_not_its_layout(tmp_path, table):
    def printed(text: str, name: str = "v.yaml") -> str:
        (tmp_path / name).write_text(text)
        return attached(class_parts=str(tmp_path / name)).fingerprint()

    one = printed("car: [wheel, door]\nbottle: [cap]\n")
    assert printed("bottle: [cap]\ncar:\n- door\n- wheel\n") == one
    assert printed("class,wheel,door,cap\ncar,1,1,0\nbottle,0,0,1\n", "v.csv") == one
    assert printed("car: [wheel]\nbottle: [cap]\n") != one
    assert attached(class_parts="paper").fingerprint() == attached(class_parts="learned").fingerprint() == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threshold": 1.5}, "less than or equal to 1"),
        ({"threshold": -0.1}, "greater than or equal to 0"),
        ({"threshold": "fprr"}, "'fpr'"),
        ({"part_score": 2.0}, "less than or equal to 1"),
        ({"share": 0.0}, "greater than 0"),
        ({"class_parts": "learnt"}, "Did you mean 'learned'?"),
        ({"rectify": "sometimes"}, "'always' or 'when-flagged'"),
        ({"unmatched": "guess"}, "'no-answer' or 'classifier'"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValidationError, match=message.replace("?", r"\?")):
        UnMaskDefenseOptions(**options)


def test_the_extractor_is_asked_for_by_label_and_looks_at_validation_images_only():
    defense = UnMask(UnMaskDefenseOptions(parts_from="photos"))
    request = defense.artifacts()["extractor"]
    assert request.use == "part-extractor"
    assert (request.dataset, request.per_classifier) == ("photos", False)
    assert defense.observations()["parts"].fit_splits == ("val",)


# -- through the host -------------------------------------------------------------------------------------------------

SUITE = """
suite: toy
title: Toy
seeds: [0]
batch_size: 16
datasets:
  drawn: {use: drawn_parts}
models:
  texture: {use: texture}
attacks:
  step: {use: step, eps: 0.3}
defenses:
  none: {use: plain}
  always: {use: toy_unmask, class_parts: TABLE}
  flagged: {use: toy_unmask, class_parts: TABLE, rectify: when-flagged}
  learned: {use: toy_unmask, class_parts: learned}
grid:
  - {datasets: all, models: all, attacks: all, defenses: all}
"""


@pytest.fixture
def run_suite_file(tmp_path, monkeypatch, table) -> Callable[..., tuple[int, Any, str]]:
    """Return a function that runs a suite in this process: exit code, results, what the run said."""

    def run(text: str = SUITE) -> tuple[int, Any, str]:
        from inline import run_inline

        from benchmark.plugins import load_plugins
        from benchmark.suite import load_suite

        monkeypatch.setenv("BENCH_PLUGINS", "core")
        monkeypatch.setitem(sys.modules, "toy_unmask", sys.modules[__name__])
        path = tmp_path / "suite.yaml"
        path.write_text(textwrap.dedent(text).replace("TABLE", table))
        registry = load_plugins(["toy", "inline", "bench_unmask", "toy_unmask"])
        return run_inline(load_suite(str(path), registry=registry), registry, tmp_path)

    return run


def journal(folder: Path, kind: str) -> int:
    lines = (folder / "journal.jsonl").read_text().splitlines()
    return sum('"task done"' in line and f'"{kind}"' in line for line in lines)


def test_through_the_host_unmask_gives_the_class_back(run_suite_file, tmp_path):
    code, run, said = run_suite_file()
    assert code == 0, said
    values = run.metrics.set_index(["defense", "metric"]).value
    assert (values["none", "clean_accuracy"], values["none", "robust_accuracy"]) == (1, 0)
    for defense in ("always", "learned"):
        assert values[defense, "robust_accuracy"] > 0.9
        assert values[defense, "clean_accuracy"] > 0.9
    assert values["flagged", "clean_accuracy"] >= values["always", "clean_accuracy"]
    for defense in ("always", "flagged", "learned"):
        assert values[defense, "auroc"] > 0.9
        assert values[defense, "clean_fpr"] < 0.2
    test = split_of(60, 2)
    nothing = np.mean([not parts for parts in test.shown])
    assert nothing == 1 / 60
    for prefix in ("", "clean_"):
        assert values["always", f"{prefix}parts_none"] == values["always", f"{prefix}parts_unmatched"] == nothing
        assert values["always", f"{prefix}parts_tied"] == 0
    assert ("none", "parts_none") not in values.index
    samples = run.samples
    successes = samples[(samples.defense == "always") & (samples.attack != "none")].success.sum()
    assert values["always", "detection_images"] == 2 * successes > 0
    assert ("none", "detection_images") not in values.index
    unanswered = samples[(samples.defense == "always") & (samples.label == NO_LABEL)]
    assert len(unanswered) == 2 * sum(not parts for parts in test.shown)
    # One extractor and one extraction per set of images, for three defenses: val, test, attacked.
    assert journal(tmp_path / "run", "artifact") == 1
    assert journal(tmp_path / "run", "observe") == 3
    explained = list((tmp_path / "cache").glob("artifacts/*/*/explanation.json"))
    assert len(explained) == 3


def test_through_the_host_another_table_is_another_defense(run_suite_file, tmp_path, table):
    text = SUITE.replace("  flagged: {use: toy_unmask, class_parts: TABLE, rectify: when-flagged}\n", "")
    assert run_suite_file(text)[0] == 0
    fits = journal(tmp_path / "run", "fit")
    table_path = Path(table)
    table_path.write_text(table_path.read_text().replace("body, cap, label", "cap"))
    assert run_suite_file(text)[0] == 0
    explained = [json.loads(p.read_text()) for p in (tmp_path / "cache").glob("artifacts/*/*/explanation.json")]
    assert sorted(sum(row["matrix"][2]) for row in explained) == [1, 3, 3]
    assert fits == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("use: drawn_parts}", "use: drawn_parts_of_people}"), "unknown class 'persn'. Did you mean 'person'?"),
        (("class_parts: TABLE}", "class_parts: TABLE, threshold: 1.5}"), "defenses.always"),
        (("class_parts: TABLE}", "class_parts: nowhere.yaml}"), "no file"),
        (("class_parts: TABLE}", "class_parts: lerned}"), "Did you mean 'learned'?"),
    ],
)
def test_through_the_host_bad_input_is_one_message_before_any_work(run_suite_file, tmp_path, change, said):
    with pytest.raises(InputError) as refused:
        run_suite_file(SUITE.replace(*change))
    message = str(refused.value)
    assert said in message
    assert "suite.yaml" in message
    assert not (tmp_path / "run").exists()
    assert not list((tmp_path / "cache").glob("artifacts/*/*"))


def test_the_papers_overlap_is_reported_for_its_class_sets(fit, tmp_path):
    defense = fit(class_parts="paper", extractor=_knows_all())
    defense.save(tmp_path)
    said = json.loads((tmp_path / "explanation.json").read_text())["overlap"]
    expected = PAPER.select(CLASSES).overlap()
    assert said == {"shared": expected.shared, "unique": expected.unique, "share": expected.share}


def _knows_all() -> PixelReader:
    from bench_unmask.class_parts import PARTS as ALL

    extractor = PixelReader(Options())
    extractor.parts = ALL
    extractor.observe = lambda x: {"scores": torch.zeros(len(x), len(ALL)), "boxes": torch.zeros(len(x), len(ALL), 4)}
    return extractor
