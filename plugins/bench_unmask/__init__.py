"""UnMask: robust feature alignment (Freitas et al. 2021), its data sets with parts, and the way to its data."""

from __future__ import annotations

from benchmark import Register, hookimpl

UNMASK = """@inproceedings{freitas2020unmask,
  title = {{UnMask}: Adversarial Detection and Defense Through Robust Feature Alignment},
  author = {Freitas, Scott and Chen, Shang-Tse and Wang, Zijie J. and Chau, Duen Horng},
  booktitle = {IEEE International Conference on Big Data},
  year = {2020}
}"""
PASCAL_PART = """@inproceedings{chen2014detect,
  title = {Detect What You Can: Detecting and Representing Objects using Holistic Models and Body Parts},
  author = {Chen, Xianjie and Mottaghi, Roozbeh and Liu, Xiaobai and Fidler, Sanja and Urtasun, Raquel
            and Yuille, Alan},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  year = {2014}
}"""


@hookimpl
def register_artifacts(register: Register) -> None:
    """Register the part extractor K."""
    register(
        "part-extractor",
        "bench_unmask.extractor.artifact:PartExtractor",
        options="bench_unmask.extractor.options:PartExtractorOptions",
        version="4",
        summary="a Mask R-CNN over the parts of objects (Freitas et al. 2021)",
        cite=UNMASK,
    )


@hookimpl
def register_defenses(register: Register) -> None:
    """Register `unmask`."""
    register(
        "unmask",
        "bench_unmask.unmask:UnMask",
        options="bench_unmask.options:UnMaskDefenseOptions",
        version="2",
        summary="flags and re-classifies images whose parts do not fit their class (Freitas et al. 2021)",
        cite=UNMASK,
    )


@hookimpl
def register_metrics(register: Register) -> None:
    """Register how often the parts found leave open which class they belong to, and what detection rests on."""
    for name, target, summary in (
        ("parts_tied", "PartsTied", "Share of images whose found parts fit several classes equally well (UnMask)."),
        ("parts_unmatched", "PartsUnmatched", "Share of images of which no found part belongs to any class (UnMask)."),
        ("parts_none", "PartsNone", "Share of images in which no part is found (UnMask)."),
    ):
        for prefix, kind, images in (("", "", "attacked images"), ("clean_", "Clean", "clean images")):
            register(
                prefix + name,
                f"bench_unmask.metrics:{kind}{target}",
                options="benchmark.options:Options",
                version="1",
                summary=summary.replace("images", images),
            )
    register(
        "detection_images",
        "bench_unmask.metrics:DetectionImages",
        options="benchmark.options:Options",
        version="1",
        summary="Number of successful adversarial images and their clean versions (UnMask, Table III).",
    )


@hookimpl
def register_converters(register: Register) -> None:
    """Register `pascal-part` and `unmask-classes`."""
    register(
        "pascal-part",
        "bench_unmask.prepare.converters:PascalPart",
        options="bench_unmask.prepare.options:PascalPartOptions",
        version="1",
        summary="PASCAL-Part and VOC 2010 to COCO files of part masks, for the part extractor",
    )
    register(
        "unmask-classes",
        "bench_unmask.prepare.converters:UnMaskClassFolders",
        options="bench_unmask.prepare.options:UnMaskClassFoldersOptions",
        version="1",
        summary="VOC 2010, ImageNet and Flickr folders to the UnMask paper's class sets",
    )


@hookimpl
def register_datasets(register: Register) -> None:
    """Register `coco_parts`, `unmask` and `unmask_parts`."""
    register(
        "coco_parts",
        "bench_unmask.datasets.coco_parts:CocoParts",
        options="bench_unmask.datasets.options:CocoPartsOptions",
        version="2",
        summary="photos with part annotations in COCO form and a class per image",
    )
    register(
        "unmask",
        "bench_unmask.datasets.released_layout:UnMaskClasses",
        options="bench_unmask.datasets.options:UnMaskOptions",
        version="2",
        summary="the UnMask paper's images of a class set, in the layout of its released data",
        cite=UNMASK,
    )
    register(
        "unmask_parts",
        "bench_unmask.datasets.released_layout:UnMaskParts",
        options="bench_unmask.datasets.options:UnMaskPartsOptions",
        version="2",
        summary="the UnMask paper's part data (PASCAL-Part in COCO form), in the layout of its released data",
        cite=UNMASK + "\n" + PASCAL_PART,
    )


@hookimpl
def register_panels(register: Register) -> None:
    """Register `unmask-parts`."""
    register(
        "unmask-parts",
        "bench_unmask.panel:PartsPanel",
        options="benchmark.options:Options",
        version="1",
        summary="parts expected and found on each image of the report, with boxes and Jaccard similarity",
    )
