"""The converters of `bench data prepare` that lead to the UnMask paper's data (section IV-A)."""

from __future__ import annotations

from bench_unmask.prepare import options
from bench_unmask.prepare.class_folders import prepare_unmask_classes
from bench_unmask.prepare.pascal_part import prepare_pascal_part
from benchmark import Converter, Progress


class PascalPart(Converter):
    """PASCAL-Part's masks to COCO files with the paper's 44 parts."""

    Options = options.PascalPartOptions

    def convert(self, progress: Progress) -> str:
        """Return the counts beside the paper's Table II."""
        return prepare_pascal_part(**self.options.model_dump(), progress=progress).table()


class UnMaskClassFolders(Converter):
    """Photos by class to the folders of the paper's class sets."""

    Options = options.UnMaskClassFoldersOptions

    def convert(self, progress: Progress) -> str:
        """Return the counts beside the paper's Table II."""
        return prepare_unmask_classes(**self.options.model_dump(), progress=progress).table()
