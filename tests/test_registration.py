"""What a plugin may register: everything else is refused, with one message each."""

from __future__ import annotations

import re
import sys
from types import ModuleType
from typing import Any

import pytest

from benchmark import (
    Attack,
    AttackOptions,
    Dataset,
    Defense,
    Hardener,
    InputError,
    Metric,
    MetricValue,
    Model,
    Options,
    Verdict,
)
from benchmark.cli import main
from benchmark.plugins import Provenance, Registry


class Blur(Defense):
    family = "preprocessor"

    def judge(self, batch):
        return Verdict(label=batch.logits.argmax(1))


class Nameless(Defense):
    def judge(self, batch):
        return Verdict(label=batch.logits.argmax(1))


class Misspelt(Blur):
    family = "hardner"


class Alone(Blur):
    def judge(self):
        return None


class Greedy(Blur):
    def judge(self, batch, threshold):
        return None


class Bare(Defense):
    family = "detector"


class Called(Blur):
    def gives_scores(self):
        return False


class Silent(Blur):
    fit = None


class Loose:
    family = "preprocessor"

    def judge(self, batch):
        return None


class Eager(Blur):
    def __init__(self):
        pass


class Unruly(Blur):
    Options = dict


class FineAttack(Attack):
    def craft(self, victim, x, y, rng, *, log=None):
        return x


class Listed(Blur):
    Options = {"sigma": 1.0}


class Waits(Blur):
    async def judge(self, batch):
        return Verdict(label=batch.logits.argmax(1))


class Goes(FineAttack):
    def craft(self, victim, x, y, rng):
        yield x


class Yes(Blur):
    randomised = "yes"


class Cites(Blur):
    published_attacks = ("Doe 2002",)


class Chooses(Blur):
    @property
    def family(self):
        return "sorter"


class Crafts(Attack):
    def craft(self, victim, x, y):
        return x


class Unmeasured(Attack):
    Options = Options

    def craft(self, victim, x, y, rng):
        return x


class Greyscale(Model):
    def network(self, num_classes):
        return None


class Nowhere(Dataset):
    def check(self):
        pass

    def fingerprint(self):
        return ""


class Everywhere(Metric):
    title, scope = "Everywhere", "everywhere"

    def compute(self, cells):
        return MetricValue(0, 0, 0, 0)


class Untitled(Metric):
    scope = "clean"

    def compute(self, cells):
        return MetricValue(0, 0, 0, 0)


class FineOptions(AttackOptions):
    steps: int = 1


def registry_of(kind: str, *calls, **keywords) -> Registry:
    """Return a registry with a module that registers each of `calls`."""
    module = ModuleType("stranger")

    def hook(register):
        for call in calls:
            register(*call, **keywords)

    setattr(module, f"register_{kind}s", hook)
    registry = Registry()
    registry.add_module("stranger", module, Provenance("stranger", "bench-stranger", "1.0"))
    return registry


@pytest.mark.parametrize(
    ("kind", "target", "said"),
    [
        ("defense", Nameless, r"`family` of .*Nameless is missing, allowed: none, hardener, preprocessor, .*"),
        ("defense", Misspelt, r"`family` of .*Misspelt is 'hardner', allowed: .* Did you mean 'hardener'\?"),
        ("defense", Alone, r"`judge` of .*Alone is defined as judge\(self\), and is called as judge\(batch\): .*"),
        ("defense", Greedy, r"`judge` .* is defined as judge\(self, batch, threshold\), .*: missing .*'threshold'"),
        ("defense", Bare, r".*Bare lacks what it must define: judge"),
        ("defense", Called, r"`gives_scores` of .*Called is a method: put @property above it"),
        ("defense", Silent, r"`fit` of .*Silent is None where a method is needed"),
        ("defense", Loose, r".*Loose must be a subclass of benchmark.Defense"),
        ("defense", Eager, r"`__init__` of .*Eager is defined as __init__\(self\), and is called as __init__\(opt.*"),
        ("defense", Unruly, r"its options, builtins.dict, must be a subclass of benchmark.Options"),
        ("defense", Listed, r"its options, \{'sigma': 1.0\}, must be a subclass of benchmark.Options"),
        ("defense", Waits, r"`judge` of .*Waits is a coroutine \(`async def`\), and must return its answer"),
        ("attack", Goes, r"`craft` of .*Goes is a generator \(it has `yield`\), and must return its answer"),
        ("defense", Yes, r"`randomised` of .*Yes is 'yes', allowed: True or False"),
        ("defense", Cites, r"`published_attacks` .* is \('Doe 2002',\), allowed: a tuple of benchmark.PublishedAttack"),
        ("defense", Hardener, r".*Hardener lacks what it must define: harden"),
        ("attack", Crafts, r"`craft` of .*Crafts is defined as craft\(self, victim, x, y\), and is called as .*"),
        ("attack", Unmeasured, r"its options, benchmark.options.Options, must be .* benchmark.AttackOptions"),
        ("model", Greyscale, r"`network` of .*Greyscale is defined as network\(self, num_classes\), and is called .*"),
        ("dataset", Nowhere, r".*Nowhere lacks what it must define: load"),
        ("metric", Everywhere, r"`scope` of .*Everywhere is 'everywhere', allowed: clean, attack, group\..*"),
        ("metric", Untitled, r"`title` of .*Untitled is missing, allowed: a text"),
        ("artifact", Blur, r".*Blur must be a subclass of benchmark.SharedArtifact"),
        ("panel", Blur, r".*Blur must be a subclass of benchmark.Panel"),
    ],
)
def test_a_class_that_breaks_its_contract_is_refused_as_a_class_and_as_a_text(kind, target, said, monkeypatch):
    with pytest.raises(InputError) as refused:
        registry_of(kind, ("blur", target))
    assert re.fullmatch(f"{kind} 'blur': {said}", str(refused.value))

    module: Any = ModuleType("strange_target")
    module.Target = target
    monkeypatch.setitem(sys.modules, "strange_target", module)
    registration = registry_of(kind, ("blur", "strange_target:Target")).get(kind, "blur")
    with pytest.raises(InputError) as refused:
        (registration.options_type(), registration.load())
    assert re.fullmatch(rf"{kind} 'blur' \(from bench-stranger 1.0\): {said}", str(refused.value))


def test_a_family_that_depends_on_the_options_is_looked_at_when_there_are_some():
    registry = registry_of("defense", ("chooses", Chooses))
    with pytest.raises(InputError, match=r"defense 'chooses' \(from .*\): `family` is 'sorter', allowed: none, .*"):
        registry.create("defense", "chooses", {})


@pytest.mark.parametrize(
    ("call", "keywords", "said"),
    [
        (("my blur", Blur), {}, "defense: the name 'my blur' is none: write 1 to 100 of the letters"),
        (("a/b", Blur), {}, "defense: the name 'a/b' is none"),
        (("", Blur), {}, "defense: the name '' is none"),
        (("../../etc", Blur), {}, "defense: the name '../../etc' is none"),
        (("blur\n", Blur), {}, r"defense: the name 'blur\n' is none"),
        (("x" * 101, Blur), {}, "defense: the name 'xxx"),
        ((7, Blur), {}, "defense: the name 7 is none"),
        (("blur", "bench_blur.Blur"), {}, "the target 'bench_blur.Blur' is neither a class nor a text 'module:Class'"),
        (("blur", Blur(None)), {}, "the target <"),
        (("blur", Blur), {"options": "BlurOptions"}, "the options 'BlurOptions' is neither"),
        (("blur", Blur), {"options": dict}, "its options, builtins.dict, must be a subclass of benchmark.Options"),
        (("blur", Blur), {"version": 1}, "defense 'blur': the version 1 is no text, such as '1'"),
        (("blur", Blur), {"version": " "}, "defense 'blur': the version ' ' is no text"),
        (("blur", Blur), {"summary": None}, "defense 'blur': the summary None is no text"),
        (("blur", Blur), {"cite": 1}, "defense 'blur': the cite 1 is no text"),
    ],
)
def test_a_name_a_target_a_version_or_a_text_that_is_none_is_refused(call, keywords, said):
    with pytest.raises(InputError) as refused:
        registry_of("defense", call, **keywords)
    assert said in str(refused.value)


def test_one_name_twice_in_a_module_is_refused():
    with pytest.raises(InputError, match="defense 'blur' is registered twice"):
        registry_of("defense", ("blur", Blur), ("blur", Misspelt.__mro__[1]))


def test_what_keeps_the_contract_in_its_own_way_is_taken():
    registry = registry_of("attack", ("fine", FineAttack), options=FineOptions)
    assert registry.get("attack", "fine").load() is FineAttack
    assert registry.get("attack", "fine").options_type() is FineOptions


def test_a_bad_registration_costs_its_own_plugin_only(tmp_path, monkeypatch, capsys):
    """Through the command line: the plugin is listed as failed, and named where a suite asks for it."""
    (tmp_path / "strange.py").write_text(
        "from benchmark import Defense, hookimpl\n"
        "class Odd(Defense):\n    family = 'odd'\n    def judge(self, batch): ...\n"
        "@hookimpl\ndef register_defenses(register):\n    register('odd', Odd)\n"
    )
    (tmp_path / "stranger.py").write_text(
        "from benchmark import hookimpl\n"
        "@hookimpl\ndef register_attacks(register):\n"
        "    register('listed', 'stranger_attack:Listed', options='stranger_options:LISTED')\n"
        "    register('lost', 'stranger:Lost', options='stranger:LostOptions')\n"
        "    register('slow', 'stranger_attack:Slow')\n"
    )
    (tmp_path / "stranger_options.py").write_text("LISTED = {'eps': 0.1}\n")
    info = tmp_path / "bench_strange-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-strange\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[bench]\nstrange = strange\nstranger = stranger\n")
    monkeypatch.syspath_prepend(tmp_path)

    def bench(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        return stop.value.code, *capsys.readouterr()

    code, listed, _ = bench("plugins")
    assert code == 0
    assert "FAILED strange (bench-strange 1.0, strange): defense 'odd': `family` of strange.Odd is 'odd'" in listed
    assert (
        "FAILED listed (bench-strange 1.0, stranger): attack 'listed' (from bench-strange 1.0): its options," in listed
    )
    assert (
        "FAILED lost (bench-strange 1.0, stranger): attack 'lost' (from bench-strange 1.0) cannot be loaded" in listed
    )
    assert re.search(
        r"^  slow +- +\[bench-strange 1.0: stranger\]$", listed, re.MULTILINE
    )  # not looked at before it is used
    code, _, said = bench("validate", "quickstart", "--set", "defenses.odd={use: odd}")
    assert code == 2
    assert "The plugin 'strange' (bench-strange 1.0) failed to load: defense 'odd': `family`" in said
    code, _, said = bench("plugins", "--plugin", "strange")
    assert code == 2
    assert "strange" in said
    sys.modules.pop("strange", None)
