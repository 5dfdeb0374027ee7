"""A grid beside the plain script that a user would write: ART in nested loops. Model passes and seconds.

    python perf/script.py [--images 451] [--rounds 1]

Two networks, eight attacks, three defenses on digits: the script trains each network once and, as scripts do, fits,
attacks and judges in the innermost loop. The grid runs from an empty cache with one worker, start and report included.
Then a fourth defense is added to the grid: what that costs beside its own fit and judgement. Passes are counted by
hooks of torch in both (outermost.py), seconds are the clock's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

HERE = Path(__file__).resolve().parent
EPS = {"linf": 0.1, "l2": 1.0}
STEPS, EPOCHS, COMPONENTS = 40, 5, 2
ATTACKS = {
    f"{use}-{norm}": {"use": use, "norm": norm, "eps": eps}
    | ({} if use == "fgsm" else {"steps": STEPS, "step": eps / 8})
    for norm, eps in EPS.items()
    for use in ("fgsm", "bim", "pgd", "mi-fgsm")
}
WIDTHS = {"narrow": 32, "wide": 64}


def suite(images: int, more: bool) -> dict:
    return {
        "suite": "script",
        "datasets": {"digits": {"use": "digits", "limit": {"test": images}}},
        "models": {
            name: {"use": "small_cnn", "width": width, "train": {"epochs": EPOCHS, "lr": 0.05, "batch_size": 64}}
            for name, width in WIDTHS.items()
        },
        "attacks": ATTACKS,
        "defenses": {
            "none": {"use": "none"},
            "squeezing": {"use": "feature-squeezing", "bit_depth": 4},
            "i-defender": {"use": "i-defender", "components": COMPONENTS},
            **({"jpeg": {"use": "jpeg", "quality": 75}} if more else {}),
        },
        "grid": [{"datasets": "all", "models": "all", "attacks": "all", "defenses": "all", "knowledge": "gray-box"}],
    }


def script(images: int) -> None:
    """What a user writes: everything in nested loops."""
    import numpy as np
    import torch
    from art.attacks.evasion import (
        BasicIterativeMethod,
        FastGradientMethod,
        MomentumIterativeMethod,
        ProjectedGradientDescent,
    )
    from art.defences.preprocessor import FeatureSqueezing
    from art.estimators.classification import PyTorchClassifier
    from sklearn.mixture import GaussianMixture

    from benchmark import Rng
    from benchmark.plugins import load_plugins

    torch.set_num_threads(1)
    registry = load_plugins()
    data = registry.create("dataset", "digits", {})
    train, test = data.split("train"), data.split("test")
    x_train, y_train = train.images(range(len(train))), torch.from_numpy(train.labels)
    x, y = test.images(range(images)).numpy(), test.labels[:images]
    for width in WIDTHS.values():
        network = registry.create("model", "small_cnn", {"width": width}).build(10, train.image_shape, Rng(0))
        optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
        for _ in range(EPOCHS):
            for batch in torch.randperm(len(x_train)).split(64):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(network(x_train[batch]), y_train[batch]).backward()
                optimizer.step()
        network.eval()
        plain = PyTorchClassifier(network, torch.nn.CrossEntropyLoss(), train.image_shape, 10, clip_values=(0, 1))

        def states(images: np.ndarray, network=network) -> np.ndarray:
            with torch.no_grad():
                return network.features(torch.from_numpy(images), ("penultimate",))["penultimate"].numpy()

        for defense in ("none", "squeezing", "i-defender"):
            if defense == "i-defender":
                known = states(x_train.numpy())
                mixtures = [
                    GaussianMixture(COMPONENTS, reg_covar=1e-3, random_state=0).fit(known[train.labels == c])
                    for c in range(10)
                ]
            for options in ATTACKS.values():
                norm = {"linf": np.inf, "l2": 2}[options["norm"]]
                common = {"norm": norm, "eps": options["eps"], "batch_size": 256}
                steps = {"eps_step": options.get("step"), "max_iter": STEPS, "verbose": False}
                if options["use"] == "fgsm":
                    attack = FastGradientMethod(plain, **common)
                elif options["use"] == "mi-fgsm":
                    attack = MomentumIterativeMethod(plain, **common, **steps)
                elif options["use"] == "bim" and norm == np.inf:
                    attack = BasicIterativeMethod(plain, eps=options["eps"], batch_size=256, **steps)
                else:
                    attack = ProjectedGradientDescent(plain, num_random_init=options["use"] == "pgd", **common, **steps)
                x_adv = attack.generate(x, y)
                seen = FeatureSqueezing((0, 1), bit_depth=4)(x_adv)[0] if defense == "squeezing" else x_adv
                label = plain.predict(seen, batch_size=256).argmax(1)
                if defense == "i-defender":
                    found = states(x_adv)
                    score = [mixtures[c].score_samples(row[None])[0] for c, row in zip(label, found, strict=True)]
                    print(f"{np.mean(score):.1f}", end=" ")
                print(f"{width} {defense} {(label == y).mean():.3f}")


def timed(command: list[str], log: Path) -> tuple[float, dict[str, float]]:
    environment = {**os.environ, "PYTHONPATH": str(HERE), "OUTERMOST_LOG": str(log), "OMP_NUM_THREADS": "1"}
    started = perf_counter()
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
    seconds = perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stderr)
    totals: dict[str, float] = {}
    for file in log.parent.glob(f"{log.name}.*"):
        for name, value in json.loads(file.read_text()).items():
            totals[name] = totals.get(name, 0) + value
    return seconds, totals


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=451)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--as-a-script", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.as_a_script:
        import outermost

        script(given.images)
        outermost.write()
        return
    told: dict[str, list[tuple[float, dict[str, float]]]] = {"script": [], "grid": [], "one more": []}
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            run = ["-m", "benchmark.cli", "run", "--plugin", "outermost", "--device", "cpu", "--workers", "1"]
            told["script"].append(
                timed([__file__, "--as-a-script", "--images", str(given.images)], place / "script.counts")
            )
            for name in ("grid", "one more"):
                file = place / f"{name.replace(' ', '-')}.json"
                file.with_suffix(".yaml").write_text(json.dumps(suite(given.images, name == "one more")))
                where = ["--cache", str(place / "cache"), "--output", str(file.with_suffix(""))]
                told[name].append(timed([*run, str(file.with_suffix(".yaml")), *where], file.with_suffix(".counts")))
            own = seconds_of_tasks(place / "one-more")
    base_seconds = statistics.median(seconds for seconds, _ in told["script"])
    base_passes = sum(told["script"][0][1][name] for name in ("forward", "backward"))
    for name, rounds in told.items():
        seconds = statistics.median(seconds for seconds, _ in rounds)
        passes = sum(rounds[0][1].get(key, 0) for key in ("forward", "backward"))
        print(
            f"{name:<9} {seconds:7.1f} s ({seconds / base_seconds:4.2f} x the script)  "
            f"{passes:>12,.0f} images pushed ({passes / base_passes:4.2f} x)"
        )
    print(f"the fourth defense's own tasks: {own:.1f} s")


def seconds_of_tasks(run: Path) -> float:
    """Return the seconds of what a run did itself, beside what it found in the cache."""
    lines = (json.loads(line) for line in (run / "journal.jsonl").read_text().splitlines())
    return sum(line["seconds"] for line in lines if line["event"] == "task done")


if __name__ == "__main__":
    main()
