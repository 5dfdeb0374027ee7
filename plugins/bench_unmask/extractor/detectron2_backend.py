"""K from detectron2 (Wu, Kirillov, Massa, Lo, Girshick, 2019): its Mask R-CNN, put together from its own classes.

The network is that of detectron2's `mask_rcnn_fpn` configuration with the widths, anchors and limits of the options, in
detectron2's names. Two things differ from its published models, so that both backends see images alike: pixels are RGB
in [0, 1] with ImageNet's statistics, and a bottleneck's stride is in its 3x3 convolution.

detectron2 is optional and imported only when a network is built. Neither its model zoo nor its compiled operators are
used (pooling and suppression are torchvision's), so a build without CUDA serves a GPU too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from bench_unmask.extractor.backend import Backend, Detections, Stage, Target
from benchmark import MissingError, TaskError

INSTALL = (
    "python -m pip install --no-build-isolation "
    "'git+https://github.com/facebookresearch/detectron2.git@02b5c4e295e990042a714712c21dc79b731e8833'"
)
"""Installs the commit that this backend was tried with: no release is newer than 2021 or fits today's torch."""

_BLOCKS = {
    "resnet10-half": (1, 1, 1, 1),
    "resnet10": (1, 1, 1, 1),
    "resnet18": (2, 2, 2, 2),
    "resnet34": (3, 4, 6, 3),
    "resnet50": (3, 4, 6, 3),
    "resnet101": (3, 4, 23, 3),
}
_NORMS = {"batch": "BN", "frozen": "FrozenBN", "group": "GN"}
_STRIDES = (4, 8, 16, 32, 64)


def check_installed() -> None:
    """Look whether detectron2 is installed, without importing it: that takes seconds.

    Raises:
        MissingError: it is not; the message says where it is and how to install it.
    """
    if find_spec("detectron2") is None:
        raise MissingError(
            "the part extractor's `backend: detectron2` needs the package detectron2, which is not installed and "
            "not on the package index. It is built from its public repository, with git, a C++ compiler, "
            f"setuptools and wheel, in some minutes:\n  {INSTALL}\nOr set `backend: torchvision`, which needs "
            "nothing more."
        )


class Detectron2Backend(Backend):
    """detectron2's Mask R-CNN."""

    def build(self) -> nn.Module:
        """Return a `GeneralizedRCNN`, with a mask head where masks are learned."""
        from detectron2.layers import ShapeSpec
        from detectron2.modeling import GeneralizedRCNN
        from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
        from detectron2.modeling.box_regression import Box2BoxTransform
        from detectron2.modeling.matcher import Matcher
        from detectron2.modeling.poolers import ROIPooler
        from detectron2.modeling.proposal_generator import RPN, StandardRPNHead
        from detectron2.modeling.roi_heads import (
            FastRCNNConvFCHead,
            FastRCNNOutputLayers,
            MaskRCNNConvUpsampleHead,
            StandardROIHeads,
        )

        options, width = self.options, self.options.channels
        ratios = [0.5, 1.0, 2.0]
        proposals = RPN(
            in_features=["p2", "p3", "p4", "p5", "p6"],
            head=StandardRPNHead(in_channels=width, num_anchors=len(ratios)),
            anchor_generator=DefaultAnchorGenerator(
                sizes=[[float(side)] for side in options.anchors], aspect_ratios=ratios, strides=_STRIDES, offset=0.0
            ),
            anchor_matcher=Matcher([0.3, 0.7], [0, -1, 1], allow_low_quality_matches=True),
            box2box_transform=Box2BoxTransform(weights=(1.0, 1.0, 1.0, 1.0)),
            batch_size_per_image=256,
            positive_fraction=0.5,
            pre_nms_topk=(2 * options.proposals, options.proposals),
            post_nms_topk=(2 * options.proposals, options.proposals),
            nms_thresh=0.7,
        )

        def pooler(size: int) -> nn.Module:
            scales = [1 / stride for stride in _STRIDES[:4]]
            return ROIPooler(output_size=size, scales=scales, sampling_ratio=0, pooler_type="ROIAlignV2")

        levels = ["p2", "p3", "p4", "p5"]
        box_head = FastRCNNConvFCHead(
            ShapeSpec(channels=width, height=7, width=7), conv_dims=[], fc_dims=[4 * width] * 2
        )
        mask: dict[str, Any] = {}
        if options.masks:
            mask_shape = ShapeSpec(channels=width, height=14, width=14)
            mask = {
                "mask_in_features": levels,
                "mask_pooler": pooler(14),
                "mask_head": MaskRCNNConvUpsampleHead(mask_shape, num_classes=self.num_parts, conv_dims=[width] * 5),
            }
        heads = StandardROIHeads(
            num_classes=self.num_parts,
            batch_size_per_image=options.rois,
            positive_fraction=0.25,
            proposal_matcher=Matcher([0.5], [0, 1], allow_low_quality_matches=False),
            box_in_features=levels,
            box_pooler=pooler(7),
            box_head=box_head,
            box_predictor=FastRCNNOutputLayers(
                box_head.output_shape,
                box2box_transform=Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0)),
                num_classes=self.num_parts,
                test_score_thresh=options.min_score,
                test_nms_thresh=options.nms,
                test_topk_per_image=options.detections,
            ),
            **mask,
        )
        network: nn.Module = GeneralizedRCNN(
            backbone=self._backbone(),
            proposal_generator=proposals,
            roi_heads=heads,
            pixel_mean=self.scaling.mean,
            pixel_std=self.scaling.std,
        )
        return network

    def _backbone(self) -> nn.Module:
        from detectron2.modeling import FPN, ResNet
        from detectron2.modeling.backbone.fpn import LastLevelMaxPool
        from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock

        norm = _NORMS[self.normalization]
        bottlenecks = self.options.network in ("resnet50", "resnet101")
        first = 32 if self.options.network == "resnet10-half" else 64
        stages, before = [], first
        for number, blocks in enumerate(_BLOCKS[self.options.network]):
            inner = first * 2**number
            after = 4 * inner if bottlenecks else inner
            stages.append(
                ResNet.make_stage(
                    BottleneckBlock if bottlenecks else BasicBlock,
                    blocks,
                    in_channels=before,
                    out_channels=after,
                    stride_per_block=[1 if number == 0 else 2] + [1] * (blocks - 1),
                    norm=norm,
                    **({"bottleneck_channels": inner} if bottlenecks else {}),
                )
            )
            before = after
        outputs = ["res2", "res3", "res4", "res5"]
        body = ResNet(BasicStem(out_channels=first, norm=norm), stages, out_features=outputs)
        pyramid: nn.Module = FPN(body, outputs, self.options.channels, top_block=LastLevelMaxPool())
        return pyramid

    def losses(self, x: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the five losses of Mask R-CNN, the four of Faster R-CNN where no masks are learned.

        Raises:
            TaskError: the training diverged; detectron2 stops at the first box that is not finite.
        """
        from detectron2.structures import BitMasks, Boxes, Instances
        from detectron2.utils.events import EventStorage

        network: Any = self.network
        network.roi_heads.mask_on = self.options.masks
        inputs = []
        for image, target in zip(x, targets):
            found = Instances(tuple(image.shape[1:]), gt_boxes=Boxes(target.boxes), gt_classes=target.labels)
            if self.options.masks:
                assert target.masks is not None
                found.gt_masks = BitMasks(target.masks)
            inputs.append({"image": image, "instances": found})
        with EventStorage():  # detectron2's layers insist on a place for their statistics
            try:
                losses: dict[str, Tensor] = network(inputs)
            except FloatingPointError as error:
                raise TaskError(
                    f"training of the part extractor diverged: {error} Lower the lr of the stage, or raise `warmup`."
                ) from None
        return losses

    def detect(self, x: Tensor, *, masks: bool = False) -> Detections:
        """Return the parts found in a batch."""
        from detectron2.layers import paste_masks_in_image

        network: Any = self.network
        network.roi_heads.mask_on = masks and self.options.masks
        shape = (x.shape[2], x.shape[3])
        inputs = [{"image": image} for image in x]
        answers = network.inference(inputs, do_postprocess=False)  # its post-processing would paste every mask
        found = [instances[instances.pred_boxes.nonempty()] for instances in answers]
        counts = torch.tensor([len(instances) for instances in found], device=x.device)
        boxes = torch.cat([instances.pred_boxes.tensor for instances in found])
        pasted = None
        if masks:
            shares = torch.cat([instances.pred_masks[:, 0] for instances in found])
            pasted = paste_masks_in_image(shares, boxes, shape).bool()
        return Detections(
            torch.repeat_interleave(torch.arange(len(x), device=x.device), counts),
            torch.cat([instances.pred_classes for instances in found]),
            torch.cat([instances.scores for instances in found]),
            boxes,
            pasted,
        )

    def candidates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities of all parts at every proposal, and the proposals' images."""
        network: Any = self.network
        heads = network.roi_heads
        images = network.preprocess_image([{"image": image} for image in x])
        features = network.backbone(images.tensor)
        boxes = [instances.proposal_boxes for instances in network.proposal_generator(images, features)[0]]
        for found in boxes:
            found.tensor = found.tensor.detach()
        pooled = heads.box_pooler([features[level] for level in heads.box_in_features], boxes)
        logits, _ = heads.box_predictor(heads.box_head(pooled))
        counts = torch.tensor([len(found) for found in boxes], device=x.device)
        image = torch.repeat_interleave(torch.arange(len(x), device=x.device), counts)
        return logits.softmax(-1)[:, :-1], image  # detectron2's last class is background

    def stage(self, name: str) -> Stage:
        """Return the place of a parameter by detectron2's names."""
        if not name.startswith("backbone.bottom_up."):
            return "heads"
        stages: dict[str, Stage] = {"res2": 2, "res3": 3, "res4": 4, "res5": 5}
        return stages.get(name.split(".")[2], 1)

    def translate(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of a torchvision classifier (bare, or inside the host's) as those of the backbone."""
        bare = {name.removeprefix("network."): tensor for name, tensor in tensors.items()}
        if not any(name.startswith("layer1.") for name in bare):
            return dict(tensors)
        return {_detectron2_name(name): tensor for name, tensor in bare.items() if not name.startswith("fc.")}

    def depends_on_parts(self, name: str) -> bool:
        """Tell the last layers of the box and mask heads from the rest."""
        return name.startswith(("roi_heads.box_predictor.", "roi_heads.mask_head.predictor."))


def _detectron2_name(name: str) -> str:
    """Return detectron2's name of a tensor of torchvision's residual networks: `layer1.0.bn1.weight` and so on."""
    name = re.sub(r"^layer(\d)", lambda stage: f"res{int(stage[1]) + 1}", name)
    name = re.sub(r"\bdownsample\.0\.", "shortcut.", name)
    name = re.sub(r"\bdownsample\.1\.", "shortcut.norm.", name)
    name = re.sub(r"\bbn(\d)\.", r"conv\1.norm.", name)
    return "backbone.bottom_up." + (name if name.startswith("res") else f"stem.{name}")
