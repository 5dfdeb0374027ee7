"""The high-level representation guided denoiser (Liao, Liang, Dong, Pang, Hu, Zhu, CVPR 2018)."""

from __future__ import annotations

from benchmark import Register, hookimpl

DENOISER = """@inproceedings{liao2018defense,
  title = {Defense Against Adversarial Attacks Using High-Level Representation Guided Denoiser},
  author = {Liao, Fangzhou and Liang, Ming and Dong, Yinpeng and Pang, Tianyu and Hu, Xiaolin and Zhu, Jun},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year = {2018}
}"""


@hookimpl
def register_defenses(register: Register) -> None:
    """Register the preprocessor."""
    register(
        "guided-denoiser",
        "bench_denoiser.denoiser:GuidedDenoiser",
        options="bench_denoiser.options:GuidedDenoiserOptions",
        version="1",
        summary="U-net before the network, trained to restore what it answers to clean images (Liao et al. 2018)",
        cite=DENOISER,
    )
