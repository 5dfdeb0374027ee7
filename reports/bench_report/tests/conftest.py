"""Runs whose verdicts were drawn and whose tables the host made of them, and a reader of finished pages."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest

from bench_report.charts.vega import chart_svg
from benchmark.cells import Attacker

ALL_ATTACKS = "worst-of: all attacks"
BUDGETS = [("linf", "8/255", 8 / 255), ("linf", "8/255", 8 / 255), ("l2", "0.5", 0.5), ("l2", "", None)]
CLASSES = 10


class _Images:
    """Adversarial images, read as from the store."""

    numbers = itertools.count()

    def __init__(self, images: np.ndarray) -> None:
        self.images = images
        self.folder = Path(str(next(_Images.numbers)))

    def take(self, name: str, indices: list[int]) -> np.ndarray:
        return self.images[indices]

    def read(self, start: int, stop: int, names: list[str]) -> dict[str, np.ndarray]:
        return {"x_adv": self.images[start:stop]}


def _attacker(family: str, knowledge: str) -> Attacker:
    """Return one who uses gradients and many steps on what he knows, and about whom no alarm compares cells."""
    bare = family in ("none", "hardener")
    aims: dict[str, Any] = {"gray-box": "base", "white-box": "base" if bare else "undetected"}
    aim = aims.get(knowledge)
    return Attacker(uses_gradient=True, steps=10, aim=aim, evades=aim == "undetected", nearest=True)


def write_run(
    folder: Path,
    *,
    datasets: Sequence[str] = ("digits",),
    models: Sequence[str] = ("small-cnn", "mlp"),
    attacks: Sequence[str] = ("fgsm", "pgd-linf", "pgd-l2", "deepfool"),
    budgets: Sequence[tuple[str, str, float | None]] = BUDGETS,
    defenses: Sequence[str] = ("none", "adversarial-training", "mahalanobis"),
    detectors: Sequence[str] = ("mahalanobis",),
    families: Mapping[str, str] | None = None,
    taught: Mapping[str, Sequence[str]] | None = None,
    knowledge: Sequence[str] = ("gray-box",),
    seeds: Sequence[int] = (0,),
    n: int = 360,
    failed: Callable[[str, str, str, str, int], str] = lambda dataset, model, attack, defense, seed: "",
    missing: Callable[[str, str, str, str, int], bool] = lambda dataset, model, attack, defense, seed: False,
    absent: Callable[[str, str, str, str, str], bool] = lambda dataset, model, attack, defense, knowledge: False,
    reference: Mapping[tuple[str, str, str], float] | None = None,
    published: Sequence[Mapping[str, Any]] = (),
    manifest: dict[str, Any] | None = None,
    suite: dict[str, Any] | None = None,
    strength: float = 0.0,
    right: Callable[[str, str, str, str], float] | None = None,
    right_in: Mapping[int, Callable[[str, str, str, str], float]] | None = None,
    flags: Callable[[str, str, str], float] | None = None,
    draw: int = 0,
    pictures: bool = False,
    panels: Sequence[Any] = (),
) -> Path:
    """Write a run directory and return it.

    Args:
        families: of the defenses, where they are not `none`, detectors or hardeners.
        taught: attacks that a defense learns from.
        budgets: norm, budget and its number of the attacks, by their places, over and over.
        failed: reason for which a cell has no numbers, "" for none.
        missing: whether a cell was not run.
        absent: whether a cell is no part of the grid.
        published: rows of published values, as a suite gives them.
        reference: published values by defense, attack and measure.
        manifest, suite: what differs from the usual ones.
        right: share that is labelled rightly, by model, attack ("none": clean), defense and knowledge. The easiest
            images are right, the same for all; otherwise shares are drawn.
        right_in: the same for single seeds.
        flags: share that a detector flags, by attack, defense and knowledge; otherwise it is drawn.
        strength: added to what every defense withstands.
        draw: seed of the drawn verdicts.
        pictures: whether the run has images to show.
        panels: what keeps points of the cells.
    """
    from tabulated import tabulate

    from benchmark.builtin import measures
    from benchmark.cells import Answers, Cell, CellResult
    from benchmark.results.gallery import Gallery
    from benchmark.results.tables import write_tables
    from benchmark.rundir import Identity, RunDir
    from benchmark.suite import Published

    rng = np.random.default_rng(draw)
    family_of = {x: "none" if x == "none" else "detector" if x in detectors else "hardener" for x in defenses}
    family_of |= families or {}
    names = [f"{number}.png" for number in range(n)]
    results: list[CellResult] = []
    failures: dict[str, list[dict[str, Any]]] = {}

    def labels(y: np.ndarray, right: np.ndarray) -> np.ndarray:
        return np.where(right, y, (y + 1 + rng.integers(0, CLASSES - 1, n)) % CLASSES)

    for dataset in datasets:
        y = rng.integers(0, CLASSES, n)
        ease, suspect = rng.permutation(n), rng.permutation(n)
        for model in models:
            for seed in seeds:
                share_right = (right_in or {}).get(seed, right)
                for number, defense in enumerate(defenses):
                    is_right = rng.random(n) < 0.97 - 0.03 * (number % 5)
                    detects = defense in detectors
                    score, threshold = rng.normal(0, 1, n), 1.6
                    if share_right is not None:
                        is_right = ease < share_right(model, "none", defense, "") * n
                    if flags is not None and detects:
                        score = np.where(suspect < flags("none", defense, "") * n, 2.0, 0.0) + score / 10
                    clean = Answers(
                        labels(y, is_right),
                        labels(y, is_right),
                        score if detects else None,
                        score > threshold if detects else None,
                    )
                    for what in (None, *((k, place) for k in knowledge for place in range(len(attacks)))):
                        attack = "none" if what is None else attacks[what[1]]
                        if what is not None and absent(dataset, model, attack, defense, what[0]):
                            continue
                        norm, eps, size = ("", "", None) if what is None else budgets[what[1] % len(budgets)]
                        identity: dict[str, Any] = {
                            "dataset": dataset,
                            "model": model,
                            "attack": attack,
                            "defense": defense,
                            "knowledge": "" if what is None else what[0],
                            "seed": seed,
                        }
                        reason = failed(dataset, model, attack, defense, seed)
                        not_run = missing(dataset, model, attack, defense, seed)
                        if reason:
                            failures.setdefault(reason, []).append(identity)
                        cell = None
                        if not reason and not not_run:
                            attacked = perturbation = None
                            if what is not None:
                                share = min(0.95, 0.03 + 0.34 * (number % 4) + strength) ** (1 + what[1] / 4)
                                base = is_right & (rng.random(n) < share)
                                suspicion = rng.normal(2.2, 1, n)
                                if share_right is not None:
                                    base = ease < share_right(model, attack, defense, what[0]) * n
                                if flags is not None:
                                    share = flags(attack, defense, what[0])
                                    suspicion = np.where(suspect < share * n, 2.0, 0.0) + suspicion / 100
                                attacked = Answers(
                                    labels(y, base if not detects or share_right else base & (rng.random(n) < 0.3)),
                                    labels(y, base),
                                    suspicion if detects else None,
                                    suspicion > threshold if detects else None,
                                )
                                perturbation = rng.random(n) * (size or 0.9)
                            cell = Cell(y, clean, attacked, perturbation, norm, size)
                        status = "failed" if reason else "missing" if not_run else "ok"
                        results.append(
                            CellResult(
                                **identity, norm=norm, eps=eps, status=status, reason=reason, cell=cell,
                                sample_ids=names, details={}, family=family_of[defense],
                                attacker=None if what is None else _attacker(family_of[defense], what[0]),
                            )
                        )  # fmt: skip
    told = [{"defense": d, "attack": a, "metric": m, "value": value} for (d, a, m), value in (reference or {}).items()]
    told += [dict(row) for row in published]
    groups = (suite or {}).get("groups") or {}
    tables = tabulate(
        results,
        {name: metric() for name, metric in measures().items()},
        groups,
        [Published(**row) for row in told],
        panels=panels,
    )
    folder.mkdir(parents=True)
    write_tables(tables, folder)
    if pictures:
        gallery = Gallery(folder, len(results), len(results))
        clean_images = rng.random((n, 1, 8, 8)).astype(np.float32)
        for number, result in enumerate(results):
            attacked_images = _Images((clean_images + rng.uniform(-0.1, 0.1, clean_images.shape)).clip(0, 1))
            gallery.add(
                number, result, clean_images.__getitem__, None if result.attack == "none" else attacked_images, None
            )
        gallery.close()
    facts = {
        "format": 2,
        "suite": "synthetic",
        "title": "Synthetic — which defense holds?",
        "profile": "embedded",
        "source": "suites/synthetic.yaml",
        "command": ["bench", "run", "suites/synthetic.yaml", "--profile", "embedded"],
        "started": "2025-11-21T08:24:25+00:00",
        "finished": "2025-11-21T08:25:47+00:00",
        "exit_code": 1 if failures else 0,
        "seeds": list(seeds),
        "protocol": {"false_positive_rate": 0.05, "success": "initially-correct", "repeats": 5},
        "shard": None,
        "datasets": {
            name: {
                "use": "digits",
                "fingerprint": f"{number:x}3f9ab" * 10,
                "sizes": {"train": 1077, "val": 360, "test": n},
                "image_shape": [1, 8, 8],
                "class_names": [str(digit) for digit in range(CLASSES)],
                "caption": "Scans of handwritten digits: real images, but no evidence about photos.",
            }
            for number, name in enumerate(datasets)
        },
        "attacks": {
            x: {
                "use": "pgd",
                "needs": "gradient",
                "evades_detector": False,
                "steps": 20,
                "options": {"norm": "linf", "eps": "8/255", "steps": 20, "restarts": 1},
            }
            for x in attacks
        },
        "defenses": {
            x: {
                "family": family_of[x],
                "attacks": list((taught or {}).get(x, ())),
                "randomised": False,
                "gives_scores": x in detectors,
                "networks": 1,
            }
            for x in defenses
        },
        "cells": len(results),
        "tasks": 40,
        "plugins": [{"module": "bench_gradient", "distribution": "unmask-bench", "version": "0.1.0"}],
        "broken_plugins": [],
        "versions": {"python": "3.11.9", "unmask-bench": "0.1.0", "torch": "2.6.0"},
        "device": "cpu: A processor, 2 cores",
        "executor": "local",
        "workers": 2,
        "threads": 1,
        "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "changed": False},
        "failures": [
            {
                "task": f"craft for {cells[0]['defense']}",
                "reason": reason,
                "traceback": "Traceback …\nValueError: " + reason,
                "cells": cells,
            }
            for reason, cells in failures.items()
        ],
        "warnings": [],
    } | (manifest or {})
    written = {
        "suite": "synthetic",
        "title": "Synthetic — which defense holds?",
        "description": "Drawn numbers, to look at the report.",
        "cite": [],
        "datasets": {name: {"use": "digits"} for name in datasets},
        "models": {name: {"use": "small_cnn", "width": 16} for name in models},
        "attacks": {name: {"use": "pgd", "steps": 20} for name in attacks},
        "defenses": {name: {"use": name if name == "none" else "some_defense"} for name in defenses},
        "groups": {},
        "reference": {"rows": told},
    } | (suite or {})
    costs = [
        {
            "kind": kind,
            "key": f"{kind}{number}",
            "label": f"{kind} number {number}",
            "status": "cached" if number else "done",
            "cached": bool(number),
            "seconds": 1.5 + number,
            "images": 360 if kind != "train" else None,
            "forward": 1000,
            "backward": 500,
            "peak_memory_bytes": 300 * 2**20,
        }
        for kind in ("train", "fit", "craft", "predict", "judge")
        for number in range(3)
    ]
    pd.DataFrame(costs).to_parquet(folder / "costs.parquet", index=False)
    (folder / "journal.jsonl").write_text(
        json.dumps({"event": "run started", "time": "2025-11-21T08:24:25+00:00"}) + "\n"
    )
    RunDir(folder).finish(Identity(written, None), facts)
    return folder


# -- reading pages -----------------------------------------------------------------------------------------------------

VOID = {"meta", "link", "br", "hr", "img", "input", "area", "base", "col", "embed", "source", "track", "wbr"}


@dataclass
class Element:
    """An element with its attributes, and its children: elements and texts."""

    tag: str
    attributes: dict[str, str]
    parent: Element | None = None
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(child if isinstance(child, str) else child.text for child in self.children)

    def get(self, name: str, default: str = "") -> str:
        return self.attributes.get(name, default)

    def all(self, *tags: str) -> Iterator[Element]:
        """Yield all elements below, in order; those of `tags` where given."""
        ahead = self.children[::-1]
        while ahead:
            child = ahead.pop()
            if isinstance(child, Element):
                if not tags or child.tag in tags:
                    yield child
                ahead += child.children[::-1]

    def drawn(self) -> dict[str, list[dict[str, Any]]]:
        """Return the rows that the chart in this figure draws, as the page's script reads them."""
        found = {}
        for part, columns in json.loads(next(self.all("script")).text).items():
            whole = {
                name: [None if n is None else column["of"][n] for n in column["at"]] if "of" in column else column
                for name, column in columns.items()
            }
            rows = [dict(zip(whole, values)) for values in zip(*whole.values(), strict=True)]
            found[part] = [{name: value for name, value in row.items() if value is not None} for row in rows]
        return found

    def one(self, tag: str, **attributes: str) -> Element:
        found = [e for e in self.all(tag) if all(e.get(k.replace("_", "-")) == v for k, v in attributes.items())]
        assert len(found) == 1, (tag, attributes, len(found))
        return found[0]

    def ancestors(self) -> Iterator[Element]:
        if self.parent is not None:
            yield self.parent
            yield from self.parent.ancestors()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {})
        self.open = self.root

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        element = Element(tag, {name: value or "" for name, value in attrs}, self.open)
        self.open.children.append(element)
        if tag not in VOID:
            self.open = element

    def handle_endtag(self, tag: str) -> None:
        assert self.open.tag == tag, f"</{tag}> closes <{self.open.tag}>"
        assert self.open.parent is not None
        self.open = self.open.parent

    def handle_data(self, data: str) -> None:
        self.open.children.append(data)


@pytest.fixture(scope="session")
def parse():
    """Return a function from HTML to a tree; every element must be closed in its turn."""

    def read(html: str) -> Element:
        reader = _Reader()
        reader.feed(html)
        reader.close()
        assert reader.open is reader.root
        return reader.root

    return read


@pytest.fixture(scope="session")
def run_writer():
    """Return `write_run`."""
    return write_run


@pytest.fixture(scope="session")
def written_runs(tmp_path_factory):
    """Return a function that writes a run, the same one only once, and gives its folder: not to be changed."""
    known: dict[str, tuple[Path, dict[str, Any]]] = {}

    def written(**changes: Any) -> Path:
        asked = repr(sorted(changes.items()))
        if asked not in known:
            # Kept with what was asked for: functions go by their addresses, which no others get as long as they live.
            known[asked] = write_run(tmp_path_factory.mktemp("run") / "run", **changes), changes
        return known[asked][0]

    return written


@pytest.fixture
def make_run(tmp_path, written_runs):
    """Return a function that writes a run and loads it as `bench report` does."""
    from benchmark import load_run

    def make(name: str = "run", **changes: Any):
        return load_run(shutil.copytree(written_runs(**changes), tmp_path / name))

    return make


@pytest.fixture(scope="session")
def drawn_once() -> Callable[[str, Mapping[str, Any]], str]:
    """Return what draws a chart, equal ones once."""
    drawn: dict[str, str] = {}

    def draw(kind: str, data: Mapping[str, Any]) -> str:
        if (what := json.dumps([kind, data])) not in drawn:
            drawn[what] = chart_svg(kind, data)  # as it was asked for: JSON would make other keys and lists of it
        return drawn[what]

    return draw


@pytest.fixture(scope="module", autouse=True)
def _pictures(request, drawn_once):
    """Draw pictures of charts where a file looks at them (mark `pictures`): they are most of the time of a page."""
    looked_at = request.node.get_closest_marker("pictures")
    blank = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"></svg>'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "bench_report.render.chart_svg",
            lambda kind, data: drawn_once(kind, data) if looked_at else blank,
        )
        yield


class Site:
    """The pages of a report, read when they are asked for."""

    def __init__(self, folder: Path, parse: Callable[[str], Element]) -> None:
        self.folder = folder
        self.parse = parse

    def read(self, page: str | Path) -> Element:
        return self.parse((self.folder / page).read_text(encoding="utf-8"))

    @cached_property
    def index(self) -> Element:
        return self.read("index.html")

    @cached_property
    def settings(self) -> list[Element]:
        return [self.read(path) for path in sorted(self.folder.glob("settings/*.html"))]

    @cached_property
    def cells(self) -> list[Element]:
        return [self.read(path) for path in sorted(self.folder.glob("cells/*.html"))]

    @property
    def pages(self) -> list[Element]:
        return [self.index, *self.settings, *self.cells]


@pytest.fixture
def site_of(tmp_path, parse):
    """Return a function that writes the report of runs."""
    from bench_report.render import HtmlReporter

    def site(*runs: Any, panels: Sequence[Any] = ()) -> Site:
        reporter = HtmlReporter()
        reporter.panels = panels
        return Site(reporter.write(runs, tmp_path / "report").parent, parse)

    return site


@pytest.fixture
def page_of(site_of):
    """Return a function that writes the report of runs and reads the first page."""
    return lambda *runs: site_of(*runs).index


# -- a real browser ----------------------------------------------------------------------------------------------------

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
PATIENCE_MS = 240_000
"""A browser on a busy machine is slow to open a page; what is tested is not how fast it is."""
PRESENT_MS = 60_000
"""On a page that is open, what is asked for is there, or follows from a click: who waits longer waits for a mistake."""


@pytest.fixture(scope="session")
def browser():
    """Return the system's Chromium, without a window and without network."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright drives the browser: pip install '.[dev]'"
    )
    if CHROMIUM is None:
        pytest.skip("needs Chromium (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        # Containers run as root, where Chromium's sandbox refuses to start; the pages are our own.
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser):
    """Return a function that opens a page; what it says on its console or asks of the network fails the test."""
    contexts, faults = [], []

    def opened(path, *, at="", scheme="light", width=1280, height=900, script=True, first="", whole=True):
        context = browser.new_context(
            color_scheme=scheme, viewport={"width": width, "height": height}, java_script_enabled=script, offline=True
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PRESENT_MS)
        page.set_default_navigation_timeout(PATIENCE_MS)
        page.on(
            "console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda asked: faults.append(asked.url) if outside(asked.url) else None)
        page.add_init_script(first)
        page.goto(path.as_uri() + at)
        if script:
            # Set up, and laid out: what is not would still move.
            page.wait_for_selector(f"html[data-ready]{'[data-whole]' * whole}", state="attached", timeout=PATIENCE_MS)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not faults


def outside(address):
    return urlsplit(address).scheme not in ("file", "data", "blob")


@pytest.fixture(scope="session")
def barriers():
    """Return a function that lists what axe holds against a page."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="axe looks for barriers: pip install '.[dev]'"
    )

    def found(page):
        return [
            (violation["id"], violation["impact"], [node["html"][:160] for node in violation["nodes"][:3]])
            for violation in axe.Axe().run(page, options={"preload": False}).response["violations"]
        ]

    return found


@pytest.fixture(scope="session")
def drawn(tmp_path_factory, run_writer):
    """Return a drawn run and the folder of its report."""
    from bench_report.render import HtmlReporter
    from bench_report.tests.at_work import ATTACKS
    from benchmark import load_run

    place = tmp_path_factory.mktemp("drawn")
    run = load_run(
        run_writer(
            place / "run", models=("cnn", "mlp", "vit"), attacks=ATTACKS, knowledge=("gray-box", "white-box"), n=90,
            pictures=True,
        )
    )  # fmt: skip
    return run, HtmlReporter().write([run], place / "report").parent
