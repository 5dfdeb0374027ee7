"""Networks as people write them: they work, or the reason why not is told while planning."""

from __future__ import annotations

import own_networks
import pytest
import torch
from torch import nn

from benchmark.errors import InputError, TaskError
from benchmark.gradient import classification_loss, input_gradient
from benchmark.model import Classifier, load_weights, save_weights
from benchmark.plugins import load_plugins
from benchmark.randomness import Rng

X = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))


def model(name: str, **options: str) -> str:
    return f"{{mine: {{use: python, factory: 'own_networks:{name}', train: {{epochs: 1}}}}}}"


def classifier(name: str) -> Classifier:
    """Return the network with the weights that all of them have."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Classifier(getattr(own_networks, name)(2), 2, (1, 4, 4)).eval()


def test_networks_of_all_habits_go_through_a_suite(run_toy):
    """Trained, attacked by gradients, judged with hidden states and without."""
    names = ("half", "bf16", "writes", "auxiliary")
    listed = ", ".join(
        f"{name}: {{use: python, factory: 'own_networks:{name}', train: {{epochs: 2, lr: 0.2}}}}" for name in names
    )
    done = run_toy(models=f"{{{listed}}}", defenses="{nearest: {use: nearest}}")
    assert done.code == 0
    metrics = done.run.metrics
    assert set(metrics.status) == {"ok"}
    assert set(metrics.model) == set(names)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("half", 0.01), ("double", 1e-5), ("bf16", 0.05), ("views", 0), ("mapping", 0), ("auxiliary", 0)],
)
def test_the_answer_is_that_of_the_plain_network(name, tolerance):
    other, plain = classifier(name), classifier("plain")
    # As a plugin may hand them on: transposed in memory, and every second one of a batch.
    for x in (X, X.transpose(2, 3).contiguous().transpose(2, 3), X.repeat_interleave(2, 0)[::2]):
        assert other(x).dtype == torch.float32
        torch.testing.assert_close(other(x), plain(x), atol=tolerance, rtol=tolerance)
    states = other.features(X, ["penultimate", "hidden"])
    assert {state.dtype for state in states.values()} == {torch.float32}
    torch.testing.assert_close(
        states["hidden"], plain.features(X, ["hidden"])["hidden"], atol=tolerance, rtol=tolerance
    )
    y = torch.zeros(3, dtype=torch.long)
    gradients = [input_gradient(classification_loss(network, y), X) for network in (other, plain)]
    torch.testing.assert_close(*gradients, atol=tolerance, rtol=tolerance)


def test_the_layout_in_memory_changes_last_digits_alone(run_toy, tmp_path):
    """And is kept by weights that are read back; what a network cannot do with it is told while it is built."""
    registry = load_plugins()

    def built(memory_format: str) -> Classifier:
        options = {"width": 4, "memory_format": memory_format}
        return registry.create("model", "small_cnn", options).build(3, (3, 16, 16), Rng(0)).eval()

    plain, other = built("contiguous"), built("channels_last")
    kernels = [weights for weights in other.parameters() if weights.dim() == 4]
    assert kernels
    assert all(weights.is_contiguous(memory_format=torch.channels_last) for weights in kernels)
    x, y = torch.rand(5, 3, 16, 16, generator=Rng(1).torch), torch.zeros(5, dtype=torch.long)
    torch.testing.assert_close(other(x), plain(x))
    torch.testing.assert_close(*(input_gradient(classification_loss(one, y), x) for one in (other, plain)))
    save_weights(other, tmp_path / "weights.safetensors")
    again = built("channels_last")
    with torch.no_grad():
        for weights in again.parameters():
            weights.zero_()
    load_weights(again, tmp_path / "weights.safetensors")
    assert torch.equal(again(x), other(x))
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in again.parameters() if p.dim() == 4)
    drawn = torch.get_rng_state()
    drawing = {"factory": "own_networks:drawing", "memory_format": "channels_last"}
    registry.create("model", "python", drawing).build(2, (1, 4, 4), Rng(0))
    assert torch.equal(torch.get_rng_state(), drawn)
    with pytest.raises(InputError, match="memory_format: with `channels_last` the network cannot take images"):
        registry.create("model", "python", {"factory": "own_networks:viewing", "memory_format": "channels_last"}).build(
            2, (1, 4, 4), Rng(0)
        )
    models = "{cnn: {use: small_cnn, width: 4, depth: 1, memory_format: channels_last, train: {epochs: 1}}}"
    done = run_toy(models=models, attacks="{pgd: {use: pgd, norm: linf, eps: 0.1, steps: 2}}")
    assert (done.code, set(done.run.metrics.status)) == (0, {"ok"})


def test_a_network_writes_into_a_copy_of_its_own():
    network, before = classifier("writes"), X.clone()
    gradient = input_gradient(classification_loss(network, torch.zeros(3, dtype=torch.long)), X)
    assert torch.equal(X, before)
    assert torch.equal(network(X), network(X))
    assert torch.equal(network(X), classifier("plain")((X - 0.5) / 0.25))
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (
            "squeezed",
            r"shape \(1, 2\) for 1 images .* of shape \(2,\)\. A batch of one image loses its first dimension",
        ),
        ("pair", r"one tensor of logits, its answer is a tuple of 2: tensor \(2, 2\), tensor \(2, 1\)"),
        ("trains_in_pairs", r"its answer is a tuple of 2: .* This is its answer in train mode"),
        ("no_gradient", r"answer has no gradient, so it cannot be trained: take .* or give `train: null`"),
        ("labels", r"float logits of shape \(2, 2\) .* its answer is torch.int64 of shape \(2,\)"),
        ("features", r"float logits of shape \(2, 2\) .* its answer is torch.float32 of shape \(2, 7\)"),
        (
            "broken",
            r"NameError: name 'undefined_name' is not defined \(.*own_networks.py:\d+\).* reason is in the network",
        ),
        ("larger", r"cannot take images of 1x4x4 .*It takes 3x28x28: change the images in the data set's options"),
        ("mixed", r"RuntimeError: .*dtype.* the reason is in the network"),
        ("one_only", r"takes two images of 1x4x4, but not one alone: RuntimeError: shape '\[3, 3\]' is invalid"),
    ],
)
def test_why_a_network_cannot_be_used_is_told_before_any_work(run_toy, tmp_path, name, reason):
    with pytest.raises(InputError, match=rf"toy.yaml:8: models.mine on datasets.blobs: .*{reason}") as error:
        run_toy(models=model(name))
    assert "Resize" not in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "layer", "reason"),
    [
        (
            "states",
            "twice",
            r"output of the layer 'twice' is a tuple of 2: .* not a tensor with a row for each of 2 images",
        ),
        ("states", "idle", "the layer 'idle' takes no part"),
        ("states", "hiden", "unknown layer 'hiden'. Did you mean 'hidden'"),
        ("convolutional", "penultimate", "no fully connected layer, so no 'penultimate' state"),
    ],
)
def test_hidden_states_that_a_network_has_not_are_told_before_any_work(run_toy, tmp_path, name, layer, reason):
    with pytest.raises(InputError, match=rf"defenses.none on models.mine: .*{reason}"):
        run_toy(models=model(name), defenses=f"{{none: {{use: mahalanobis, layer: {layer}}}}}")
    assert not (tmp_path / "run").exists()


def test_an_answer_that_turns_wrong_later_is_the_networks_fault():
    network = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(16, 2), nn.Flatten(0)), 2, (1, 4, 4))
    with pytest.raises(TaskError, match=r"the network must answer with float logits of shape \(3, 2\)"):
        network(X)
