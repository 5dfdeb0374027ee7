"""`unmask` and `unmask_parts`: the UnMask paper's data as its authors lay it out.

::

    <path>/<class set>/{train,val,test}/<class>/*          images for the classifier M
    <path>/VOC2010/{train,val,test}.json                   part masks for the extractor K, COCO form
    <path>/VOC2010/Images/{train,val,test}/*.jpg           their images

Freitas et al., IEEE Big Data 2021, section IV-A and Table II. The released data calls the class sets CS3a, CS3b, CS5a
and CS5b `cs3-1`, `cs3-2`, `cs5-1` and `cs5-2`; both names are found.
"""

from __future__ import annotations

from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import ClassVar

import numpy as np

from bench_unmask.class_parts import CLASS_SETS
from bench_unmask.datasets.coco_parts import AnnotatedPhotos, CocoSplit, content_of, photos_of, read_coco
from bench_unmask.datasets.options import UnMaskOptions, UnMaskPartsOptions
from bench_unmask.datasets.photos import Photos, PhotoSplit, digest_of, look_through, refuse_shared_images
from benchmark import SPLITS, Fit, InputError, MissingError, Mistakes, PassedOver, image_files

RELEASED_NAMES = {"CS3a": "cs3-1", "CS3b": "cs3-2", "CS5a": "cs5-1", "CS5b": "cs5-2"}

_RELATIVE = "Relative paths start at the current folder. The data set `partshapes` runs without any of this."

CLASSES_HELP = (
    "The images come from PASCAL VOC 2010 (http://host.robots.ox.ac.uk/pascal/VOC/voc2010/), ImageNet "
    "(https://image-net.org) and Flickr; the authors' own copy is linked from https://github.com/safreita1/unmask. "
    f"`bench data prepare unmask-classes` builds the folders from these sources. {_RELATIVE}"
)
PARTS_HELP = (
    "It needs the images of PASCAL VOC 2010 (http://host.robots.ox.ac.uk/pascal/VOC/voc2010/) and the part annotations "
    "of PASCAL-Part (https://roozbehm.info/pascal-parts/pascal-parts.html). `bench data prepare pascal-part` builds "
    f"the files from them. {_RELATIVE}"
)


class UnMaskClasses(Photos):
    """Images of a class set: shorter side resized to `size`, centre cropped, pixels in [0, 1] as they are."""

    Options: ClassVar = UnMaskOptions

    def check(self) -> None:
        """Look whether the class set's folders are there.

        Raises:
            MissingError: what is missing, where to get it, the command that prepares it.
        """
        root = self._root()
        missing = [str(root)] if not root.is_dir() else [str(root / s) for s in SPLITS if not (root / s).is_dir()]
        if missing:
            raise MissingError(
                f"unmask: the images of class set {self.options.class_set} are not there: no folder "
                f"{', '.join(str(Path(place).absolute()) for place in missing)}. {CLASSES_HELP}"
            )

    def fingerprint(self) -> str:
        """Return a digest of all image files, their names and classes, and the size.

        Raises:
            InputError: the data is unusable, or two classes have the same image, be it in different splits.
        """
        self.remarks()
        digest = sha256(f"crop {self.options.size}".encode())
        files: list[Path] = []
        labels: list[int] = []
        for split in SPLITS:
            loaded = self.load(split)
            digest.update(f"\n{split} {loaded.class_names}".encode())
            for path, name in zip(loaded.files, loaded.sample_ids(range(len(loaded)))):
                digest.update(f"\n{name} {digest_of(path)}".encode("utf-8", "surrogateescape"))
            files += loaded.files
            labels += loaded.labels.tolist()
        refuse_shared_images(files, labels, self._classes())
        return digest.hexdigest()

    def remarks(self) -> tuple[str, ...]:
        """Return which files of the class folders were passed over.

        Raises:
            InputError: images are unusable; one message tells all of them.
        """
        return self._remarks

    @cached_property
    def _remarks(self) -> tuple[str, ...]:
        assumed = look_through(self.load)
        passed_over = PassedOver()
        for split in SPLITS:
            for name in self._classes():
                image_files(self._root() / split / name, passed_over)
        return passed_over.remarks() + assumed

    def read(self, split: str) -> PhotoSplit:
        """Return the split `train`, `val` or `test`.

        Raises:
            MissingError: its folder is not there.
            InputError: a class has no images, an unknown folder stands beside the classes, two classes share an image.
        """
        self.check()
        folder, classes = self._root() / split, self._classes()
        found = {child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")}
        if extra := sorted(found - set(classes)):
            raise InputError(
                f"{folder}: the folder {extra[0]!r} is no class of {self.options.class_set} ({', '.join(classes)}). "
                "Remove it, or give the class set another name."
            )
        mistakes = Mistakes(str(folder))
        files: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            images = image_files(folder / name, PassedOver()) if (folder / name).is_dir() else []
            if not images:
                mistakes.add(
                    "class without images", f"no images of the class {name!r} in {folder / name}. {CLASSES_HELP}"
                )
            files += images
            labels += [label] * len(images)
        mistakes.raise_if_any()
        refuse_shared_images(files, labels, classes)
        names = [f"{path.parent.name}/{path.name}" for path in files]
        return PhotoSplit(files, names, np.array(labels), classes, Fit("crop", self.options.size))

    def _root(self) -> Path:
        path, name = Path(self.options.path).expanduser(), self.options.class_set
        released = path / RELEASED_NAMES.get(name, name)
        return released if released.is_dir() and not (path / name).is_dir() else path / name

    def _classes(self) -> tuple[str, ...]:
        name = self.options.class_set
        paper = {released: own for own, released in RELEASED_NAMES.items()}
        if (known := paper.get(name, name)) in CLASS_SETS:
            return CLASS_SETS[known]
        folder = self._root() / "train"
        classes = sorted(child.name for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
        if len(classes) < 2:
            raise InputError(f"{folder}: found {len(classes)} class folders, at least two are needed.")
        return tuple(classes)


class UnMaskParts(AnnotatedPhotos):
    """Part data for the extractor K: images of PASCAL VOC 2010 with masks of 44 parts.

    An image shows objects of several classes, so there is no class per image: all labels are 0. Images without any
    annotation are left out, as the paper's counts have it (7,457 / 930 / 936).
    """

    Options: ClassVar = UnMaskPartsOptions

    def check(self) -> None:
        """Look whether the annotation files and the image folders are there.

        Raises:
            MissingError: what is missing, where to get it, the command that prepares it.
        """
        missing = [self._file(split) for split in SPLITS if not self._file(split).is_file()]
        missing += [self._folder(split) for split in SPLITS if not self._folder(split).is_dir()]
        if missing:
            raise MissingError(
                f"unmask_parts: the part data is not there: no {', '.join(str(p.absolute()) for p in missing)}. "
                f"{PARTS_HELP}"
            )

    def fingerprint(self) -> str:
        """Return a digest of all annotation and image files, and the size.

        Raises:
            InputError: the data is unusable.
        """
        self.remarks()
        digest = sha256(f"pad {self.options.size}".encode())
        for split in SPLITS:
            loaded = self.load(split)
            digest.update(content_of(split, self._file(split), loaded))
        return digest.hexdigest()

    def read(self, split: str) -> CocoSplit:
        """Return the split `train`, `val` or `test`.

        Raises:
            MissingError: files are not there.
            InputError: the annotations are unusable; the message names the file and the id.
        """
        self.check()
        mistakes = Mistakes(str(self._file(split)))
        whole = read_coco(self._file(split), mistakes)
        annotated = whole.subset(index for index, image in enumerate(whole.images) if whole.has_parts(image))
        if not annotated.images:
            mistakes.raise_if_any()
            raise InputError(f"{whole.path}: no image has an annotation. {PARTS_HELP}")
        labels = np.zeros(len(annotated.images), dtype=np.int64)
        return photos_of(annotated, self._folder(split), labels, ("scene",), Fit("pad", self.options.size), mistakes)

    def _file(self, split: str) -> Path:
        return Path(self.options.path).expanduser() / "VOC2010" / f"{split}.json"

    def _folder(self, split: str) -> Path:
        return Path(self.options.path).expanduser() / "VOC2010" / "Images" / split
