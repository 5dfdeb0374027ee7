"""The paper's suites: profiles, layers that the networks have, and published numbers in cells that are run."""

from __future__ import annotations

import csv
import json
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from pinned_keys import registry_without_needs

from benchmark import Rng
from benchmark.names import CLEAN
from benchmark.plan.plan import Plan
from benchmark.plan.planner import make_plan
from benchmark.plugins import Registry, load_plugins
from benchmark.suite import Component, Suite, load_suite

SUITES = Path(__file__).parents[3] / "suites"
NAMES = tuple(sorted(path.stem for path in SUITES.glob("pcl_*.yaml")))
REFERENCE = SUITES / "reference"


@pytest.fixture(scope="module")
def registry() -> Registry:
    return load_plugins([])


def suite(registry: Registry, name: str, profile: str | None = None) -> Suite:
    return load_suite(str(SUITES / f"{name}.yaml"), registry=registry, profile=profile)


BUILT: dict[str, frozenset[str]] = {}


def modules(registry: Registry, model: Component) -> frozenset[str]:
    """Return the names of the network's modules."""
    key = f"{model.use} {model.options}"
    if key not in BUILT:
        made = registry.get("model", model.use).create(model.options)
        BUILT[key] = frozenset(dict(made.build(10, (3, 32, 32), Rng(0)).network.named_modules()))
    return BUILT[key]


@cache
def planned(name: str) -> Plan:
    """Plan the default profile, on stand-ins for its data."""
    registry = registry_without_needs()
    return make_plan(suite(registry, name), registry)


@pytest.mark.parametrize("name", NAMES)
def test_every_profile_is_valid_and_one_runs_without_gpu_and_files(registry: Registry, name: str) -> None:
    base = suite(registry, name)
    assert base.gpu
    assert base.cite
    for profile in base.profiles:
        assert not suite(registry, name, profile).gpu
    embedded = suite(registry, name, "embedded")
    assert {dataset.use for dataset in embedded.datasets.values()} == {"digits"}
    # Digits are no data set of the paper: its numbers do not stand beside theirs.
    assert all(row.value is None for row in embedded.reference)


@pytest.mark.parametrize("name", NAMES)
def test_networks_have_the_layers_that_the_loss_is_applied_to(registry: Registry, name: str) -> None:
    for profile in (None, *suite(registry, name).profiles):
        loaded = suite(registry, name, profile)
        for model, label in dict.fromkeys((point.model, point.defense) for point in loaded.points()):
            defense = loaded.defenses[label]
            if defense.use == "pcl":
                found = modules(registry, loaded.models[model])
                assert set(defense.options.model_dump()["layers"]) <= found, (profile, label, model)


def recipes(loaded: Suite) -> dict[str, str]:
    """Return how each of the paper's networks is trained in the suite, and on what, by what it is."""
    found = {}
    for model in loaded.models.values():
        if model.use in ("cnn6", "cifar_resnet"):
            found[f"{model.use}, depth {model.options.model_dump().get('depth')}"] = str(model.plain())
    for defense in loaded.defenses.values():
        if defense.use == "pcl":
            options = defense.options.model_dump()
            attacked = (options["adversarial"] or {}).get("attack")
            found[f"pcl {options['form']} at {sorted(options['layers'])}, {attacked}"] = str(defense.plain())
    for dataset in loaded.datasets.values():
        options = dataset.plain()
        if options["limit"]:
            options["limit"].pop("test", None)
        found[f"images of {dataset.label}"] = str(options["limit"] or None)
    return found


@pytest.mark.parametrize("profile", [None, "embedded", "cpu-arrays", "cpu-folder"])
def test_suites_share_the_networks_they_train(registry: Registry, profile: str | None) -> None:
    """What one suite has trained, the next takes from the cache: the numbers are of the same networks."""
    seen: dict[str, dict[str, list[str]]] = {}
    for name in NAMES:
        if profile in (None, *suite(registry, name).profiles):
            for what, how in recipes(suite(registry, name, profile)).items():
                seen.setdefault(what, {}).setdefault(how, []).append(name)
    assert any(len(names) > 1 for ways in seen.values() for names in ways.values())
    assert {what: ways for what, ways in seen.items() if len(ways) > 1} == {}


@pytest.mark.parametrize("name", NAMES)
def test_published_numbers_belong_to_cells_and_say_enough_to_find_one(name: str) -> None:
    plan = planned(name)
    groups = plan.suite.groups
    assert plan.suite.reference
    for row in (one for one in plan.suite.reference if one.is_of_a_cell):
        attacks = groups.get(row.attack, (row.attack,))
        for attack in attacks:
            fits = [
                cell
                for cell in plan.cells
                if (cell.dataset, cell.model, cell.attack, cell.defense)
                == (row.dataset, row.model, attack, row.defense)
                and row.knowledge in ("", cell.knowledge)
            ]
            assert len(fits) == 1 or (fits and attack == CLEAN), row
        assert row.metric.removeprefix("worst_case_") == (
            "clean_accuracy" if attacks == (CLEAN,) else "robust_accuracy"
        )
        assert row.metric.startswith("worst_case_") == (row.attack in groups)
        # A figure is a picture: its places have no numbers.
        assert row.value is None if row.table == "Figure 4" else 0 <= row.value <= 1


@pytest.mark.parametrize("name", NAMES)
def test_options_are_what_they_were_after_a_task_has_read_them_again(registry: Registry, name: str) -> None:
    for attack in suite(registry, name).attacks.values():
        written = attack.options.model_dump(mode="json")
        assert type(attack.options).model_validate_json(json.dumps(written)) == attack.options, attack.label


@pytest.mark.parametrize("name", NAMES)
def test_cells_of_two_attackers_have_two_names(name: str) -> None:
    names = Counter((c.dataset, c.model, c.attack, c.defense, c.knowledge) for c in planned(name).cells)
    assert max(names.values()) == 1


def published(table: str, place: str) -> list[float]:
    """Values of a reference file in its order, of the rows of one published table."""
    with open(REFERENCE / f"pcl_{table}.csv", newline="") as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["table"] == place]


# Sums over the paper's tables, added up from its text and not from the files.
@pytest.mark.parametrize(
    ("table", "place", "count", "total"),
    [
        ("table3", "Table 3", 54, 25.5679),
        ("table7", "Table 7", 24, 11.1019),
        ("figure4_grey", "Table 9", 9, 7.496),
        ("figure4_photo", "Table 8", 9, 5.283),
        ("table6", "Table 6", 16, 7.6125),
        ("autoattack", "Croce and Hein: AutoAttack", 2, 0.8944),
        ("comparison", "Table 4", 35, 14.48),
        ("comparison", "Table 5", 29, 19.924),
        ("comparison", "Table 8", 80, 43.261),
        ("comparison", "Table 8, adversarially trained there", 24, 9.834),
        ("comparison", "Table 9", 92, 63.709),
    ],
)
def test_tables_add_up(table: str, place: str, count: int, total: float) -> None:
    values = published(table, place)
    assert len(values) == count
    assert sum(values) == pytest.approx(total, abs=1e-9)
