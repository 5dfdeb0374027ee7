"""No defense, the baseline of every table, and adversarial training with its relatives."""

from __future__ import annotations

from benchmark import Register, hookimpl

ADVERSARIAL_TRAINING = """@inproceedings{madry2018towards,
  title = {Towards Deep Learning Models Resistant to Adversarial Attacks},
  author = {Madry, Aleksander and Makelov, Aleksandar and Schmidt, Ludwig and Tsipras, Dimitris and Vladu, Adrian},
  booktitle = {International Conference on Learning Representations},
  year = {2018}
}"""

TRADES = """@inproceedings{zhang2019theoretically,
  title = {Theoretically Principled Trade-off between Robustness and Accuracy},
  author = {Zhang, Hongyang and Yu, Yaodong and Jiao, Jiantao and Xing, Eric and El Ghaoui, Laurent
            and Jordan, Michael},
  booktitle = {International Conference on Machine Learning},
  year = {2019}
}"""
MART = """@inproceedings{wang2020improving,
  title = {Improving Adversarial Robustness Requires Revisiting Misclassified Examples},
  author = {Wang, Yisen and Zou, Difan and Yi, Jinfeng and Bailey, James and Ma, Xingjun and Gu, Quanquan},
  booktitle = {International Conference on Learning Representations},
  year = {2020}
}"""
ATDA = """@inproceedings{song2019improving,
  title = {Improving the Generalization of Adversarial Training with Domain Adaptation},
  author = {Song, Chuanbiao and He, Kun and Wang, Liwei and Hopcroft, John E.},
  booktitle = {International Conference on Learning Representations},
  year = {2019}
}"""


@hookimpl
def register_defenses(register: Register) -> None:
    """Register `none` and adversarial training with its relatives."""
    register(
        "none",
        "bench_advtrain.none:NoDefense",
        options="benchmark.options:Options",
        version="1",
        summary="the undefended classifier: the baseline",
    )
    register(
        "adversarial_training",
        "bench_advtrain.adversarial_training:AdversarialTraining",
        options="bench_advtrain.options:AdversarialTrainingOptions",
        version="1",
        summary="trains the network on PGD or FGSM examples (Goodfellow et al. 2015, Madry et al. 2018)",
        cite=ADVERSARIAL_TRAINING,
    )
    for name, target, options, summary, cite in (
        (
            "trades",
            "bench_advtrain.trades:Trades",
            "TradesOptions",
            "holds the answers around images to those on them (Zhang et al. 2019)",
            TRADES,
        ),
        (
            "mart",
            "bench_advtrain.trades:Mart",
            "MartOptions",
            "the same, where the network errs, with a boosted adversarial loss (Wang et al. 2020)",
            MART,
        ),
        (
            "atda",
            "bench_advtrain.atda:Atda",
            "AtdaOptions",
            "adversarial training that draws clean and adversarial logits together (Song et al. 2019)",
            ATDA,
        ),
    ):
        register(name, target, options=f"bench_advtrain.options:{options}", version="2", summary=summary, cite=cite)
