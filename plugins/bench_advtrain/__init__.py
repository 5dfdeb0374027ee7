"""No defense, the baseline of every table, and adversarial training."""

from __future__ import annotations

from benchmark import hookimpl
from benchmark.hookspecs import Register

ADVERSARIAL_TRAINING = """@inproceedings{madry2018towards,
  title = {Towards Deep Learning Models Resistant to Adversarial Attacks},
  author = {Madry, Aleksander and Makelov, Aleksandar and Schmidt, Ludwig and Tsipras, Dimitris and Vladu, Adrian},
  booktitle = {International Conference on Learning Representations},
  year = {2018}
}"""


@hookimpl
def register_defenses(register: Register) -> None:
    """Register `none` and `adversarial_training`."""
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
