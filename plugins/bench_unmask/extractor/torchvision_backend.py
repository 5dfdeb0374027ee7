"""K from torchvision: its Mask R-CNN (He, Gkioxari, Dollár, Girshick, ICCV 2017), asked in batches.

The network is `torchvision.models.detection.MaskRCNN` (or `FasterRCNN` for boxes alone) put together from torchvision's
own pieces, and its parameters have torchvision's names. Only the way through it differs: a batch arrives as one tensor
of images that are resized already, only candidates above the least score are decoded, the mask head runs on request,
and boxes are pooled in a way that a CPU is fast at (`roi_align`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad, softmax
from torchvision.models import resnet
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.roi_heads import maskrcnn_inference, paste_masks_in_image
from torchvision.ops import FrozenBatchNorm2d, clip_boxes_to_image, nms, remove_small_boxes
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from bench_unmask.extractor.backend import Backend, Detections, Stage, Target
from bench_unmask.extractor.options import TIMM
from bench_unmask.extractor.roi_align import BagRoIAlign
from bench_unmask.extractor.timm_pyramid import TimmPyramid, classifier_of

MAPS = ["0", "1", "2", "3"]
"""Names of the maps that boxes are pooled from; the smallest one is for proposals alone."""

STRIDE = 32
"""Sides are padded to a multiple of this, as torchvision's own transform does."""


class _HalfResNet(resnet.ResNet):
    """torchvision's ResNet with half the channels in every layer."""

    def _make_layer(
        self, block: type[resnet.BasicBlock | resnet.Bottleneck], planes: int, *arguments: Any, **options: Any
    ) -> nn.Sequential:
        if planes == 64:  # the first: the stem is there, at full width
            self.inplanes = 32
            self.conv1 = nn.Conv2d(3, 32, kernel_size=7, stride=2, padding=3, bias=False)
            self.bn1 = self._norm_layer(32)
        return super()._make_layer(block, planes // 2, *arguments, **options)


def _in_float32(module: nn.Module, given: Any, answer: Any) -> Any:
    if isinstance(answer, Tensor):
        return answer.float()
    return type(answer)(_in_float32(module, given, one) for one in answer)


class TorchvisionBackend(Backend):
    """torchvision's Mask R-CNN."""

    def build(self) -> nn.Module:
        """Return a `MaskRCNN`, or a `FasterRCNN` where no masks are learned."""
        options = self.options
        backbone = self._backbone()
        classes = self.num_parts + 1  # torchvision's class 0 is background
        width = options.channels
        sides = tuple((side,) for side in options.anchors)
        arguments: dict[str, Any] = {
            "rpn_anchor_generator": AnchorGenerator(sides, ((0.5, 1.0, 2.0),) * len(sides)),
            "rpn_pre_nms_top_n_train": 2 * options.proposals,
            "rpn_post_nms_top_n_train": 2 * options.proposals,
            "rpn_pre_nms_top_n_test": options.proposals,
            "rpn_post_nms_top_n_test": options.proposals,
            "box_roi_pool": BagRoIAlign(MAPS, 7, 2),
            "box_head": TwoMLPHead(width * 7 * 7, 4 * width),
            "box_predictor": FastRCNNPredictor(4 * width, classes),
            "box_score_thresh": options.min_score,
            "box_nms_thresh": options.nms,
            "box_detections_per_img": options.detections,
            "box_batch_size_per_image": options.rois,
        }
        network: Any
        if options.masks:
            arguments["mask_roi_pool"] = BagRoIAlign(MAPS, 14, 2)
            arguments["mask_head"] = MaskRCNNHeads(width, (width,) * 4, 1)
            arguments["mask_predictor"] = MaskRCNNPredictor(width, width, classes)
            network = MaskRCNN(backbone, **arguments)
            network.roi_heads.mask_predictor.register_forward_hook(_in_float32)
        else:
            network = FasterRCNN(backbone, **arguments)
        # In mixed precision torchvision would round boxes to whole pixels, and small ones to nothing.
        network.rpn.head.register_forward_hook(_in_float32)
        network.roi_heads.box_predictor.register_forward_hook(_in_float32)
        return network

    def _backbone(self) -> BackboneWithFPN | TimmPyramid:
        normalization = self.normalization
        if self.options.network.startswith(TIMM):
            return TimmPyramid(self.options.network, self.options.channels, normalization == "frozen")
        layer: Callable[..., nn.Module] = {
            "batch": nn.BatchNorm2d,
            "frozen": FrozenBatchNorm2d,
            "group": partial(nn.GroupNorm, 32),
        }[normalization]
        scratch = normalization != "frozen"
        makers: dict[str, Callable[..., resnet.ResNet]] = {
            "resnet10-half": partial(_HalfResNet, resnet.BasicBlock, [1, 1, 1, 1]),
            "resnet10": partial(resnet.ResNet, resnet.BasicBlock, [1, 1, 1, 1]),
        }
        make = makers.get(self.options.network) or getattr(resnet, self.options.network)
        body = make(norm_layer=layer, zero_init_residual=scratch)
        first = body.inplanes // 8
        return BackboneWithFPN(
            body,
            {f"layer{stage}": str(stage - 1) for stage in range(1, 5)},
            [first, 2 * first, 4 * first, 8 * first],
            self.options.channels,
            LastLevelMaxPool(),
        )

    def losses(self, x: Tensor, targets: Sequence[Target]) -> dict[str, Tensor]:
        """Return the five losses of Mask R-CNN, the four of Faster R-CNN where no masks are learned."""
        network: Any = self.network
        images = self._prepared(x)
        wanted = []
        for target in targets:
            entry = {"boxes": target.boxes, "labels": target.labels + 1}
            if self.options.masks:
                assert target.masks is not None
                entry["masks"] = target.masks.byte()
            wanted.append(entry)
        features = network.backbone(images.tensors)
        proposals, proposal_losses = network.rpn(images, features, wanted)
        _, part_losses = network.roi_heads(features, proposals, images.image_sizes, wanted)
        return {**proposal_losses, **part_losses}

    def detect(self, x: Tensor, *, masks: bool = False) -> Detections:
        """Return the parts found in a batch; the same ones as the network called as it comes."""
        heads: Any = self.network.roi_heads
        shapes = [(x.shape[2], x.shape[3])] * len(x)
        features, proposals, logits, offsets = self._proposed(x)
        counts = torch.tensor([len(p) for p in proposals], device=x.device)
        candidates = self._candidates(logits, offsets, torch.cat(proposals), counts, shapes[0])
        found = self._best(candidates, len(shapes))
        if not masks:
            return found
        per_image = torch.bincount(found.image, minlength=len(shapes)).tolist()
        boxes = list(found.boxes.split(per_image))
        mask_logits = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(features, boxes, shapes)))
        shares = torch.cat(maskrcnn_inference(mask_logits, [found.labels + 1]))
        pasted = paste_masks_in_image(shares, found.boxes, shapes[0])[:, 0] > 0.5
        return Detections(found.image, found.labels, found.scores, found.boxes, pasted)

    def candidates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities of all parts at every proposal, and the proposals' images."""
        _, proposals, logits, _ = self._proposed(x)
        counts = torch.tensor([len(p) for p in proposals], device=x.device)
        return softmax(logits, -1)[:, 1:], torch.repeat_interleave(torch.arange(len(x), device=x.device), counts)

    def _proposed(self, x: Tensor) -> tuple[Mapping[str, Tensor], list[Tensor], Tensor, Tensor]:
        """Return features, proposals per image, and logits and box offsets of all proposals, image by image."""
        network: Any = self.network
        heads = network.roi_heads
        images = self._prepared(x)
        features = network.backbone(images.tensors)
        proposals = [boxes.detach() for boxes in network.rpn(images, features)[0]]
        pooled = heads.box_roi_pool(features, proposals, images.image_sizes)
        logits, offsets = heads.box_predictor(heads.box_head(pooled))
        return features, proposals, logits, offsets

    def _prepared(self, x: Tensor) -> ImageList:
        height, width = x.shape[-2:]
        mean, std = (torch.tensor(v, device=x.device).view(3, 1, 1) for v in (self.scaling.mean, self.scaling.std))
        down, right = (math.ceil(side / STRIDE) * STRIDE - side for side in (height, width))
        padded = pad((x - mean) / std, (0, right, 0, down)).contiguous(memory_format=torch.channels_last)
        return ImageList(padded, [(height, width)] * len(x))

    def _candidates(
        self, logits: Tensor, offsets: Tensor, proposals: Tensor, counts: Tensor, shape: tuple[int, int]
    ) -> Detections:
        """Return every (box, part) of at least the least score, decoded and clipped."""
        scores = softmax(logits, -1)[:, 1:]
        rows, labels = torch.where(scores > self.options.min_score)
        image = torch.repeat_interleave(torch.arange(len(counts), device=counts.device), counts)[rows]
        chosen = offsets.view(len(offsets), -1, 4)[rows, labels + 1]
        coder: Any = self.network.roi_heads.box_coder  # type: ignore[union-attr]
        boxes = clip_boxes_to_image(coder.decode_single(chosen, proposals[rows]).view(-1, 4), shape)
        keep = remove_small_boxes(boxes, 1e-2)
        return Detections(image[keep], labels[keep], scores[rows, labels][keep], boxes[keep])

    def _best(self, found: Detections, images: int) -> Detections:
        """Return what is left per image after non-maximum suppression within each part: the best of it, in order."""
        # Every part has a place of its own, far from the others, in doubles, which keep all digits there.
        boxes = found.boxes.double()
        boxes += (found.labels * (boxes.max() + 1 if len(boxes) else 1))[:, None]
        per_image = torch.bincount(found.image, minlength=images).tolist()
        kept, first = [], 0
        # One call for all images would compare boxes of different ones, and take the square of their number longer.
        for near, scores in zip(boxes.split(per_image), found.scores.double().split(per_image)):
            kept.append(first + nms(near, scores, self.options.nms)[: self.options.detections])
            first += len(near)
        rows = torch.cat(kept)
        return Detections(found.image[rows], found.labels[rows], found.scores[rows], found.boxes[rows])

    def stage(self, name: str) -> Stage:
        """Return the place of a parameter by torchvision's names."""
        if not name.startswith("backbone.body."):
            return "heads"
        backbone: Any = self.network.backbone
        if isinstance(backbone, TimmPyramid):
            return backbone.stage(name.removeprefix("backbone.body."))  # type: ignore[return-value]
        stages: dict[str, Stage] = {"layer1": 2, "layer2": 3, "layer3": 4, "layer4": 5}
        return stages.get(name.split(".")[2], 1)

    def translate(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of a torchvision classifier (bare, or inside the host's) as those of the backbone.

        Of a detector the names that torchvision published weights under, and renamed since, become today's.
        """
        bare = {name.removeprefix("network."): tensor for name, tensor in tensors.items()}
        backbone: Any = self.network.backbone
        if isinstance(backbone, TimmPyramid) and (found := backbone.translate(bare)):
            return {f"backbone.body.{name}": tensor for name, tensor in found.items()}
        if any(name.startswith("layer1.") for name in bare):
            return {f"backbone.body.{name}": tensor for name, tensor in bare.items() if not name.startswith("fc.")}
        renamed = {}
        for name, tensor in tensors.items():
            name = re.sub(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$", r"\1.0.\2", name)
            name = re.sub(r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1", name)
            name = re.sub(r"^(roi_heads\.mask_head)\.mask_fcn(\d)\.", lambda m: f"{m[1]}.{int(m[2]) - 1}.0.", name)
            renamed[name] = tensor
        return renamed

    def classifier(self) -> nn.Module:
        """Return the classifier of timm that the backbone is cut from."""
        return classifier_of(self.options.network) if self.options.network.startswith(TIMM) else super().classifier()

    def depends_on_parts(self, name: str) -> bool:
        """Tell the last layers of the box and mask heads from the rest."""
        return name.startswith(("roi_heads.box_predictor.", "roi_heads.mask_predictor.mask_fcn_logits."))
