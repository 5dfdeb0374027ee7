"""Architectures: those of the reproduced papers, the usual CIFAR networks, any of torchvision or timm, and yours."""

from __future__ import annotations

from benchmark import Register, hookimpl

PROTOTYPE_CONFORMITY = """@inproceedings{mustafa2019adversarial,
  title = {Adversarial Defense by Restricting the Hidden Space of Deep Neural Networks},
  author = {Mustafa, Aamir and Khan, Salman and Hayat, Munawar and Goecke, Roland and Shen, Jianbing and Shao, Ling},
  booktitle = {IEEE International Conference on Computer Vision},
  year = {2019}
}"""
I_DEFENDER = """@inproceedings{zheng2018robust,
  title = {Robust Detection of Adversarial Attacks by Modeling the Intrinsic Properties of Deep Neural Networks},
  author = {Zheng, Zhihao and Hong, Pengyu},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2018}
}"""
RESNET = """@inproceedings{he2016deep,
  title = {Deep Residual Learning for Image Recognition},
  author = {He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  year = {2016}
}"""
WIDE_RESNET = """@inproceedings{zagoruyko2016wide,
  title = {Wide Residual Networks},
  author = {Zagoruyko, Sergey and Komodakis, Nikos},
  booktitle = {British Machine Vision Conference},
  year = {2016}
}"""


@hookimpl
def register_models(register: Register) -> None:
    """Register all architectures."""
    register(
        "small_cnn",
        "bench_models.small:SmallCnn",
        options="bench_models.options:SmallCnnOptions",
        version="1",
        summary="a few convolutions and two fully connected layers, for images from 8x8 and for CPUs",
    )
    register(
        "cnn6",
        "bench_models.small:Cnn6",
        options="bench_models.options:Cnn6Options",
        version="1",
        summary="CNN-6 of the Prototype Conformity Loss (Mustafa et al. 2019, Table 1)",
        cite=PROTOTYPE_CONFORMITY,
    )
    register(
        "idefender_e",
        "bench_models.small:IDefenderE",
        options="bench_models.options:IDefenderEOptions",
        version="1",
        summary="model E of I-defender (Zheng and Hong 2018, Table 1): two fully connected layers of 200",
        cite=I_DEFENDER,
    )
    register(
        "idefender_f",
        "bench_models.small:IDefenderF",
        options="bench_models.options:IDefenderFOptions",
        version="1",
        summary="model F of I-defender (Zheng and Hong 2018, Table 1): two strided convolutions",
        cite=I_DEFENDER,
    )
    register(
        "cifar_resnet",
        "bench_models.residual:CifarResNet",
        options="bench_models.options:CifarResNetOptions",
        version="1",
        summary="ResNet-20 to -110 and deeper for small images, basic or bottleneck blocks (He et al. 2016)",
        cite=RESNET,
    )
    register(
        "wide_resnet",
        "bench_models.residual:WideResNet",
        options="bench_models.options:WideResNetOptions",
        version="1",
        summary="Wide ResNet by depth and width, such as 28-10 (Zagoruyko and Komodakis 2016)",
        cite=WIDE_RESNET,
    )
    register(
        "torchvision",
        "bench_models.libraries:Torchvision",
        options="bench_models.options:TorchvisionOptions",
        version="1",
        summary="any torchvision classifier by name, with its published weights if wanted",
    )
    register(
        "timm",
        "bench_models.libraries:Timm",
        options="bench_models.options:TimmOptions",
        version="1",
        summary="any timm classifier by name, with its published weights if wanted (needs the extra timm)",
    )
    register(
        "python",
        "bench_models.factory:PythonFactory",
        options="bench_models.options:PythonFactoryOptions",
        version="1",
        summary="any torch.nn.Module that a function of yours returns, by package.module:function",
    )
