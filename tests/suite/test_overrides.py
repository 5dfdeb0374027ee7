"""What changes a suite file before it is checked: profiles, --set, and components like others."""

import pytest
from imagined import SUITE, Cw, Digits, replaced

from benchmark.document import dump
from benchmark.options import TrainOptions

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
