"""Components that exist by name and options alone, a suite of them, and what becomes of changing it."""

import types
from typing import Any, Literal

from pydantic import Field, model_validator

from benchmark.document import Place, Problems, parse
from benchmark.options import AttackOptions, Budget, DatasetOptions, ModelOptions, Options, TrainOptions
from benchmark.plugins import Provenance, Registry


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


def replaced(old: str, new: str) -> str:
    assert SUITE.count(old) == 1, old
    return SUITE.replace(old, new)


SWEEP = SUITE.replace("norm: linf, eps: 8/255}", "norm: linf, eps: [1/255, 0.01, 8/255]}")


def with_grid(entry: str) -> str:
    return replaced("{datasets: all, models: small, attacks: all, defenses: [none, at]}", entry)


def plain(text: str) -> Any:
    return parse(text, Place("s.yaml"), Problems()).plain()
