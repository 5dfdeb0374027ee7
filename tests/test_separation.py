"""Separation of classes in feature space: a measure that suites ask for by layers."""

from __future__ import annotations

import json
import re
from collections import Counter

import numpy as np
import pytest
from test_alarms import bench
from toy import BlobOptions, Blobs

from benchmark import InputError
from benchmark.cli import main
from benchmark.statistics import Z, class_separation, positive_mean


def literal(features: np.ndarray, y: np.ndarray) -> float:
    centres = {one: features[y == one].mean(0) for one in set(y.tolist())}
    apart = [np.linalg.norm(a - b) for i, a in centres.items() for j, b in centres.items() if i < j]
    within = [np.mean([np.linalg.norm(f - centre) for f in features[y == one]]) for one, centre in centres.items()]
    return float(np.mean(apart) / np.mean(within))


def drawn(images: int, classes: int = 3, width: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    y = generator.integers(0, classes, images)
    return generator.normal(0, 1 + y[:, None], (images, width)) + 2.0 * y[:, None], y


def test_it_is_the_ratio_whatever_the_scale_and_classes_of_one_image_are_left_out():
    features, y = drawn(90)
    found = class_separation(features, y)
    assert found.mean() == pytest.approx(literal(features, y), rel=1e-12)
    np.testing.assert_allclose(class_separation(1000 * features.astype(np.float32), y), found, rtol=1e-4)
    alone = class_separation(np.concatenate([features, [[1e6] * 5]]), np.append(y, 7))
    assert alone.mean() == pytest.approx(literal(features, y), rel=1e-12)
    assert class_separation(features, np.zeros(90, dtype=int)) is None
    assert class_separation(np.eye(2)[y % 2], y % 2) is None


def test_its_interval_is_as_wide_as_that_of_a_bootstrap_over_images():
    features, y = drawn(300)
    estimate = positive_mean(class_separation(features, y))
    generator = np.random.default_rng(1)
    picks = (generator.integers(0, 300, 300) for _ in range(400))
    again = np.log([class_separation(features[pick], y[pick]).mean() for pick in picks])
    assert np.log(estimate.high / estimate.low) / 2 / Z == pytest.approx(again.std(), rel=0.15)
    assert estimate.low < estimate.value < estimate.high


SUITE = """
suite: separated
seeds: [0, 1]
datasets: {blobs: {use: blobs}}
models: {linear: {use: linear}}
defenses: {none: {use: plain}, bright: {use: brightness}}
grid: [{}]
separation: [penultimate, "0"]
"""


def test_a_suite_asks_for_layers_and_gets_an_interval_over_images_and_over_seeds(tmp_path):
    code, run, said = bench(tmp_path, SUITE)
    assert code == 0, said
    split = Blobs(BlobOptions()).split("test")
    # What a logistic regression sees last is the image.
    expected = literal(split.images(range(60)).flatten(1).numpy().astype(np.float64), split.labels)
    rows = run.metrics[run.metrics.metric.str.startswith("feature_separation")]
    assert set(rows.metric) == {"feature_separation", "feature_separation:0"}
    assert set(rows.defense) == {"none", "bright"}
    assert set(rows.seed) == {"0", "1", "mean", "std", "crossed"}
    assert rows.status.eq("ok").all()
    single = rows[rows.seed.isin(["0", "1"])]
    assert single.value.to_numpy() == pytest.approx(expected, rel=1e-5)
    assert single.n.eq(60).all()
    assert (single.ci_low < single.value).all()
    assert (single.ci_high > single.value).all()
    # Both seeds see the same images: the interval over both is that over images.
    crossed = rows[rows.seed == "crossed"].iloc[0]
    assert crossed.ci_high - crossed.value == pytest.approx(single.iloc[0].ci_high - crossed.value, rel=0.2)
    # The states in the plane of their two largest variances, by class, with their shares of all variance.
    images = split.images(range(60)).flatten(1).numpy().astype(np.float64)
    variances = np.linalg.eigvalsh(np.cov(images.T))[::-1]
    curves = run.curves[(run.curves.defense == "none") & (run.curves.seed == "0")]
    plane = curves[curves.curve.str.startswith("plane:penultimate: class")]
    assert plane.groupby("curve").size().to_dict() == {f"plane:penultimate: class {one}": 30 for one in (0, 1)}
    assert plane[["x", "y"]].var().to_numpy() == pytest.approx(variances[:2], rel=1e-4)
    shares = curves[curves.curve == "plane:penultimate: shares"]
    assert shares.y.to_numpy() == pytest.approx(variances[:2] / variances.sum(), rel=1e-6)
    # The report draws every point of each network, by its class (PCL's Figure 1).
    with pytest.raises(SystemExit) as stop:
        main(["report", str(tmp_path / "run"), "-o", str(tmp_path / "report")])
    assert stop.value.code == 0
    (page,) = (tmp_path / "report" / "settings").glob("*.html")
    for network in ("none, layer penultimate", "none, layer 0", "bright, layer penultimate", "bright, layer 0"):
        _, _, figure = page.read_text().partition(f"Features of {network}")
        points = json.loads(re.search(r"<script[^>]*json[^>]*>(.*?)</script>", figure, re.DOTALL)[1])["points"]
        columns = {name: points[name] for name in "sxy"}
        drawn = {name: [c["of"][n] for n in c["at"]] if "of" in c else c for name, c in columns.items()}
        assert list(Counter(drawn["s"]).values()) == [30, 30]
        if "penultimate" in network:
            assert np.var([drawn["x"], drawn["y"]], 1, ddof=1) == pytest.approx(variances[:2], rel=1e-2)
    tasks = run.costs[run.costs.kind == "separate"]
    assert len(tasks) == 2  # one per trained network, which both defenses deploy
    assert bench(tmp_path, SUITE, out="again")[1].costs.cached.all()


def test_a_layer_that_a_network_lacks_is_refused_with_the_model(tmp_path):
    with pytest.raises(InputError, match=r"suite\.yaml: separation: models\.linear: .*'hiden'.*penultimate"):
        bench(tmp_path, SUITE.replace('"0"', "hiden"))
