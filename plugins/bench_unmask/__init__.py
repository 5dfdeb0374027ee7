"""UnMask: robust feature alignment (Freitas et al. 2021), its data sets with parts, and the way to its data."""

from __future__ import annotations

from benchmark.hookspecs import Register, hookimpl


@hookimpl
def register_converters(register: Register) -> None:
    """Register `pascal-part` and `unmask-classes`."""
    register(
        "pascal-part",
        "bench_unmask.converters:PascalPart",
        options="bench_unmask.options:PascalPartOptions",
        version="1",
        summary="PASCAL-Part and VOC 2010 to COCO files of part masks, for the part extractor",
    )
    register(
        "unmask-classes",
        "bench_unmask.converters:UnMaskClassFolders",
        options="bench_unmask.options:UnMaskClassFoldersOptions",
        version="1",
        summary="VOC 2010, ImageNet and Flickr folders to the UnMask paper's class sets",
    )


@hookimpl
def register_datasets(register: Register) -> None:
    """Register `partshapes`, `coco_parts`, `unmask` and `unmask_parts`."""
    register(
        "partshapes",
        "bench_unmask.partshapes:PartShapes",
        options="bench_unmask.options:PartShapesOptions",
        version="1",
        summary="six objects composed of parts with exact masks, drawn by the program: a stand-in for photos",
    )
    register(
        "coco_parts",
        "bench_unmask.coco_parts:CocoParts",
        options="bench_unmask.options:CocoPartsOptions",
        version="1",
        summary="photos with part annotations in COCO form and a class per image",
    )
    register(
        "unmask",
        "bench_unmask.unmask_layout:UnMaskClasses",
        options="bench_unmask.options:UnMaskOptions",
        version="1",
        summary="the UnMask paper's images of a class set, in the layout of its released data",
    )
    register(
        "unmask_parts",
        "bench_unmask.unmask_layout:UnMaskParts",
        options="bench_unmask.options:UnMaskPartsOptions",
        version="1",
        summary="the UnMask paper's part data (PASCAL-Part in COCO form), in the layout of its released data",
    )
