"""Suite files are validated against the installed plugins, and every mistake is told with its line."""

import re
import shutil
import subprocess
import sys
import textwrap
import types
import unicodedata
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import Field, model_validator

from benchmark.document import Place, Problems, dump, parse
from benchmark.errors import InputError
from benchmark.options import AttackOptions, Budget, DatasetOptions, ModelOptions, Options, TrainOptions
from benchmark.plugins import Provenance, Registry
from benchmark.schema import suite_schema
from benchmark.suite import Protocol, Published, Substitute, find_suite, load_suite, shipped_suites

ROOT = Path(__file__).resolve().parents[1]


class Digits(DatasetOptions):
    pass


class Folder(DatasetOptions):
    path: str
    """Folder with the images."""

    size: int = Field(32, ge=8, le=512)
    """Height and width in pixels."""


class Cnn(ModelOptions):
    width: int = Field(16, ge=1)


class Pgd(AttackOptions):
    norm: Literal["linf", "l2"]
    eps: Budget
    """Largest perturbation."""

    steps: int = Field(40, ge=1)
    step: Budget | None = None


class Cw(AttackOptions):
    norm: Literal["l2"] = "l2"
    eps: Budget | None = Budget("0.5")
    confidence: float = Field(0.0, ge=0)


class Nothing(Options):
    pass


class Hardening(Options):
    attack: Literal["pgd", "fgsm"] = "pgd"
    eps: Budget | tuple[Budget, Budget] = Budget("8/255")
    train: TrainOptions | None = TrainOptions(epochs=50, lr=0.01)


class Tree(Options):
    """A type that contains itself."""

    name: str = "leaf"
    children: tuple["Tree", ...] = ()


class Careless(Options):
    size: int = 1

    @model_validator(mode="after")
    def _check(self) -> "Careless":
        return {}[self.size]


class Odd(Options):
    call: Any = None
    words: dict[str, int] = {}


def make_registry(*, metrics: bool = False) -> Registry:
    kinds: dict[str, dict[str, Any]] = {
        "datasets": {"digits": Digits, "image_folder": Folder},
        "models": {"small_cnn": Cnn},
        "attacks": {
            "pgd": Pgd,
            "cw": Cw,
            "broken": None,
            "odd.name": Cw,
            "plain": "benchmark.options:Options",  # they have no norm
        },
        "defenses": {
            "none": Nothing,
            "adversarial_training": Hardening,
            "tree": Tree,
            "careless": Careless,
            "odd": Odd,
        },
        "metrics": {"robust_accuracy": Nothing, "auroc": Nothing} if metrics else {},
    }
    module = types.ModuleType("fakes")
    for section, names in kinds.items():

        def hook(register, names=names):
            for name, options in names.items():
                register(name, "no_such_module:Fake", options=options, version="1", summary=f"The fake {name}.")

        setattr(module, f"register_{section}", hook)
    registry = Registry()
    registry.add_module("fakes", module, Provenance("fakes", "fake-distribution", "1.0"))
    return registry


REGISTRY = make_registry()

SUITE = """\
suite: demo
seeds: [0, 1]
datasets:
  digits: {use: digits}
  photos: {use: image_folder, path: data/photos, limit: {train: 100, test: 50}}
models:
  small: {use: small_cnn}
  wide: {use: small_cnn, width: 64, train: {epochs: 3}}
attacks:
  pgd: {use: pgd, norm: linf, eps: 8/255}
  cw: {use: cw, confidence: 1}
defenses:
  none: {use: none}
  at: {use: adversarial_training, eps: [2/255, 8/255]}
grid:
  - {datasets: all, models: small, attacks: all, defenses: [none, at]}
groups:
  both: [pgd, cw]
profiles:
  embedded:
    datasets: {photos: null}
    attacks:
      cw: null
      pgd: {eps: 4/255, step: 1/255}
    models: {small: {train: {epochs: 1}}}
    groups: null
    seeds: [7]
  swapped:
    attacks:
      pgd: {use: cw}
"""


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a suite into the current folder and return its name."""
    monkeypatch.chdir(tmp_path)

    def write_suite(text: str, name: str = "s.yaml") -> str:
        Path(name).write_text(text, encoding="utf-8")
        return name

    return write_suite


@pytest.fixture
def load(write):
    def load_text(text: str = SUITE, *sets: str, profile: str | None = None):
        return load_suite(write(text), registry=REGISTRY, profile=profile, sets=sets)

    return load_text


@pytest.fixture
def refusal(load):
    """Return the message for a suite that is refused."""

    def refuse(text: str = SUITE, *sets: str, profile: str | None = None) -> str:
        with pytest.raises(InputError) as caught:
            load(text, *sets, profile=profile)
        return str(caught.value)

    return refuse


def replaced(old: str, new: str) -> str:
    assert SUITE.count(old) == 1, old
    return SUITE.replace(old, new)


# What a suite becomes


def test_a_suite_has_validated_components(load):
    suite = load()
    assert (suite.name, suite.title, suite.seeds) == ("demo", "", (0, 1))
    assert (suite.batch_size, suite.threads, suite.protocol) == (128, 1, Protocol(0.05, "initially-correct", 5))
    assert list(suite.datasets) == ["digits", "photos"]
    pgd = suite.attacks["pgd"]
    assert (pgd.label, pgd.kind, pgd.use, pgd.where) == ("pgd", "attack", "pgd", "s.yaml:10")
    assert isinstance(pgd.options, Pgd)
    assert pgd.plain() == {"norm": "linf", "eps": "8/255", "steps": 40, "step": None}
    assert suite.defenses["at"].plain()["eps"] == ["2/255", "8/255"]
    assert suite.models["wide"].options.train.epochs == 3
    assert suite.groups == {"both": ("pgd", "cw")}
    assert (suite.profile, suite.profiles, suite.path) == (None, ("embedded", "swapped"), Path("s.yaml"))


def test_a_grid_entry_selects_by_all_label_and_list_and_knows_its_line(load):
    (entry,) = load().grid
    assert entry.datasets == ("digits", "photos")
    assert entry.models == ("small",)
    assert entry.attacks == ("pgd", "cw")
    assert entry.defenses == ("none", "at")
    assert (entry.knowledge, entry.substitutes, entry.exclude, entry.where) == ("gray-box", (), (), "s.yaml:16")


SWEEP = SUITE.replace("norm: linf, eps: 8/255}", "norm: linf, eps: [1/255, 0.01, 8/255]}")


def test_a_list_of_budgets_makes_an_attack_of_each(load, validator):
    """The entry's own label stands for all of them, and a budget's for itself."""
    pgd = ("pgd@1/255", "pgd@0.01", "pgd@8/255")
    text = SWEEP.replace("defenses: [none, at]}", "defenses: [none, at], exclude: [{attacks: pgd, defenses: at}]}")
    text = text.replace("  both: [pgd, cw]", "  both: [pgd, cw]\n  one: [pgd@0.01]")
    suite = load(text)
    assert list(suite.attacks) == [*pgd, "cw"]
    assert [str(suite.attacks[label].options.eps) for label in pgd] == ["1/255", "0.01", "8/255"]
    assert {suite.attacks[label].where for label in pgd} == {"s.yaml:10"}
    assert suite.grid[0].attacks == (*pgd, "cw")
    assert suite.grid[0].exclude == ({"attacks": pgd, "defenses": ("at",)},)
    assert suite.groups == {"both": (*pgd, "cw"), "one": ("pgd@0.01",)}
    assert load(dump(suite.resolved)) == suite
    assert not list(validator.iter_errors(plain(text)))
    assert not list(validator.iter_errors(suite.resolved))
    assert list(validator.iter_errors(plain(SWEEP.replace("0.01", "wide"))))
    # Profiles, --set and `like` see the entry as it is written.
    assert list(load(SWEEP, profile="embedded").attacks) == ["pgd"]
    assert list(load(SUITE, "attacks.pgd.eps=[2/255, 4/255]").attacks) == ["pgd@2/255", "pgd@4/255", "cw"]
    likewise = load(SWEEP.replace("  cw: {use: cw, confidence: 1}", "  cw: {like: pgd, steps: 2}"))
    assert [a.options.steps for a in likewise.attacks.values()] == [40, 40, 40, 2, 2, 2]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[1/255, 0.01, 8/255]", "[]", "s.yaml:10: attacks.pgd.eps: a list of budgets needs at least one."),
        ("[1/255, 0.01, 8/255]", "[1/255, none]", "s.yaml:10: attacks.pgd.eps: in this list of budgets, 'none' is not"),
        (
            "[1/255, 0.01, 8/255]",
            "[1/255, [2]]",
            "s.yaml:10: attacks.pgd.eps: in this list of budgets, 'a list' is not",
        ),
        ("[1/255, 0.01, 8/255]", "[1/255, 2/510]", "s.yaml:10: attacks.pgd.eps: 2/510 is there twice (1/255)."),
        ("[1/255, 0.01, 8/255]", "[8]", "eps 8 makes no sense for linf"),
        ("  cw: {", "  pgd@0.01: {", "s.yaml:10: attacks.pgd.eps: 0.01 makes an attack 'pgd@0.01': one is there."),
        ("[pgd, cw]", "[pgd, pgd@0.01]", "groups.both.1: the label 'pgd@0.01' is there twice."),
        ("[pgd, cw]", "[pgd@0.02]", "groups.both.0: unknown attack label 'pgd@0.02'. Did you mean 'pgd@0.01'"),
        ("  both: [pgd, cw]", "  pgd: [cw]", "groups.pgd: an attack has this label."),
        (
            "profiles:",
            "reference: {rows: [{attack: pgd, metric: robust_accuracy, value: 0.5}]}\nprofiles:",
            "attack: 'pgd' has several budgets, name one of them: pgd@1/255, pgd@0.01, pgd@8/255.",
        ),
    ],
)
def test_mistakes_in_a_list_of_budgets(refusal, old, new, message):
    assert message in refusal(SWEEP.replace(old, new))


def test_axes_that_are_left_out_select_all_and_an_empty_list_of_attacks_means_clean_only(load):
    first, second = load(
        replaced("  - {datasets: all, models: small, attacks: all, defenses: [none, at]}", "  - {}\n  - {attacks: []}")
    ).grid
    assert (first.models, first.defenses) == (("small", "wide"), ("none", "at"))
    assert second.attacks == ()


def test_a_list_of_knowledge_makes_an_entry_of_each(load):
    grid = load(SUITE.replace("defenses: [none, at]}", "knowledge: [white-box, black-box], substitute: wide}")).grid
    assert [(entry.knowledge, entry.substitutes) for entry in grid] == [
        ("white-box", ()),
        ("black-box", (Substitute("wide"),)),
    ]


def test_black_box_cells_that_differ_in_the_substitute_alone_are_refused(load, refusal):
    """Tables, groups and marks know a cell by its labels: one of the two would be shown with the other's alarms."""
    first, second = (
        f"- {{knowledge: black-box, models: small, substitute: {name}}}"
        for name in ("wide", "{model: wide, defense: at}")
    )
    said = refusal(with_grid(f"{first[2:]}\n  {second}"))
    assert "grid.1.substitute: an entry above crafts the black-box attack" in said
    assert "(`{like: " in said
    # The same substitute twice is one cell, however it is written.
    load(with_grid(f"{first[2:]}\n  {first.replace('wide', '[wide]')}"))


@pytest.mark.parametrize(
    ("written", "read", "resolved"),
    [
        ("{model: wide, defense: at}", (Substitute("wide", "at"),), {"model": "wide", "defense": "at"}),
        ("[wide]", (Substitute("wide"),), "wide"),
        (
            "[wide, {model: wide, defense: at}]",
            (Substitute("wide"), Substitute("wide", "at")),
            ["wide", {"model": "wide", "defense": "at"}],
        ),
    ],
)
def test_substitutes_are_models_that_a_defense_may_have_hardened(load, written, read, resolved):
    suite = load(SUITE.replace("defenses: [none, at]}", f"knowledge: black-box, substitute: {written}}}"))
    assert suite.grid[0].substitutes == read
    assert suite.resolved["grid"][0]["substitute"] == resolved
    assert load(dump(suite.resolved)) == suite


def test_exclude_takes_labels_and_lists(load):
    rules = "exclude: [{attacks: cw, defenses: at}, {datasets: [photos], models: [small]}]}"
    (entry,) = load(SUITE.replace("defenses: [none, at]}", rules)).grid
    assert entry.exclude == (
        {"attacks": ("cw",), "defenses": ("at",)},
        {"datasets": ("photos",), "models": ("small",)},
    )


def test_labels_are_texts_even_where_they_look_like_numbers(load):
    suite = load(SUITE.replace("small:", "010:", 1).replace("models: small", "models: [010]"))
    assert suite.grid[0].models == ("010",)
    assert suite.resolved["grid"][0]["models"] == ["010"]


def test_a_label_is_found_in_either_unicode_form(load):
    composed, decomposed = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    assert composed != decomposed
    text = SUITE.replace("small:", f"{composed}:", 1).replace("models: small", f"models: {decomposed}")
    assert load(text).grid[0].models == (composed,)


# Profiles


def test_a_profile_merges_mappings_replaces_lists_and_drops_what_is_null(load):
    suite = load(profile="embedded")
    assert suite.seeds == (7,)
    assert list(suite.datasets) == ["digits"]
    assert list(suite.attacks) == ["pgd"]
    assert suite.attacks["pgd"].plain() == {"norm": "linf", "eps": "4/255", "steps": 40, "step": "1/255"}
    assert suite.models["small"].options.train.epochs == 1
    assert suite.groups == {}
    assert suite.grid[0].attacks == ("pgd",)
    assert suite.profile == "embedded"
    assert load().seeds == (0, 1)


def test_another_plugin_replaces_a_component_as_a_whole(load):
    assert load(profile="swapped").attacks["pgd"].plain() == {"norm": "l2", "eps": "0.5", "confidence": 0.0}


def test_null_in_the_options_of_a_profile_is_the_value_null(load):
    text = SUITE + "  still: {models: {wide: {train: null}}}\n"
    assert load(text, profile="still").models["wide"].options.train is None


def test_dropping_what_is_not_there_is_a_mistake(refusal):
    assert refusal(SUITE + "  off: {attacks: {pdg: null}}\n", profile="off") == (
        "s.yaml:31: attacks.pdg: null removes a key, but the suite has no 'pdg' there. Did you mean 'pgd'?"
    )


def test_a_grid_that_names_what_the_profile_drops_is_told_which_line_dropped_it(refusal):
    text = replaced("attacks: all", "attacks: [pgd, cw]")
    assert refusal(text, profile="embedded") == (
        "s.yaml:16: grid.0.attacks.1: unknown attack label 'cw'. Known: pgd. (s.yaml:23 removes it.)"
    )


def test_mistakes_in_a_profile_have_the_lines_of_the_profile(refusal):
    text = replaced("pgd: {eps: 4/255, step: 1/255}", "pgd: {epz: 4/255}")
    assert refusal(text, profile="embedded").startswith("s.yaml:24: attacks.pgd.epz: unknown option 'epz'")


def test_unknown_profiles_and_keys_of_profiles_name_near_ones(refusal):
    assert refusal(profile="embeded") == (
        "s.yaml: unknown profile 'embeded'. Did you mean 'embedded'? Known: embedded, swapped."
    )
    assert "profiles.odd.seed: unknown key 'seed' of a profile. Did you mean 'seeds'?" in refusal(
        SUITE + "  odd: {seed: [1]}\n"
    )


# --set


@pytest.mark.parametrize(
    ("change", "read", "value"),
    [
        ("attacks.pgd.eps=2/255", lambda s: str(s.attacks["pgd"].options.eps), "2/255"),
        ("attacks.pgd.step=0.01", lambda s: s.attacks["pgd"].options.step, 0.01),
        ("datasets.photos.path=/x/y z", lambda s: s.datasets["photos"].options.path, "/x/y z"),
        ('datasets.photos.path="a #b"', lambda s: s.datasets["photos"].options.path, "a #b"),
        ("datasets.photos.limit.train=7", lambda s: s.datasets["photos"].options.limit, {"train": 7, "test": 50}),
        ("datasets.photos.limit=", lambda s: s.datasets["photos"].options.limit, None),
        ("seeds=[3, 4]", lambda s: s.seeds, (3, 4)),
        ("seeds.0=9", lambda s: s.seeds, (9, 1)),
        ("batch_size=32", lambda s: s.batch_size, 32),
        ("protocol.repeats=2", lambda s: s.protocol.repeats, 2),
        ("grid.0.knowledge=white-box", lambda s: s.grid[0].knowledge, "white-box"),
        ("attacks.pgd.use=cw", lambda s: s.attacks["pgd"].options, Cw()),
        ("attacks.pgd={use: cw, confidence: 2}", lambda s: s.attacks["pgd"].options.confidence, 2.0),
        ("attacks.new={use: cw, confidence: 3}", lambda s: s.attacks["new"].options.confidence, 3.0),
        ("groups.both=[pgd]", lambda s: s.groups, {"both": ("pgd",)}),
        ("models.small.train.epochs=2", lambda s: s.models["small"].options.train, TrainOptions(epochs=2)),
        ("models.small.train=null", lambda s: s.models["small"].options.train, None),
        # Only what is set changes: the rest of the option's own default stays.
        ("defenses.at.train.lr=0.1", lambda s: s.defenses["at"].options.train, TrainOptions(epochs=50, lr=0.1)),
    ],
)
def test_set_changes_one_value(load, change, read, value):
    assert read(load(SUITE, change)) == value


def test_set_follows_the_profile_and_the_last_one_wins(load):
    suite = load(SUITE, "attacks.pgd.eps=2/255", "attacks.pgd.eps=1/255", profile="embedded")
    assert str(suite.attacks["pgd"].options.eps) == "1/255"
    assert str(suite.attacks["pgd"].options.step) == "1/255"


def test_set_of_use_comes_first_whatever_the_order(load):
    suite = load(SUITE, "attacks.pgd.confidence=3", "attacks.pgd.use=cw")
    assert suite.attacks["pgd"].options == Cw(confidence=3.0)


def test_labels_with_dots_are_quoted(load):
    text = SUITE.replace("small", '"v1.0 \'x\' ""y"""'.replace('""y""', '\\"y\\"'))
    text = text.replace("use: " + '"v1.0 \'x\' \\"y\\""_cnn', "use: small_cnn")
    label = "v1.0 'x' \"y\""
    assert label in load(text).models
    assert load(text, 'models."v1.0 \'x\' ""y""".width=5').models[label].options.width == 5
    assert load(text, "models.'v1.0 ''x'' \"y\"'.width=6").models[label].options.width == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            "attacks.pgd.epz=4",
            "attacks.pgd.epz: unknown option 'epz' of attack 'pgd'. Did you mean 'eps'? Allowed: eps, norm, step, ",
        ),
        (
            "attacks.pgd.steps=0",
            "attacks.pgd.steps: found the number 0, allowed: a whole number (at least 1).",
        ),
        ("attacks.pdg.eps=4", "attacks: unknown label 'pdg'. Did you mean 'pgd'? Allowed: cw, pgd."),
        ("attacks.new={eps: 1}", "attacks: unknown label 'new'. Allowed: cw, pgd."),
        ("attacks.new={use: wc}", "attacks.new.use: unknown attack plugin 'wc'."),
        ("attacks.none={use: cw}", "attacks.none: 'none' is reserved"),
        (
            "attacks.'worst-of: all'={use: cw}",
            "'worst-of:' is how the tables name groups of attacks. Choose another label.",
        ),
        (
            "datasets.photos.limit.trian=4",
            "datasets.photos: limit: unknown split 'trian', allowed are train, val, test",
        ),
        ("attack.pgd.eps=4", "unknown key 'attack'. Did you mean 'attacks'? Allowed: attacks, batch_size, "),
        ("protocol.repeat=4", "protocol: unknown key 'repeat'. Did you mean 'repeats'? Allowed: adversarial, draws, "),
        ("profiles.embedded.seeds=[1]", "unknown key 'profiles'."),
        ("models.wide.train.epohcs=4", "unknown option 'epohcs' of model 'small_cnn'. Did you mean 'epochs'?"),
        ("attacks.pgd.eps.x=1", "attacks.pgd.eps: found the text '8/255', there is nothing named 'x'."),
        ("grid.3.models=all", "grid: no item '3', it is a list of 1 (from 0)."),
        ("seeds", "write --set PATH=VALUE"),
        ("=1", "write --set PATH=VALUE"),
        ("a..b=1", "write --set PATH=VALUE"),
        ("seeds=[1", "broken YAML: expected ',' or ']'"),
        ("title=a: b", "quote a text that holds ': '"),
        ("title=a #b", "the value reads as 'a': quote it."),
        ("title=!!python/name:os.system", "the tag '!!python/name:os.system' is refused"),
    ],
)
def test_a_set_that_leads_nowhere_is_explained(refusal, change, message):
    text = refusal(SUITE, change)
    assert text.startswith(f"--set {change}: ")
    assert message in text
    assert "\n--set" not in text


def test_a_number_that_is_none_is_told_once(refusal):
    said = refusal(SUITE.replace("confidence: 1", "confidence: .inf")).splitlines()
    assert len(said) == 1
    assert said[0].endswith(": .inf is not a finite number.")


def test_no_group_is_called_as_the_tables_call_groups(refusal):
    text = refusal(SUITE.replace("both:", '"worst-of: both":'))
    assert "'worst-of:' is how the tables name groups of attacks. Choose another label." in text


def test_the_dots_of_a_label_are_to_be_quoted(refusal, load):
    suite = SUITE.replace("attacks:\n", "attacks:\n  pgd-0.1: {like: pgd}\n", 1)
    assert "label 'pgd-0'. A name with dots is quoted: --set 'attacks.\"pgd-0.1\"=…'." in refusal(
        suite, "attacks.pgd-0.1.eps=4/255"
    )
    assert str(load(suite, 'attacks."pgd-0.1".eps=4/255').attacks["pgd-0.1"].options.eps) == "4/255"


def test_set_drops_a_component_and_the_message_remembers(refusal, load):
    assert list(load(SUITE, "datasets.photos=null").datasets) == ["digits"]
    assert "unknown attack label 'cw'. Known: pgd. (--set attacks.cw=null removes it.)" in refusal(
        SUITE, "attacks.cw=null"
    )


# Mistakes


def test_all_mistakes_come_in_one_message_sorted_by_line(refusal):
    message = refusal(
        textwrap.dedent("""\
        suite: demo
        seed: [1]
        seeds: [0, -1, x, 0]
        batch_size: 0
        protocol: {sucess: any-wrong, false_positive_rate: 5}
        title: 8
        datasets:
          photos: {use: image_folder, pth: x, size: 4}
          digitz: {use: digts}
        models:
          small:
            use: small_cnn
            normalize: imagnet
            train: {epochs: ten, optimizer: sgdd}
          other: {use: small_cnn, normalize: {mean: [0.5]}, weights: 5, train: 5}
        attacks:
          pgd: {use: pgd, norm: linf, eps: 8}
          broken: {use: broken}
          plain: {use: plain}
          none: {use: cw}
          nothing: {eps: 1}
        defenses:
          at: {use: adversarial_training, eps: [1, 2, 3]}
          careless: {use: careless}
          flat: 5
        grid: [{models: smal}]
        """)
    )
    known_train = "augment, batch_size, crop_padding"
    expected = [
        r"s.yaml:2: seed: unknown key 'seed'. Did you mean 'seeds'\? Allowed: attacks, batch_size, .*",
        r"s.yaml:3: seeds.3: 0 is there twice.",
        r"s.yaml:3: seeds.1: found the number -1, allowed: a whole number \(at least 0, at most 4294967295\).",
        r"s.yaml:3: seeds.2: found the text 'x', allowed: a whole number \(at least 0, at most 4294967295\).",
        r"s.yaml:4: batch_size: found the number 0, allowed: a whole number \(at least 1\).",
        r"s.yaml:5: protocol.false_positive_rate: found the number 5, allowed: a number \(above 0, below 1\).",
        r"s.yaml:5: protocol.sucess: unknown key 'sucess' of a suite. Did you mean 'success'\? Allowed: adv.*",
        r"s.yaml:6: title: found the number 8, allowed: a text. Quote it to make it a text.",
        r"s.yaml:8: datasets.photos.path: missing: dataset 'image_folder' needs the option 'path' \(Folder with .*\).",
        r"s.yaml:8: datasets.photos.size: found the number 4, allowed: a whole number \(at least 8, at most 512\).",
        r"s.yaml:8: datasets.photos.pth: unknown option 'pth' of dataset 'image_folder'. Did you mean 'path'\? .*",
        r"s.yaml:9: datasets.digitz.use: unknown dataset plugin 'digts'. Did you mean 'digits'\? Known: digits, .*",
        r"  `bench plugins` shows what is installed and from where.",
        r"s.yaml:13: models.small.normalize: found the text 'imagnet', allowed: a mapping with the options mean, std, "
        r"or 'none', 'imagenet' or 'weights'. Did you mean 'imagenet'\?",
        r"s.yaml:14: models.small.train.epochs: found the text 'ten', allowed: a whole number \(at least 1\).",
        r"s.yaml:14: models.small.train.optimizer: found the text 'sgdd', allowed: 'sgd' or 'adamw'. Did .* 'sgd'\?",
        r"s.yaml:15: models.other.normalize.std: missing: model 'small_cnn' needs the option 'std' \(.*",
        r"s.yaml:15: models.other.train: found the number 5, allowed: a mapping with the options epochs, .*, or null.",
        r"s.yaml:15: models.other.weights: found the number 5, allowed: a text, or null. Quote it to make it a text.",
        r"s.yaml:17: attacks.pgd.eps: found the number 8: eps 8 makes no sense for linf .* Did you mean '8/255'\?",
        r"s.yaml:18: attacks.broken.use: attack 'broken' \(from fake-distribution 1.0\) cannot be loaded from "
        r"'no_such_module:Fake': ModuleNotFoundError: .*",
        r"s.yaml:19: attacks.plain.use: attack 'plain' .*: its options, .*, must be a subclass of .*AttackOptions",
        r"s.yaml:20: attacks.none: 'none' is reserved: in a grid it means clean images. Choose another label.",
        r"s.yaml:21: attacks.nothing.use: missing: the name of a plugin is needed. Known: .*",
        r"s.yaml:23: defenses.at.eps: found a list, allowed: a number \(above 0\), or a fraction such as 8/255, or a "
        r"list of 2 \(a number \(above 0\), or a fraction such as 8/255\).",
        r"s.yaml:24: defenses.careless: the options of the defense plugin 'careless' cannot be checked: KeyError: 1",
        r"s.yaml:25: defenses.flat: found the number 5, allowed: a mapping such as {use: NAME}. Known: .*",
        r"s.yaml:26: grid.0.models: unknown model label 'smal'. Did you mean 'small'\? Known: other, small.",
    ]
    lines = message.splitlines()
    for line, pattern in zip(lines, expected, strict=True):
        assert re.fullmatch(pattern, line), f"{line}\n{pattern}"
    assert known_train not in message


def with_grid(entry: str) -> str:
    return replaced("{datasets: all, models: small, attacks: all, defenses: [none, at]}", entry)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{attacks: none}", "attacks: unknown attack label 'none'. Known: cw, pgd. Clean images are always part"),
        (
            "{models: [all]}",
            "models.0: unknown model label 'all'. Did you mean 'small'? Known: small, wide. 'all' stands",
        ),
        ("{models: [small, small]}", "models.1: the label 'small' is there twice."),
        ("{models: []}", "models: empty grid: no label is selected."),
        ("{models: {small: 1}}", "models: found a mapping, allowed: a label, or 'all', or a list of such."),
        ("{attacks: }", "attacks: found nothing, allowed: a label, or 'all', or a list of such."),
        ("{attack: pgd}", "attack: unknown key 'attack' of a grid entry. Did you mean 'attacks'?"),
        (
            "{knowledge: whitebox}",
            "knowledge: found the text 'whitebox', allowed: 'white-box', 'gray-box', 'gray-",
        ),
        ("{knowledge: [white-box, white-box]}", "knowledge.1: 'white-box' is there twice."),
        (
            "{knowledge: adaptive}",
            "knowledge: found the text 'adaptive', allowed: 'white-box', 'gray-box', 'gray-box-retrained' or 'bla",
        ),
        ("{knowledge: []}", "knowledge: found an empty list, allowed: 'white-box'"),
        ("{knowledge: black-box}", "substitute: missing: black-box attacks are crafted on another network"),
        (
            "{knowledge: black-box, substitute: {model: wide, defense: att}}",
            "substitute.defense: unknown defense label 'att'. Did you mean 'at'?",
        ),
        (
            "{knowledge: black-box, substitute: {defense: at}}",
            "substitute.model: missing: a grid entry needs the key 'mod",
        ),
        (
            "{knowledge: black-box, substitute: {model: wide, attack: pgd}}",
            "substitute.attack: unknown key 'attack' of a grid entry. Allowed: defense, model.",
        ),
        ("{knowledge: black-box, substitute: {model: [wide]}}", "substitute.model: found a list, allowed:"),
        (
            "{knowledge: black-box, substitute: []}",
            "substitute: found an empty list, allowed: a label, or a mapping",
        ),
        ("{knowledge: black-box, substitute: [wide, small, wide]}", "substitute.2: 'wide' is there twice."),
        ("{knowledge: black-box, substitute: [[wide]]}", "substitute.0: found a list, allowed:"),
        ("{knowledge: black-box, substitute: wid}", "substitute: unknown model label 'wid'. Did you mean 'wide'?"),
        ("{substitute: wide}", "substitute: only `knowledge: black-box` uses it, this entry is gray-box."),
        (
            "{exclude: {models: small}}",
            "exclude: found a mapping, allowed: a list (each: a mapping with the",
        ),
        ("{exclude: [{}]}", "exclude.0: found an empty mapping"),
        ("{exclude: [{model: small}]}", "exclude.0.model: unknown key 'model' of a grid entry. Did you mean 'models'?"),
        ("{exclude: [{models: smal}]}", "exclude.0.models: unknown model label 'smal'. Did you mean 'small'?"),
        (
            "{models: small, exclude: [{models: wide}]}",
            "exclude.0.models: the rule excludes nothing: this grid entry does not select 'wide'.",
        ),
        ("{exclude: [{models: []}]}", "exclude.0.models: the rule excludes nothing: empty list."),
        ("{exclude: [{models: all}]}", "empty grid: `exclude` leaves nothing of this entry."),
        (
            "{exclude: [{models: small}, {models: wide, defenses: at}, {models: wide, defenses: none}]}",
            "empty grid: `exclude` leaves nothing of this entry.",
        ),
        ("5", "found the number 5, allowed: a mapping with the options datasets, models, attacks, defenses, know"),
    ],
)
def test_mistakes_in_the_grid(refusal, entry, message):
    text = refusal(with_grid(entry))
    assert text.startswith("s.yaml:16: grid.0")
    assert message in text
    assert len(text.splitlines()) == 1, text


def test_excluding_all_attacks_leaves_the_clean_images(load):
    assert load(with_grid("{exclude: [{attacks: all}]}")).grid[0].exclude == ({"attacks": ("pgd", "cw")},)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("suite: demo", "suite: ../x", "s.yaml:1: suite: found the text '../x', allowed: a text (at most 100"),
        ("suite: demo\n", "", "s.yaml:1: suite: missing: a suite needs the key 'suite' (Name of the suite"),
        ("seeds: [0, 1]", "seeds: []", "s.yaml:2: seeds: found an empty list, allowed: a list (each: a whole number"),
        ("seeds: [0, 1]", "seeds: 0", "s.yaml:2: seeds: found the number 0, allowed: a list (each:"),
        ("seeds: [0, 1]", "seeds: [true]", "s.yaml:2: seeds.0: found true, allowed: a whole number"),
        (
            "  both: [pgd, cw]",
            "  both: [pdg, cw]",
            "s.yaml:18: groups.both.0: unknown attack label 'pdg'. Did you mean 'pgd'",
        ),
        ("  both: [pgd, cw]", "  both: []", "s.yaml:18: groups.both: a group needs at least one attack."),
        (
            "  cw: {use: cw, confidence: 1}",
            "  cw: {use: cw, eps: null}",
            "s.yaml:18: groups.both: the attack 'cw' has no budget, and the group has none",
        ),
        ("  both: [pgd, cw]", "  cw: [pgd]", "s.yaml:18: groups.cw: an attack has this label."),
        (
            "  none: {use: none}",
            "  all: {use: none}\n  none: {use: none}",
            "s.yaml:13: defenses.all: 'all' is reserved",
        ),
        ("  none: {use: none}", '  " ": {use: none}\n  none: {use: none}', "a label must not be blank."),
        ("  none: {use: none}", '  "a\\nb": {use: none}\n  none: {use: none}', "must not hold line breaks"),
        ("  none: {use: none}", '  "a\\u2028b": {use: none}\n  none: {use: none}', "must not hold line breaks"),
        ("  none: {use: none}", f"  ? {'x' * 301}\n  : {{use: none}}\n  none: {{use: none}}", "301 characters is too"),
        (
            "  none: {use: none}",
            '  "\\u00e9": {use: none}\n  "e\\u0301": {use: none}\n  none: {use: none}',
            "s.yaml:14: defenses.e\u0301: reads the same as the label on line 13.",
        ),
    ],
)
def test_mistakes_elsewhere(refusal, old, new, message):
    assert message in refusal(replaced(old, new))


def test_missing_sections_are_named_without_follow_up_messages(refusal):
    assert refusal("suite: x\ngrid: [{models: small, attacks: pgd}]\n").splitlines() == [
        "s.yaml:1: datasets: missing: a suite needs it.",
        "s.yaml:1: models: missing: a suite needs it.",
        "s.yaml:1: defenses: missing: a suite needs it.",
        "s.yaml:2: grid.0.attacks: unknown attack label 'pgd'. Known: none.",
    ]


@pytest.mark.parametrize("text", ["- 1", "abc", "5"])
def test_a_suite_is_a_mapping(refusal, text):
    assert "a suite is a mapping that begins with `suite: NAME`" in refusal(text)


def test_an_options_type_that_contains_itself(load, refusal):
    text = SUITE.replace("{use: none}", "{use: tree, children: [{name: a, children: [{name: b}]}]}")
    assert load(text).defenses["none"].options.children[0].children[0].name == "b"
    assert "defenses.none.children.0.children.0.nam: unknown option 'nam' of defense 'tree'. Did you mean 'name'" in (
        refusal(text.replace("{name: b}", "{nam: b}"))
    )
    assert "defenses.none.children: found the number 1, allowed: a list" in refusal(
        SUITE.replace("{use: none}", "{use: tree, children: 1}")
    )


def test_options_with_free_mappings(load, refusal):
    text = SUITE.replace("{use: none}", "{use: odd, call: {a: [1, null]}, words: {x: 1}}")
    assert load(text).defenses["none"].options.call == {"a": [1, None]}
    assert "defenses.none.words.x: found the text 'one', allowed: a whole number." in refusal(
        text.replace("{x: 1}", "{x: one}")
    )


# Published numbers


def test_reference_tables_are_read_relative_to_the_suite(write, load):
    Path("reference").mkdir()
    Path("reference/a.csv").write_text(
        "dataset,attack,defense,metric,value\n"
        "photos,pgd,at,robust_accuracy,0.5\n"
        ",none,none,clean_accuracy,0.95\n"
        "\n"
        "digits,both,at,worst_case_robust_accuracy,1e-2\n"
    )
    Path("reference/b.csv").write_text('\ufeffmetric,value,knowledge\n"auroc",0.5,white-box\n')
    text = SUITE + "reference: {table: [reference/a.csv, reference/b.csv]}\n"
    suite = load(text)
    assert suite.reference == (
        Published(dataset="photos", attack="pgd", defense="at", metric="robust_accuracy", value=0.5),
        Published(attack="none", defense="none", metric="clean_accuracy", value=0.95),
        Published(dataset="digits", attack="both", defense="at", metric="worst_case_robust_accuracy", value=0.01),
        Published(knowledge="white-box", metric="auroc", value=0.5),
    )
    # The profile drops `photos` and the group: what was published about them has no place to go.
    assert [row.metric for row in load(text, profile="embedded").reference] == ["clean_accuracy", "auroc"]
    assert suite.resolved["reference"]["rows"][1] == {
        "attack": "none",
        "defense": "none",
        "metric": "clean_accuracy",
        "value": 0.95,
    }


LAYOUT = """\
table,row,column,dataset,attack,defense,metric,value
Table 1,Photos | None,Clean,photos,none,none,clean_accuracy,0.9
Table 1,Photos | None,C&W,photos,cw,none,robust_accuracy,0.1
Table 1,Photos | Theirs,Clean,,,,clean_accuracy,0.8
Table 2,Digits,Clean,digits,none,at,clean_accuracy,0.7
"""


def placed(suite):
    return [(row.table, row.row, row.column, row.dataset, row.value) for row in suite.reference]


def test_published_numbers_may_say_where_in_their_table_they_stand(load):
    Path("t.csv").write_text(LAYOUT, encoding="utf-8")
    text = SUITE + "reference: {table: t.csv}\n"
    suite = load(text)
    assert placed(suite) == [
        ("Table 1", "Photos | None", "Clean", "photos", 0.9),
        ("Table 1", "Photos | None", "C&W", "photos", 0.1),
        ("Table 1", "Photos | Theirs", "Clean", "", 0.8),
        ("Table 2", "Digits", "Clean", "digits", 0.7),
    ]
    assert load(dump(suite.resolved)) == suite
    # What a profile drops keeps its place; a table of which nothing is left does not.
    few = load(text, "datasets.digits=null", "attacks.cw=null", "groups=null")
    assert placed(few) == [
        ("Table 1", "Photos | None", "Clean", "photos", 0.9),
        ("Table 1", "Photos | None", "C&W", "", 0.1),
        ("Table 1", "Photos | Theirs", "Clean", "", 0.8),
    ]
    assert load(dump(few.resolved)).reference == few.reference


def test_a_budget_that_a_profile_leaves_out_is_as_dropped_as_an_attack(load):
    Path("t.csv").write_text("attack,metric,value\npgd@1/255,auroc,0.5\npgd@8/255,auroc,0.6\n")
    text = SWEEP + "reference: {table: t.csv}\n"
    assert [row.attack for row in load(text).reference] == ["pgd@1/255", "pgd@8/255"]
    few = load(text, "attacks.pgd.eps=[8/255]")
    assert [row.attack for row in few.reference] == ["pgd@8/255"]


def test_what_stands_in_has_the_place_and_not_the_number(load):
    Path("t.csv").write_text(LAYOUT, encoding="utf-8")
    stand_ins = "{datasets: {photos: digits}, attacks: {cw: pgd}, headings: {Photos: Here}}"
    suite = load(SUITE + f"reference: {{table: t.csv, stand_ins: {stand_ins}}}\n")
    assert placed(suite) == [
        ("Table 1", "Here | None", "Clean", "digits", None),
        ("Table 1", "Here | None", "C&W", "digits", None),
        ("Table 1", "Photos | Theirs", "Clean", "", None),
        ("Table 2", "Digits", "Clean", "digits", 0.7),
    ]
    assert suite.reference[1].attack == "pgd"
    assert load(dump(suite.resolved)).reference == suite.reference


@pytest.mark.parametrize(
    ("line", "stand_ins", "message"),
    [
        ("Table 1,A |,B,,,,auroc,1", "", "t.csv:6: row: found the text 'A |': say what the paper calls it"),
        ("Table 1,A,,,,,auroc,1", "", "t.csv:6: column: found the text '': give both"),
        ("Table 2,Digits,Clean,,,,auroc,1", "", "t.csv:6: a second number in the same row and column: the first"),
        (",,,,,at,auroc,", "", "t.csv:6: value: found the text '': a number"),
        ("", "{datasets: {photo: digits}}", "stand_ins.datasets.photo: unknown dataset label 'photo'. Did you"),
        ("", "{datasets: {photos: digit}}", "stand_ins.datasets.photos: unknown dataset label 'digit'. Did"),
        ("", "{headings: {Photo: Here}}", "stand_ins.headings.Photo: unknown heading 'Photo'. Did you mean 'Photos'?"),
        ("", "{dataset: {}}", "stand_ins.dataset: unknown key 'dataset' of `reference`. Did you mean 'datasets'?"),
    ],
)  # fmt: skip
def test_mistakes_in_layouts_have_their_line(refusal, line, stand_ins, message):
    Path("t.csv").write_text(LAYOUT + line, encoding="utf-8")
    assert message in refusal(SUITE + f"reference: {{table: t.csv{stand_ins and ', stand_ins: ' + stand_ins}}}\n")


def test_mistakes_in_reference_tables_have_their_line(write, refusal):
    Path("t.csv").write_text(
        "dataset,atack,metric,value\n"
        "digts,,auroc,0.5\n"
        "digits,,,0.5\n"
        '"digits",,auroc,93 %\n'
        "digits,,auroc,nan\n"
        "digits,,auroc\n"
        "digits,,tpr,0.5\n"
        "digits,,tpr,0.6\n"
    )
    Path("empty.csv").touch()
    assert "reference.tabel: unknown key 'tabel' of `reference`. Did you mean 'table'? Allowed: rows, sta" in refusal(
        SUITE + "reference: {tabel: x}\n"
    )
    assert refusal(SUITE + "reference: {table: [t.csv, empty.csv, tt.csv]}\n").splitlines() == [
        "s.yaml:31: reference.table.2: tt.csv: no such file. Did you mean 't.csv'? Files of that kind there: "
        "empty.csv, t.csv.",
        "empty.csv: empty, a header is needed: table,row,column,artifact,dataset,model,attack,defense,knowledge,"
        "metric,value.",
        "t.csv:1: unknown column 'atack'. Did you mean 'attack'? Allowed: artifact, attack, column, dataset, "
        "defense, knowledge, metric, model, row, table, value.",
        "t.csv:2: dataset: unknown dataset label 'digts'. Did you mean 'digits'? Known: digits, photos.",
        "t.csv:3: metric: found the text '': the name of a measure is needed.",
        "t.csv:4: value: found the text '93 %': not a number such as 0.93.",
        "t.csv:5: value: found the text 'nan': not a number such as 0.93.",
        "t.csv:6: 3 columns, the header has 4.",
        "t.csv:8: a second value for the same cell and metric: the first is at t.csv:7.",
    ]
    Path("t.csv").write_text("metric,value\nrobust_acuracy,0.1\n")
    with pytest.raises(InputError) as caught:
        load_suite(write(SUITE + "reference: {table: t.csv}\n"), registry=make_registry(metrics=True))
    assert str(caught.value) == (
        "t.csv:2: metric: unknown metric 'robust_acuracy'. Did you mean 'robust_accuracy'? "
        "Known: auroc, robust_accuracy."
    )
    Path("t.csv").write_text("dataset,metric\ndigits,auroc\n")
    assert refusal(SUITE + "reference: {table: t.csv}\n") == "t.csv:1: the column 'value' is missing."
    Path("t.csv").write_text('metric,value\n"auroc,0.5\n')
    assert refusal(SUITE + "reference: {table: t.csv}\n") == "t.csv:2: broken CSV: unexpected end of data."


# Names of suites


def test_a_name_finds_the_suite_that_a_plugin_distribution_ships(tmp_path, monkeypatch):
    info = tmp_path / "my_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bench]\nmine = my_plugin\n")
    (info / "RECORD").write_text("share/my-plugin/suites/mine.yaml,,\nshare/other/suites/not_mine.yaml,,\n")
    folder = tmp_path / "share" / "my-plugin" / "suites"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text(SUITE)
    monkeypatch.syspath_prepend(tmp_path)
    assert shipped_suites()["mine"] == (folder / "mine.yaml",)
    assert load_suite("mine", registry=REGISTRY).name == "demo"
    assert find_suite("mine") == folder / "mine.yaml"
    with pytest.raises(InputError, match=r"unknown suite 'mini'. Did you mean 'mine'\?"):
        find_suite("mini")
    assert "not_mine" not in shipped_suites()
    with pytest.raises(InputError, match=r"no such file. A suite of that name ships .*: write 'mine' instead"):
        find_suite(str(tmp_path / "mine.yaml"))


def test_a_name_finds_the_suites_of_a_checkout(tmp_path):
    shutil.copytree(ROOT / "benchmark", tmp_path / "benchmark", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "local.yaml").write_text(SUITE)
    code = "import benchmark.suite; print(benchmark.suite.shipped_suites().get('local'))"

    def shipped() -> str:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
        )
        return done.stdout

    assert "local.yaml" not in shipped()  # a folder `suites` beside an installed package is somebody else's
    (tmp_path / "pyproject.toml").touch()
    assert str(tmp_path / "suites" / "local.yaml") in shipped()


@pytest.mark.parametrize("name", ["", "x\0y", "a/b", "x" * 5000, "../../etc/passwd", "nowhere.yaml"])
def test_a_name_that_leads_nowhere_is_refused(name):
    with pytest.raises(InputError):
        load_suite(name, registry=REGISTRY)


def test_validating_a_suite_imports_no_torch(tmp_path):
    (tmp_path / "s.yaml").write_text(SUITE)
    (tmp_path / "light.py").write_text(
        "from benchmark import hookimpl\n"
        "from benchmark.options import *\n"
        "class O(AttackOptions):\n    norm: str = 'l2'\n    eps: Budget | None = Budget('0.5')\n"
        "    confidence: float = 0\n"
        "class F(DatasetOptions):\n    path: str = ''\n"
        "class M(ModelOptions):\n    width: int = 1\n"
        "class D(Options):\n    eps: Budget | tuple[Budget, Budget] | None = None\n"
        "def reg(options, *names):\n"
        "    def hook(register):\n"
        "        for name in names:\n"
        "            register(name, 'nowhere:X', options=options, version='1')\n"
        "    return hookimpl(hook)\n"
        "register_datasets = reg(F, 'digits', 'image_folder')\n"
        "register_models = reg(M, 'small_cnn')\n"
        "register_attacks = reg(O, 'pgd', 'cw')\n"
        "register_defenses = reg('light:D', 'none', 'adversarial_training')\n"
    )
    code = (
        "import sys, light\n"
        "from benchmark.plugins import Registry, Provenance\n"
        "from benchmark.schema import suite_schema\n"
        "from benchmark.suite import load_suite\n"
        "registry = Registry()\n"
        "registry.add_module('light', light, Provenance('light', 'light', '1'))\n"
        "assert load_suite('s.yaml', registry=registry).name == 'demo'\n"
        "assert suite_schema(registry)\n"
        "assert not {'torch', 'pandas', 'art', 'sklearn'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)


# JSON Schema


@pytest.fixture(scope="module")
def validator():
    import jsonschema

    schema = suite_schema(REGISTRY)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def plain(text: str) -> Any:
    return parse(text, Place("s.yaml"), Problems()).plain()


def test_the_schema_takes_good_suites(validator, load):
    assert not list(validator.iter_errors(plain(SUITE)))
    assert not list(validator.iter_errors(load(SUITE).resolved))
    assert not list(validator.iter_errors(plain(with_grid("{knowledge: [white-box], exclude: [{models: wide}]}"))))
    tree = SUITE.replace("{use: none}", "{use: tree, children: [{name: a, children: [{name: b}]}]}")
    assert not list(validator.iter_errors(plain(tree)))


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("suite: demo", "suite: a b", ["suite"]),
        ("seeds: [0, 1]", "seed: [0, 1]", []),
        ("  digits: {use: digits}", "  digits: {use: digitz}", ["datasets", "digits", "use"]),
        ("path: data/photos, ", "", ["datasets", "photos"]),
        ("path: data/photos, ", "path: a, pth: b, ", ["datasets", "photos"]),
        ("width: 64, ", "width: 0, ", ["models", "wide", "width"]),
        ("train: {epochs: 3}", "train: {epochs: three}", ["models", "wide", "train"]),
        ("eps: 8/255}", "eps: eight}", ["attacks", "pgd", "eps"]),
        ("eps: [2/255, 8/255]", "eps: [2/255]", ["defenses", "at", "eps"]),
        ("  cw: {use: cw, confidence: 1}", "  none: {use: cw}", ["attacks"]),
        ("defenses: [none, at]}", "knowledge: whitebox}", ["grid", 0, "knowledge"]),
        ("defenses: [none, at]}", "defences: [none, at]}", ["grid", 0]),
        ("    seeds: [7]", "    seed: [7]", ["profiles", "embedded"]),
        ("  cw: {use: cw, confidence: 1}", "  cw: {use: broken}", ["attacks", "cw", "use"]),
        (
            "  none: {use: none}",
            "  none: {use: tree, children: [{nam: b}]}",
            ["defenses", "none", "children", 0],
        ),
    ],
)
def test_the_schema_refuses_bad_suites_at_the_same_place(validator, refusal, old, new, where):
    text = replaced(old, new)
    assert where in [list(error.absolute_path) for error in validator.iter_errors(plain(text))]
    assert refusal(text)


def test_the_schema_describes_options_by_their_docstrings():
    definitions = suite_schema(REGISTRY)["$defs"]
    folder = definitions["dataset:image_folder"]
    assert folder["description"] == "The fake image_folder."
    assert folder["properties"]["path"]["description"] == "Folder with the images."
    assert "attack:broken" not in definitions
    assert "attack:odd.name" in definitions


def test_a_schema_without_plugins_is_a_schema():
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(suite_schema(Registry()))


# Properties

labels = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1, max_size=300).filter(str.strip)
nasty = st.sampled_from(
    [
        "no",
        "1e-3",
        "~",
        "null",
        "<<",
        "../x",
        "<script>",
        "a.b",
        "\u202ertl",
        "🙂",
        "'",
        '"',
        "a: b",
        "- a",
        "#",
        "none",
        "=",
        "0",
    ]
)


def suite_of(label: str) -> dict[str, Any]:
    return {
        "suite": "p",
        "datasets": {"d": {"use": "digits"}},
        "models": {label: {"use": "small_cnn"}},
        "attacks": {"a" + label: {"use": "pgd", "norm": "linf", "eps": "8/255"}},
        "defenses": {label: {"use": "odd", "call": {label: [label, None, 1.5]}}, "z" + label: {"use": "none"}},
        "grid": [{"models": [label], "exclude": [{"defenses": label}]}],
        "groups": {"g": ["a" + label]},
        "reference": {"rows": [{"model": label, "metric": "m", "value": 0.25}]},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("suites")


@given(label=labels | nasty)
def test_any_label_survives_being_resolved_written_and_read(folder, label):
    assume(label != "all" and len(label) < 300)
    first, second = folder / "first.yaml", folder / "second.yaml"
    first.write_text(dump(suite_of(label)), encoding="utf-8")
    suite = load_suite(str(first), registry=REGISTRY)
    assert list(suite.models) == [label]
    assert suite.grid[0].exclude == ({"defenses": (label,)},)
    defense: Any = suite.defenses[label].options
    assert defense.call == {label: [label, None, 1.5]}
    second.write_text(dump(suite.resolved), encoding="utf-8")
    again = load_suite(str(second), registry=REGISTRY)
    assert again == suite
    assert again.resolved == suite.resolved


@given(label=labels | nasty, width=st.integers(1, 10**6))
def test_set_reaches_any_label_and_survives_being_written(folder, label, width):
    assume(label != "all" and len(label) < 300)
    path = folder / "set.yaml"
    path.write_text(dump(suite_of(label)), encoding="utf-8")
    doubled = label.replace('"', '""')
    suite = load_suite(str(path), registry=REGISTRY, sets=[f'models."{doubled}".width={width}'])
    model: Any = suite.models[label].options
    assert model.width == width
    path.write_text(dump(suite.resolved), encoding="utf-8")
    assert load_suite(str(path), registry=REGISTRY) == suite


def test_a_suite_with_everything_is_equal_after_being_written_and_read(write, load):
    Path("t.csv").write_text("attack,metric,value\npgd,robust_accuracy,0.1\n")
    text = SUITE + textwrap.dedent("""\
        reference: {table: t.csv}
        cite: [A, B]
        title: "a: b"
        description: |
          two
          lines
        protocol: {success: any-wrong}
        """)
    text = text.replace("defenses: [none, at]}", "knowledge: [gray-box, black-box], substitute: wide}")
    for profile in (None, "embedded", "swapped"):
        suite = load(text, "batch_size=7", profile=profile)
        assert len(suite.grid) == 2
        assert load(dump(suite.resolved)) == suite
    assert load(text) != load(text, "batch_size=7")


def outcome(path: Path, **options: Any) -> str:
    try:
        load_suite(str(path), registry=REGISTRY, **options)
    except InputError as error:
        return str(error)
    return "loaded"


pieces = st.sampled_from(
    [*SUITE.splitlines(keepends=True), "  ", "\n", "{", "}", "[", "]", ": ", "null", "*a", "&a ", "<<: ", "use: ", "'"]
)


@given(text=st.lists(pieces, max_size=40).map("".join) | st.permutations(SUITE.splitlines(keepends=True)).map("".join))
def test_any_mixture_of_suite_text_is_read_or_refused_with_an_input_error(folder, text):
    path = folder / "mixed.yaml"
    path.write_text(text, encoding="utf-8")
    assert outcome(path).startswith(("loaded", str(path)))


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["all", "pgd", "cw", "none"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*plain(SUITE), "use", "pgd"]), inner),
    max_leaves=6,
)


@given(
    key=st.sampled_from([*plain(SUITE), "protocol", "reference", "cite", "batch_size"]), value=values, data=st.data()
)
def test_any_value_anywhere_is_read_or_refused_with_an_input_error(folder, key, value, data):
    tree = plain(SUITE)
    holder = tree
    while isinstance(holder.get(key), dict) and holder[key] and data.draw(st.booleans()):
        holder, key = holder[key], data.draw(st.sampled_from(sorted(holder[key])))
    holder[key] = value
    path = folder / "value.yaml"
    path.write_text(dump(tree), encoding="utf-8")
    for profile in (None, "embedded", "swapped"):
        assert outcome(path, profile=profile).startswith(("loaded", str(path)))


@given(change=st.text(max_size=30) | st.from_regex(r"(attacks|grid|seeds|models)(\.(pgd|0|small|use|train|x))*=.*"))
def test_any_set_is_taken_or_refused_with_an_input_error(folder, change):
    path = folder / "any_set.yaml"
    path.write_text(SUITE, encoding="utf-8")
    message = outcome(path, sets=[change])
    assert message.startswith(("loaded", "--set", str(path)))
    assert all(line.isprintable() for line in message.split("\n"))


# Components like others

ALIKE = """\
suite: demo
datasets:
  photos: {use: image_folder, path: here, size: 64, limit: {train: 100}}
  few: {like: photos, limit: {test: 10}}
  fewer: {like: few, limit: {test: 5}}
models:
  small: {use: small_cnn}
defenses:
  none: {use: none}
grid:
  - {datasets: [few, fewer]}
profiles:
  elsewhere: {datasets: {photos: {path: there}}}
  digits: {datasets: {few: {use: digits}}}
  apart: {datasets: {fewer: {like: photos}}}
"""


def test_a_component_like_another_has_its_plugin_and_options_but_for_its_own(load):
    suite = load(ALIKE)
    assert {component.use for component in suite.datasets.values()} == {"image_folder"}
    assert [(d.options.path, d.options.size, d.options.limit) for d in suite.datasets.values()] == [
        ("here", 64, {"train": 100}),
        ("here", 64, {"train": 100, "test": 10}),
        ("here", 64, {"train": 100, "test": 5}),
    ]
    assert load(dump(suite.resolved)) == suite


@pytest.mark.parametrize(
    ("profile", "sets", "few", "fewer"),
    [
        ("elsewhere", (), ("there", 10), ("there", 5)),
        (None, ("datasets.photos.path=there",), ("there", 10), ("there", 5)),
        (None, ("datasets.few.path=there",), ("there", 10), ("there", 5)),
        (None, ("datasets.fewer.limit.test=7", "datasets.few.path=there"), ("there", 10), ("there", 7)),
        ("apart", (), ("here", 10), ("here", None)),
        (None, ("datasets.fewer.like=photos",), ("here", 10), ("here", None)),
        (None, ("datasets.few={like: photos, path: there}",), ("there", None), ("there", 5)),
    ],
)
def test_what_is_like_another_follows_its_changes(load, profile, sets, few, fewer):
    found = load(ALIKE, *sets, profile=profile).datasets
    for label, (path, test) in {"few": few, "fewer": fewer}.items():
        options = found[label].options
        assert (options.path, options.size, options.limit.get("test")) == (path, 64, test)


def test_another_plugin_ends_the_likeness(load):
    text = ALIKE.replace("limit: {test: 5}", "note: five")
    for found in (load(text, profile="digits"), load(text, "datasets.few.use=digits")):
        assert found.datasets["few"].use == found.datasets["fewer"].use == "digits"
        assert found.datasets["fewer"].options == Digits(note="five")


@pytest.mark.parametrize(
    ("old", "new", "sets", "message"),
    [
        ("like: photos", "like: fotos", (), "s.yaml:4: datasets.few.like: unknown dataset label 'fotos'."),
        ("like: photos", "like: few", (), "datasets.few.like: goes round in a circle: few → few."),
        ("like: photos", "like: fewer", (), "datasets.fewer.like: goes round in a circle: few → fewer → few."),
        ("like: photos", "like: [photos]", (), "datasets.few.like: found a list, allowed: a label of datasets."),
        ("like: photos", "use: digits, like: photos", (), "datasets.few.like: give `use` or `like`, not both."),
        ("", "", ("datasets.photos=null",), "unknown dataset label 'photos'. "),
        ("size: 64", "size: 4", (), "s.yaml:3: datasets.photos.size:"),
        ("{test: 5}", "{tset: 5}", (), "s.yaml:5: datasets.fewer: limit: unknown split 'tset'"),
    ],
)
def test_likeness_that_leads_nowhere(refusal, old, new, sets, message):
    assert message in refusal(ALIKE.replace(old, new, 1), *sets)


def test_a_mistake_that_is_inherited_is_told_where_it_is_made(refusal):
    lines = refusal(ALIKE.replace("like: photos", "like: fotos")).splitlines()
    assert len(lines) == 1


# Documentation

DOCUMENT = (ROOT / "docs" / "suites.md").read_text(encoding="utf-8")


def test_the_suite_in_the_documentation_works_with_each_of_its_profiles_and_sets(load):
    example, alike, swept, grid = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)[:4]
    suite = load(example)
    assert suite.groups == {"worst of both": ("pgd-8", "pgd-2")}
    assert list(load(example, profile="embedded").attacks) == ["pgd-8"]
    other = next(line for line in alike.splitlines() if "like: pgd-8" in line)
    added = load(example.replace("  pgd-2:", f"{other}\n  pgd-2:")).attacks
    assert added["pgd-16"].options == added["pgd-8"].options.model_copy(update={"eps": Budget("16/255")})
    assert len(load(re.sub(r"grid:\n.*\n", grid, example)).grid) == 2
    listed = swept.partition("grid:")[0].replace("use: deepfool", "use: pgd, norm: l2").replace("cw-l2", "cw")
    listed = re.sub(r"attacks:\n.*?(?=defenses:)", listed, example, count=1, flags=re.DOTALL)
    budgets = [f"{label}@{eps}/255" for label in ("pgd", "deepfool") for eps in (64, 128)]
    assert list(load(listed, "groups=null").attacks) == [*budgets, "cw"]
    changes = re.findall(r"^--set '?(.*?)'?  +", DOCUMENT, re.MULTILINE)
    assert len(changes) == 7
    for change in changes:
        change = change.replace("use: blur", "use: none").replace('"v1.0"', '"pgd-8"')
        ungrouped = ["groups=null"] if change.endswith("=null") else []
        load(example, change, *ungrouped)


def test_every_key_and_value_is_documented():
    schema = suite_schema(REGISTRY)
    for key in schema["properties"]:
        assert f"`{key}`" in DOCUMENT
    entry = schema["$defs"]["suite:Entry"]["properties"]
    for key in [*entry, *entry["knowledge"]["anyOf"][0]["enum"], *schema["$defs"]["suite:Protocol"]["properties"]]:
        assert f"`{key}`" in DOCUMENT
