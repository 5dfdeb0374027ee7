"""A part-based classifier trained end to end (Sitawarin et al. 2023): parts inside the classifier, not beside it."""

from __future__ import annotations

from benchmark import Register, hookimpl

CITE = """@inproceedings{sitawarin2023part,
  title = {Part-Based Models Improve Adversarial Robustness},
  author = {Sitawarin, Chawin and Pongmala, Kornrapat and Chen, Yizheng and Carlini, Nicholas and Wagner, David},
  booktitle = {International Conference on Learning Representations},
  year = {2023}
}"""


@hookimpl
def register_defenses(register: Register) -> None:
    """Register the part-based classifier."""
    register(
        "part-model",
        "bench_partmodel.defense:PartModelDefense",
        options="bench_partmodel.options:PartModelOptions",
        version="2",
        summary="a segmenter of parts and a tiny classifier of its masks, trained end to end (Sitawarin et al. 2023)",
        cite=CITE,
    )
