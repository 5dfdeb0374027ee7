"""Attacks that follow the gradient, written on `benchmark.gradient`: tensors stay on the device."""

from __future__ import annotations

from benchmark import Register, hookimpl

FGSM = """@inproceedings{goodfellow2015explaining,
  title = {Explaining and Harnessing Adversarial Examples},
  author = {Goodfellow, Ian J. and Shlens, Jonathon and Szegedy, Christian},
  booktitle = {International Conference on Learning Representations},
  year = {2015}
}"""
BIM = """@inproceedings{kurakin2017adversarial,
  title = {Adversarial Examples in the Physical World},
  author = {Kurakin, Alexey and Goodfellow, Ian J. and Bengio, Samy},
  booktitle = {International Conference on Learning Representations, Workshop Track},
  year = {2017}
}"""
PGD = """@inproceedings{madry2018towards,
  title = {Towards Deep Learning Models Resistant to Adversarial Attacks},
  author = {Madry, Aleksander and Makelov, Aleksandar and Schmidt, Ludwig and Tsipras, Dimitris and Vladu, Adrian},
  booktitle = {International Conference on Learning Representations},
  year = {2018}
}"""
MI_FGSM = """@inproceedings{dong2018boosting,
  title = {Boosting Adversarial Attacks with Momentum},
  author = {Dong, Yinpeng and Liao, Fangzhou and Pang, Tianyu and Su, Hang and Zhu, Jun and Hu, Xiaolin
            and Li, Jianguo},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  year = {2018}
}"""
DEEPFOOL = """@inproceedings{moosavi2016deepfool,
  title = {{DeepFool}: A Simple and Accurate Method to Fool Deep Neural Networks},
  author = {Moosavi-Dezfooli, Seyed-Mohsen and Fawzi, Alhussein and Frossard, Pascal},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  year = {2016}
}"""
CARLINI_WAGNER = """@inproceedings{carlini2017towards,
  title = {Towards Evaluating the Robustness of Neural Networks},
  author = {Carlini, Nicholas and Wagner, David},
  booktitle = {IEEE Symposium on Security and Privacy},
  year = {2017}
}"""


@hookimpl
def register_attacks(register: Register) -> None:
    """Register the fixed-budget and the minimum-norm gradient attacks."""
    register(
        "fgsm",
        "bench_gradient.fixed_budget:Fgsm",
        options="bench_gradient.options:FgsmOptions",
        version="1",
        summary="one gradient step to the edge of the budget (Goodfellow et al. 2015); linf or l2",
        cite=FGSM,
    )
    register(
        "bim",
        "bench_gradient.fixed_budget:Bim",
        options="bench_gradient.options:BimOptions",
        version="2",
        summary="iterated gradient steps from the image itself (Kurakin et al. 2017); "
        "norm l2: the l2-normalised iterative method (Metzen et al. 2017)",
        cite=BIM,
    )
    register(
        "pgd",
        "bench_gradient.fixed_budget:Pgd",
        options="bench_gradient.options:PgdOptions",
        version="2",
        summary="projected gradient descent with random start and restarts (Madry et al. 2018); linf or l2",
        cite=PGD,
    )
    register(
        "mi-fgsm",
        "bench_gradient.fixed_budget:MiFgsm",
        options="bench_gradient.options:MiFgsmOptions",
        version="2",
        summary="iterated steps along accumulated gradients (Dong et al. 2018); linf or l2",
        cite=MI_FGSM,
    )
    register(
        "deepfool",
        "bench_gradient.minimum_norm:DeepFool",
        options="bench_gradient.options:DeepFoolOptions",
        version="1",
        summary="steps to the nearest linearised class boundary (Moosavi-Dezfooli et al. 2016); minimum l2 norm",
        cite=DEEPFOOL,
    )
    register(
        "cw-l2",
        "bench_gradient.minimum_norm:CarliniWagnerL2",
        options="bench_gradient.options:CarliniWagnerL2Options",
        version="1",
        summary="optimises distance plus weighted margin (Carlini & Wagner 2017); minimum l2 norm",
        cite=CARLINI_WAGNER,
    )
    register(
        "cw-linf",
        "bench_gradient.minimum_norm:CarliniWagnerLinf",
        options="bench_gradient.options:CarliniWagnerLinfOptions",
        version="2",
        summary="optimises under a shrinking bound on every pixel (Carlini & Wagner 2017); minimum linf norm",
        cite=CARLINI_WAGNER,
    )
