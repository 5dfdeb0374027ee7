"""AutoAttack as its authors published it, and its parts as attacks of their own."""

from __future__ import annotations

from benchmark import Register, hookimpl

AUTOATTACK = """@inproceedings{croce2020reliable,
  title = {Reliable Evaluation of Adversarial Robustness with an Ensemble of Diverse Parameter-Free Attacks},
  author = {Croce, Francesco and Hein, Matthias},
  booktitle = {International Conference on Machine Learning},
  year = {2020}
}"""
FAB = """@inproceedings{croce2020minimally,
  title = {Minimally Distorted Adversarial Examples with a Fast Adaptive Boundary Attack},
  author = {Croce, Francesco and Hein, Matthias},
  booktitle = {International Conference on Machine Learning},
  year = {2020}
}"""
MALT = """@inproceedings{melamed2024malt,
  title = {MALT Powers Up Adversarial Attacks},
  author = {Melamed, Odelia and Yehudai, Gilad and Shamir, Adi},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024}
}"""
SQUARE = """@inproceedings{andriushchenko2020square,
  title = {Square Attack: A Query-Efficient Black-Box Adversarial Attack via Random Search},
  author = {Andriushchenko, Maksym and Croce, Francesco and Flammarion, Nicolas and Hein, Matthias},
  booktitle = {European Conference on Computer Vision},
  year = {2020}
}"""


@hookimpl
def register_attacks(register: Register) -> None:
    """Register AutoAttack and its parts."""
    register(
        "autoattack",
        "bench_autoattack.autoattack:AutoAttack",
        options="bench_autoattack.options:AutoAttackOptions",
        version="3",
        summary="APGD-CE, APGD-T, FAB-T and Square, each on what still stands (Croce & Hein 2020); linf or l2",
        cite=AUTOATTACK,
    )
    register(
        "apgd-ce",
        "bench_autoattack.apgd:ApgdCe",
        options="bench_autoattack.options:ApgdOptions",
        version="2",
        summary="Auto-PGD on the cross-entropy, as in AutoAttack (Croce & Hein 2020); linf or l2",
        cite=AUTOATTACK,
    )
    register(
        "apgd-dlr",
        "bench_autoattack.apgd:ApgdDlr",
        options="bench_autoattack.options:ApgdOptions",
        version="2",
        summary="Auto-PGD on the difference of logits ratio, as in AutoAttack (Croce & Hein 2020); linf or l2",
        cite=AUTOATTACK,
    )
    register(
        "apgd-t",
        "bench_autoattack.apgd:ApgdT",
        options="bench_autoattack.options:TargetedApgdOptions",
        version="2",
        summary="Auto-PGD towards one wrong class after the other, as in AutoAttack (Croce & Hein 2020); linf or l2",
        cite=AUTOATTACK,
    )
    register(
        "malt",
        "bench_autoattack.malt:Malt",
        options="bench_autoattack.options:MaltOptions",
        version="1",
        summary="Auto-PGD towards the classes with the nearest boundaries (Melamed et al. 2024); linf or l2",
        cite=MALT,
    )
    register(
        "fab-t",
        "bench_autoattack.fab:FabT",
        options="bench_autoattack.options:FabOptions",
        version="2",
        summary="fast adaptive boundary attack towards each wrong class (Croce & Hein 2020); minimum linf or l2 norm",
        cite=FAB,
    )
    register(
        "square",
        "bench_autoattack.square:Square",
        options="bench_autoattack.options:SquareOptions",
        version="3",
        summary="random search with squares, needs scores only (Andriushchenko et al. 2020); linf or l2",
        cite=SQUARE,
    )
