"""Suite files as they are written: validated components, the grid, mistakes told all at once with their lines."""

import re
import textwrap
import unicodedata
from pathlib import Path

import pytest
from imagined import (
    SUITE,
    SWEEP,
    Pgd,
    plain,
    replaced,
    with_grid,
)

from benchmark.document import dump
from benchmark.suite import Protocol, Substitute

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


def test_a_budget_that_a_profile_leaves_out_is_as_dropped_as_an_attack(load):
    Path("t.csv").write_text("attack,metric,value\npgd@1/255,auroc,0.5\npgd@8/255,auroc,0.6\n")
    text = SWEEP + "reference: {table: t.csv}\n"
    assert [row.attack for row in load(text).reference] == ["pgd@1/255", "pgd@8/255"]
    few = load(text, "attacks.pgd.eps=[8/255]")
    assert [row.attack for row in few.reference] == ["pgd@8/255"]
