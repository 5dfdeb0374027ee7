"""The report of 10,000 drawn cells beside `DataFrame.to_html` of their table of measures.

Each in a process of its own, in turn: wall clock and processor time with the imports, peak memory. Where playwright and
Chromium are installed, also how long the first page takes to open, from the address to all of its scripts.

python perf/report.py [rounds]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "reports" / "bench_report" / "tests"))
from conftest import CHROMIUM, write_run  # the drawn runs of the report's tests

WORK = {
    "report": (
        "from bench_report.render import HtmlReporter; from benchmark import load_run;"
        "HtmlReporter().write([load_run(sys.argv[1])], Path(sys.argv[2]))"
    ),
    "to_html": (
        "import pandas as pd; frame = pd.read_parquet(Path(sys.argv[1], 'metrics.parquet'));"
        "Path(sys.argv[2]).mkdir(); frame.to_html(Path(sys.argv[2], 'index.html'))"
    ),
}
TELL = (
    ";used = resource.getrusage(resource.RUSAGE_SELF); print(used.ru_utime + used.ru_stime);"
    # Not ru_maxrss: it begins with what the process had that started this one.
    "print(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"
)


def opened(page: Path) -> tuple[float, int]:
    """Return the seconds until a page has been opened in a new window of 1400 x 900 pixels, and its elements."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        window = browser.new_page(viewport={"width": 1400, "height": 900})
        started = perf_counter()
        window.goto(page.as_uri(), wait_until="commit", timeout=600_000)
        window.wait_for_selector("html[data-ready]", state="attached", timeout=600_000)
        window.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")  # it has been painted
        seconds = perf_counter() - started
        elements = window.evaluate("document.getElementsByTagName('*').length")
        browser.close()
    return seconds, elements


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    names = [f"name-{number}" for number in range(20)]
    told: dict[str, list[tuple[float, float, float]]] = {name: [] for name in WORK}
    with tempfile.TemporaryDirectory() as place:
        run = write_run(
            Path(place, "run"),
            datasets=names[:5], models=names[:5], attacks=names[:19], defenses=names, detectors=names[15:], n=100,
        )  # fmt: skip
        for number in range(rounds):
            for name, work in WORK.items():
                script = f"import resource, sys; from pathlib import Path; {work}{TELL}"
                target = Path(place, f"{name}-{number}")
                started = perf_counter()
                output = subprocess.run(
                    [sys.executable, "-c", script, str(run), str(target)], check=True, capture_output=True, text=True
                ).stdout
                processor, kibibytes = map(float, output.split())
                told[name].append((perf_counter() - started, processor, kibibytes / 1024))
        report = Path(place, "report-0")
        try:
            looks = [opened(report / "index.html") for _ in range(rounds)] if CHROMIUM else []
        except ImportError:
            looks = []
        sizes = {
            path.name: sum(f.stat().st_size for f in (path, *path.rglob("*")) if f.is_file())
            for path in report.iterdir()
        }
    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in told.items()}
    for name, (wall, processor, memory) in medians.items():
        ratio = processor / medians["to_html"][1]
        print(f"{name:<8} {wall:6.1f} s  {processor:6.1f} s of a core ({ratio:.1f} x to_html)  {memory:6.0f} MiB")
    if looks:
        seconds, elements = statistics.median(seconds for seconds, _ in looks), looks[0][1]
        print(f"the first page opens in {seconds:.2f} s: {elements:,} elements")
    print(", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in sorted(sizes.items())))


if __name__ == "__main__":
    main()
