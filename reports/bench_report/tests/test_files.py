"""The files of a report: the same bytes for the same run, nothing of others replaced or fetched, any name harmless."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_report import render
from bench_report.markup import printable
from bench_report.tests.whole_pages import (
    check_numbers,
    check_site,
)
from benchmark import load_run

pytestmark = pytest.mark.pictures

HOSTILE = [
    "<script>alert(1)</script>",
    "\"quoted\" 'twice' &amp; <b>",
    "../../etc/passwd",
    "\u202eright to left\u2066",
    "x" * 300,
    "🦔🏳️‍🌈",
    "'\" onmouseover=alert(1) x='",
    "]]><!--{{ 7 * 7 }}{% raw %}",
    "</title></style></table>",
    "javascript:alert(1)",
]


def test_hostile_names_change_nothing_but_text(make_run, site_of):
    first, second = HOSTILE[:5], HOSTILE[5:]
    # Marks that would turn around what follows, as far as the end of a block.
    bidi = {"\u202e", "\u2066"}
    reason = " ".join(HOSTILE)
    run = make_run(
        datasets=HOSTILE[:2],
        models=HOSTILE[2:4],
        attacks=first,
        defenses=second,
        detectors=second[:1],
        knowledge=HOSTILE[:1],
        failed=lambda d, m, a, x, s: reason if (a, x) == (first[0], second[0]) else "",
        manifest={
            "title": HOSTILE[0],
            "profile": HOSTILE[3],
            "device": HOSTILE[1],
            "warnings": [{"task": HOSTILE[0], "text": HOSTILE[8]}],
        },
        n=20,
        pictures=True,
    )
    site = site_of(run)
    page = site.index
    check_site(site)
    check_numbers(site, run.metrics)
    for element in (element for page in site.pages for element in page.all()):
        own = "".join(child for child in element.children if isinstance(child, str))
        if bidi & set(own):
            assert element.tag in ("bdi", "pre", "title", "script") or element.get("dir"), element
    assert page.one("title").text == HOSTILE[0]
    assert page.one("h1").text == HOSTILE[0]
    headings = {heading.text for heading in page.all("h3")}
    for model, dataset in product(HOSTILE[2:4], HOSTILE[:2]):
        assert any(heading.startswith(f"{model} on {dataset}") for heading in headings)
    assert reason in {paragraph.text for paragraph in page.all("p")}
    for table in page.all("table"):
        if table.get("data-table") == "robust":
            names = [head.text for head in table.all("th") if head.get("scope") == "row"]
            assert names == second
            # A name with a direction of its own must not turn the numbers around.
            assert all(
                next(head.all("bdi")).text == head.text for head in table.all("th") if head.get("scope") == "row"
            )


def test_control_characters_and_lone_surrogates_become_visible(make_run, page_of):
    run = make_run(manifest={"title": "a\x00b\x1b[31mc\ud800d\x85e"})
    page = page_of(run)
    assert page.one("h1").text == "a␀b␛[31mc\ufffdd\ufffde"


@pytest.fixture(scope="module")
def one_name():
    """Return a template that shows a name as all templates do, and an attribute."""
    return render._environment().from_string('<p title="{{ text }}">{{ name(text) }}</p>')


@given(text=st.text(max_size=400))
def test_any_text_comes_back_as_it_was(parse, one_name, text):
    page = parse(one_name.render(text=text))
    paragraph = page.one("p")
    clean = printable(text)
    assert paragraph.text == clean
    assert paragraph.get("title") == clean
    assert {element.tag for element in page.all()} == {"p", "bdi"}
    if text.isprintable():
        assert clean == text


def test_the_host_finds_the_reporter():
    import bench_report
    from benchmark.plugins import Provenance, Registry

    registry = Registry()
    registry.add_module("report", bench_report, Provenance("bench_report", "unmask-bench", "0"))
    assert registry.get("reporter", "html").load() is render.HtmlReporter
    assert registry.get("reporter", "html").summary


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes_in_every_process(make_run, tmp_path):
    """Pages, pictures, downloads: in another folder, order of hashes and time zone, with another history."""
    kinds = {"models": ("mlp",), "attacks": ("fgsm", "pgd-linf"), "defenses": ("none", "mahalanobis")}
    run = make_run(**kinds, seeds=(0, 1), pictures=True)
    here = render.HtmlReporter().write([run], tmp_path / "here").parent
    build = (
        "import sys; from pathlib import Path; from bench_report.render import HtmlReporter;"
        "from benchmark import load_run; HtmlReporter().write([load_run(sys.argv[1])], Path(sys.argv[2]))"
    )
    elsewhere = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Kolkata", "LC_ALL": "C", "COLUMNS": "20"}
    subprocess.run([sys.executable, "-c", build, ".", str(tmp_path / "there")], env=elsewhere, cwd=run.path, check=True)
    render.HtmlReporter().write([load_run(run.path)], tmp_path / "again")
    written = {path.relative_to(here): path.read_bytes() for path in sorted(here.rglob("*")) if path.is_file()}
    assert sum(path.suffix == ".svg" for path in written) > 3
    for other in (tmp_path / "there", tmp_path / "again"):
        assert {p.relative_to(other): p.read_bytes() for p in sorted(other.rglob("*")) if p.is_file()} == written


def test_a_folder_holds_pages_and_assets_and_a_single_file_everything(make_run, tmp_path, parse):
    run = make_run(models=("mlp",), pictures=True)
    folder = render.HtmlReporter().write([run], tmp_path / "folder").parent
    assert sorted(path.name for path in folder.iterdir()) == [
        "assets", "cells", "charts", "checklist.html", "checklist.md", "downloads", "images", "index.html", "samples",
        "settings",
    ]  # fmt: skip
    assert sorted(path.name for path in (folder / "assets").iterdir()) == [
        "charts.js", "report.css", "report.js", "samples.js", "tables.js", "terms.js", "vega.js"
    ]  # fmt: skip
    single = render.HtmlReporter().write([run], tmp_path / "single", single_file=True)
    assert [path.name for path in single.parent.iterdir()] == ["index.html"]
    text = single.read_text(encoding="utf-8")
    assert (folder / "assets" / "report.css").read_text(encoding="utf-8").strip() in text
    assert "<link" not in text
    page = parse(text)
    ids = Counter(element.get("id") for element in page.all() if element.get("id"))
    assert max(ids.values()) == 1
    for link in page.all("a"):
        assert link.get("href").startswith("data:") or link.get("href")[1:] in ids
    sheets = [path for path in folder.rglob("*.html") if path.parent.name in ("cells", "settings", "folder")]
    assert sum(element.get("class") == "sheet" for element in page.all()) == len(sheets)


def test_an_earlier_report_is_replaced_and_folders_of_others_are_not(make_run, tmp_path):
    from benchmark import InputError

    folder = tmp_path / "report"
    render.HtmlReporter().write([make_run("one", models=("mlp",))], folder)
    first = set(folder.glob("cells/*"))
    render.HtmlReporter().write([make_run("two", models=("other",))], folder)
    assert not first & set(folder.glob("cells/*"))
    mine = tmp_path / "mine"
    (mine / "images").mkdir(parents=True)
    (mine / "images" / "holiday.png").touch()
    with pytest.raises(InputError, match="images"):
        render.HtmlReporter().write([make_run("three", models=("mlp",))], mine)
    assert (mine / "images" / "holiday.png").exists()
    site = tmp_path / "site"
    site.mkdir()
    (site / "index.html").write_text("my page")
    with pytest.raises(InputError, match=r"index\.html"):
        render.HtmlReporter().write([make_run("four", models=("mlp",))], site)
    assert (site / "index.html").read_text() == "my page"


@pytest.mark.slow
def test_a_report_that_was_killed_is_never_taken_for_whole(make_run, tmp_path):
    """`kill -9` at some of the steps of replacing an older report; then written again: the same bytes."""
    run, whole = make_run(models=("mlp",), pictures=True), tmp_path / "whole"
    render.HtmlReporter().write([run], whole)
    steps = ("shutil.rmtree 1", "os.rmdir 1", "os.mkdir 2", "os.rename 3")
    for step in steps:
        shutil.copytree(whole, tmp_path / step)
    program = (
        "import os, signal, sys; from pathlib import Path; from benchmark import load_run\n"
        "from bench_report.render import HtmlReporter\n"
        "left = {}\n"
        "def kill(event, arguments):\n"
        "    if event in left:\n"
        "        left[event] -= 1\n"
        "        if left[event] == 0: os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.addaudithook(kill)\n"
        "run, folder, *steps = sys.argv[1:]\n"
        "for step in steps:\n"
        "    event, count = step.split()\n"
        "    if os.fork() == 0:\n"
        "        left[event] = int(count)\n"
        "        HtmlReporter().write([load_run(run)], Path(folder, step))\n"
        "        os._exit(0)\n"
        "    assert os.wait()[1] == signal.SIGKILL, step\n"
        "for step in steps[1:3]: HtmlReporter().write([load_run(run)], Path(folder, step))\n"
    )
    command = [sys.executable, "-c", program, str(run.path), str(tmp_path), *steps]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    there = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (whole, *(tmp_path / step for step in steps))
    ]
    assert there[2] == there[3] == there[0]
    for killed in (there[1], there[4]):
        assert b"Unfinished report" in killed[Path("index.html")]


def test_nothing_is_fetched(make_run, tmp_path):
    run = make_run(models=("mlp",), pictures=True)
    folder = render.HtmlReporter().write([run], tmp_path / "folder").parent
    for path in folder.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        assert not re.findall(r"(?:https?:)?//[\w.]", page), path
        assert "default-src 'none'" in page
        assert "unsafe-eval" not in page
    style = (folder / "assets" / "report.css").read_text(encoding="utf-8")
    assert "url(" not in style
    assert "@import" not in style


def test_a_small_run_gives_a_small_page(make_run, tmp_path):
    run = make_run(models=("small-cnn",), attacks=tuple("abcde"))
    cells = run.metrics[["attack", "defense"]].drop_duplicates()
    assert (~cells.attack.str.startswith("worst-of: ")).sum() == 18
    page = render.HtmlReporter().write([run], tmp_path / "report", single_file=False)
    assert page.stat().st_size < 300_000


def _luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear))


def _contrast(one, other):
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_on_every_colour(theme):
    style = files("bench_report").joinpath("assets", "report.css").read_text(encoding="utf-8")
    themes = [
        dict(re.findall(r"--([\w-]+):\s*(#[0-9a-f]{6})", block))
        for block in re.findall(r":root \{(.*?)\n\s*\}", style, re.S)
    ]
    colours = themes[0] | (themes[1] if theme == "dark" else {})
    assert len(themes[1]) == len(themes[0])
    for step in range(11):
        assert _contrast(colours[f"q{step}"], colours[f"on{step}"]) >= 4.5
    steps = [_luminance(colours[f"q{step}"]) for step in range(11)]
    assert steps == sorted(steps, reverse=theme == "light")
    for text in ("text", "muted", "link"):
        for ground in ("page", "panel", "warn-bg", "fail-bg", "note-bg"):
            assert _contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert _contrast(colours["fail-text"], colours["fail-bg"]) >= 4.5
    assert _contrast(colours["focus"], colours["page"]) >= 3


@pytest.mark.slow
def test_five_thousand_cells_are_written_within_a_gibibyte(make_run, tmp_path):
    names = [f"name-{number}" for number in range(20)]
    run = make_run(datasets=names[:5], models=names[:5], attacks=names[:9], defenses=names, detectors=names[15:], n=200)
    assert len(run.metrics[["dataset", "model", "attack", "defense"]].drop_duplicates()) >= 5000
    # In a process of its own, whose memory is the report's alone.
    build = (
        "import sys; from pathlib import Path; from bench_report.render import HtmlReporter;"
        "from benchmark import load_run; HtmlReporter().write([load_run(sys.argv[1])], Path(sys.argv[2]));"
        # Not ru_maxrss: it begins with what the process had that started this one.
        "print(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"
    )
    kibibytes = subprocess.run(
        [sys.executable, "-c", build, str(run.path), str(tmp_path / "report")],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout
    assert int(kibibytes) < 2**20
    assert (tmp_path / "report" / "index.html").stat().st_size < 3e6
    assert len(list((tmp_path / "report" / "cells").iterdir())) >= 5000
