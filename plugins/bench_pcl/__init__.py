"""PCL: restricting the hidden space by a prototype conformity loss (Mustafa et al. 2019), and its paper's attacks."""

from __future__ import annotations

from benchmark import Register, hookimpl

PCL = """@inproceedings{mustafa2019adversarial,
  title = {Adversarial Defense by Restricting the Hidden Space of Deep Neural Networks},
  author = {Mustafa, Aamir and Khan, Salman and Hayat, Munawar and Goecke, Roland and Shen, Jianbing and Shao, Ling},
  booktitle = {IEEE International Conference on Computer Vision},
  year = {2019}
}"""


@hookimpl
def register_defenses(register: Register) -> None:
    """Register `pcl`."""
    register(
        "pcl",
        "bench_pcl.pcl:Pcl",
        options="bench_pcl.options:PclOptions",
        version="2",
        summary="trains the network so that features of the classes lie far apart (Mustafa et al. 2019)",
        cite=PCL,
    )


@hookimpl
def register_attacks(register: Register) -> None:
    """Register `pcl-joint` and `pcl-released`."""
    register(
        "pcl-joint",
        "bench_pcl.attacks:PclJoint",
        options="bench_pcl.options:JointOptions",
        version="1",
        summary="FGSM, BIM, MIM or PGD on the loss that PCL was trained by (its Table 3); white-box rows",
        cite=PCL,
    )
    register(
        "pcl-released",
        "bench_pcl.attacks:PclReleased",
        options="bench_pcl.options:ReleasedOptions",
        version="1",
        summary="the attacks of PCL's released evaluation script: no random start, on normalised pixels if so asked",
        cite=PCL,
    )
