"""I-defender's mixtures beside scikit-learn called as it comes: seconds to fit and to judge, memory to judge.

    python perf/likelihood.py [rounds] [--threads 2] [--covariance full tied diag spherical] [--components 1 3 bic]
                              [--classes 10] [--images 5000] [--dimensions 128] [--no-reference]

Both are given the same states: rectified, correlated, in a few lumps per class, as hidden states are. Scikit-learn's
loop fits one `GaussianMixture` after another, each class on as many BLAS threads as there are; for `bic` it fits every
number of Gaussians up to five to the end and takes the least BIC. Before anything is printed the answers are compared:
the Gaussians chosen per class, and the log-likelihoods of ours against `score_samples` of a mixture with the same seed.

Rounds are interleaved, medians are printed. Seconds on the clock are upper bounds on a busy machine; those of the
processor count all threads. Peak memory is the high-water mark of a process of its own that judges batch by batch.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from bench_idefender.fitting import fit_class_mixtures
from bench_idefender.mixtures import ClassMixtures
from bench_idefender.options import IDefenderOptions
from benchmark import Rng
from benchmark.progress import Progress

JUDGED = 10_000
BATCH = 128
"""Images that a suite judges at a time unless it says otherwise."""
LUMPS, LATENT = 3, 24


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rounds", type=int, nargs="?", default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--covariance", nargs="+", default=["full", "tied", "diag", "spherical"])
    parser.add_argument("--components", nargs="+", default=["1", "3", "bic"])
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--dimensions", type=int, default=128)
    parser.add_argument("--no-reference", action="store_true", help="leave scikit-learn's loop out")
    parser.add_argument("--judge", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.judge:
        judge_in_batches(ClassMixtures.load(given.judge), given.count)
        return
    states, labels = hidden_states(given.classes, given.images, given.dimensions)
    print(f"{given.classes} classes x {given.images} states x {given.dimensions} dimensions, {given.threads} threads")
    for covariance in given.covariance:
        for components in given.components:
            chosen = "bic" if components == "bic" else int(components)
            options = IDefenderOptions(components=chosen, covariance=covariance)
            contestants: dict[str, Callable[[], object]] = {"ours": lambda o=options: ours(states, labels, o)}
            if not given.no_reference:
                contestants["scikit-learn"] = lambda o=options: as_it_comes(states, labels, o)
            answers = race(f"fit {covariance} {components}", contestants, given.rounds)
            if "scikit-learn" in answers:
                compare(answers["ours"], answers["scikit-learn"], states, labels)
    judging(given.rounds, states, labels)


def hidden_states(classes: int, images: int, dimensions: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return states (N, D) float32 and their classes."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), images)
    mixing = generator.normal(size=(LATENT, dimensions)) / LATENT**0.5
    centres = generator.normal(size=(classes, 1, LATENT)) + 0.7 * generator.normal(size=(classes, LUMPS, LATENT))
    latent = centres[labels, generator.integers(LUMPS, size=len(labels))] + generator.normal(size=(len(labels), LATENT))
    noise = 0.1 * generator.normal(size=(len(labels), dimensions))
    return np.maximum(latent @ mixing + noise, 0).astype(np.float32), labels


def ours(states: np.ndarray, labels: np.ndarray, options: IDefenderOptions) -> ClassMixtures:
    names = [str(c) for c in range(labels.max() + 1)]
    return fit_class_mixtures(states, labels, names, options, rejected=0.05, rng=Rng(0), progress=Progress())


def as_it_comes(states: np.ndarray, labels: np.ndarray, options: IDefenderOptions) -> list[GaussianMixture]:
    found = []
    for c in range(labels.max() + 1):
        own = states[labels == c].astype(np.float64)
        numbers = range(1, options.max_components + 1) if options.components == "bic" else [options.components]
        fitted = []
        for components in numbers:
            mixture = GaussianMixture(
                components,
                covariance_type=options.covariance,
                reg_covar=options.regularization * float(own.var(0).mean()),
                max_iter=options.max_iter,
                random_state=Rng(0).spawn("class", c).spawn("components", components).seed,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                fitted.append(mixture.fit(own))
        found.append(min(fitted, key=lambda mixture: mixture.bic(own)) if len(fitted) > 1 else fitted[0])
    return found


def race(title: str, contestants: dict[str, Callable[[], object]], rounds: int) -> dict[str, object]:
    clock: dict[str, list[float]] = {name: [] for name in contestants}
    processor: dict[str, list[float]] = {name: [] for name in contestants}
    answers = {}
    for _ in range(rounds):
        for name, run in contestants.items():
            began, used = perf_counter(), process_time()
            answers[name] = run()
            clock[name].append(perf_counter() - began)
            processor[name].append(process_time() - used)
    for name in contestants:
        seconds, busy = statistics.median(clock[name]), statistics.median(processor[name])
        print(f"{title:<20} {name:<14} {seconds:8.2f} s clock {busy:8.2f} s processor", flush=True)
    return answers


def compare(ours: object, theirs: object, states: np.ndarray, labels: np.ndarray) -> None:
    assert isinstance(ours, ClassMixtures)
    assert isinstance(theirs, list)
    numbers = [len(mixture.means) for mixture in ours.mixtures], [mixture.n_components for mixture in theirs]
    worst = 0.0
    for c, mixture in enumerate(theirs):
        if numbers[0][c] == numbers[1][c]:
            own = states[labels == c].astype(np.float64)
            wanted = mixture.score_samples(own)
            found = ours.mixtures[c].log_likelihood(torch.from_numpy(own)).numpy()
            worst = max(worst, float((np.abs(found - wanted) / np.abs(wanted).clip(1e-3)).max()))
    print(f"  Gaussians per class {numbers[0]} / {numbers[1]}; largest relative difference {worst:.1e}", flush=True)


def judging(rounds: int, states: np.ndarray, labels: np.ndarray) -> None:
    """Print what judging costs, under three full Gaussians per class."""
    options = IDefenderOptions(max_iter=5)  # the time to judge does not depend on how well they fit
    mixtures, theirs = ours(states, labels, options), as_it_comes(states, labels, options)
    chosen = np.random.default_rng(1).permutation(len(states))[:JUDGED]
    judged, classes = states[chosen], labels[chosen]
    batches = [slice(start, start + BATCH) for start in range(0, len(judged), BATCH)]

    def host() -> None:
        for batch in batches:
            mixtures.log_likelihood(torch.from_numpy(judged[batch]), torch.from_numpy(classes[batch]))

    def loop() -> None:
        for c, mixture in enumerate(theirs):
            mixture.score_samples(judged[classes == c].astype(np.float64))

    race(
        f"judge {len(judged)}",
        {
            "ours, batches": host,
            "ours, at once": lambda: mixtures.log_likelihood(torch.from_numpy(judged), torch.from_numpy(classes)),
            "scikit-learn": loop,
        },
        max(rounds, 3),
    )
    with TemporaryDirectory() as folder:
        mixtures.save(Path(folder))
        for count in (JUDGED, 10 * JUDGED):
            command = [sys.executable, __file__, "--judge", folder, "--count", str(count)]
            print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="")


def judge_in_batches(mixtures: ClassMixtures, count: int) -> None:
    """Print the peak memory of this process after judging `count` states that are made as they are judged."""
    generator = np.random.default_rng(2)
    dimensions = mixtures.mixtures[0].means.shape[1]
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        states = torch.from_numpy(generator.normal(size=(size, dimensions)).astype(np.float32))
        mixtures.log_likelihood(states, torch.from_numpy(generator.integers(len(mixtures.mixtures), size=size)))
    peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
    print(f"peak memory after judging {count} states: {peak / 1024:.0f} MiB")


if __name__ == "__main__":
    main()
