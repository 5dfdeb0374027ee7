"""Attacks that follow the gradient, written on `benchmark.gradient`: tensors stay on the device."""

from __future__ import annotations

from benchmark.hookspecs import Register, hookimpl


@hookimpl
def register_attacks(register: Register) -> None:
    """Register the fixed-budget and the minimum-norm gradient attacks."""
    register(
        "fgsm",
        "bench_gradient.fixed_budget:Fgsm",
        options="bench_gradient.options:FgsmOptions",
        version="1",
        summary="one gradient step to the edge of the budget (Goodfellow et al. 2015); linf or l2",
    )
    register(
        "bim",
        "bench_gradient.fixed_budget:Bim",
        options="bench_gradient.options:BimOptions",
        version="1",
        summary="iterated gradient steps from the image itself (Kurakin et al. 2017); "
        "norm l2: the l2-normalised iterative method (Metzen et al. 2017)",
    )
    register(
        "pgd",
        "bench_gradient.fixed_budget:Pgd",
        options="bench_gradient.options:PgdOptions",
        version="1",
        summary="projected gradient descent with random start and restarts (Madry et al. 2018); linf or l2",
    )
    register(
        "mi-fgsm",
        "bench_gradient.fixed_budget:MiFgsm",
        options="bench_gradient.options:MiFgsmOptions",
        version="1",
        summary="iterated steps along accumulated gradients (Dong et al. 2018); linf or l2",
    )
    register(
        "deepfool",
        "bench_gradient.minimum_norm:DeepFool",
        options="bench_gradient.options:DeepFoolOptions",
        version="1",
        summary="steps to the nearest linearised class boundary (Moosavi-Dezfooli et al. 2016); minimum l2 norm",
    )
    register(
        "cw-l2",
        "bench_gradient.minimum_norm:CarliniWagnerL2",
        options="bench_gradient.options:CarliniWagnerL2Options",
        version="1",
        summary="optimises distance plus weighted margin (Carlini & Wagner 2017); minimum l2 norm",
    )
    register(
        "cw-linf",
        "bench_gradient.minimum_norm:CarliniWagnerLinf",
        options="bench_gradient.options:CarliniWagnerLinfOptions",
        version="1",
        summary="optimises under a shrinking bound on every pixel (Carlini & Wagner 2017); minimum linf norm",
    )
