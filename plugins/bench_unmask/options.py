"""Options of the defense `unmask`; imports no torch, so that suites are validated fast."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from bench_unmask.extractor.options import PartExtractorOptions
from benchmark import InputFile, Options, SuiteLabel, near_match

TABLE_SUFFIXES = (".yaml", ".yml", ".csv")


class UnMaskDefenseOptions(Options):
    """Options of the defense `unmask`."""

    extractor: PartExtractorOptions = PartExtractorOptions()
    """The part extractor K and its training."""

    parts_from: Annotated[str | None, SuiteLabel()] = None
    """Label of the suite's data set whose part annotations K learns from; null takes the cell's own data set. All cells
    that name the same one share one K."""

    class_parts: Annotated[str, InputFile()] = "paper"
    """The class-part matrix V: `paper` (its 16 classes), `learned` from part annotations, or the path of a table
    (.yaml: `class: [part, ...]`; .csv: a column of 0 and 1 per part), relative to the current folder."""

    share: float = Field(0.5, gt=0, le=1)
    """With `class_parts: learned`: a class has the parts that are annotated in at least this share of its images."""

    part_score: float = Field(0.4, ge=0, le=1)
    """A part counts as found at this score or more; 0 takes every detection of K."""

    threshold: Literal["fpr"] | Annotated[float, Field(ge=0, le=1)] = "fpr"
    """Images are flagged whose score (1 - similarity of the parts found and those of the classifier's class) is at
    least this number in [0, 1]; `fpr` flags at most the suite's false-positive rate of clean validation images."""

    rectify: Literal["always", "when-flagged"] = "always"
    """Which images are classified by their parts: all (the paper's Table IV), or the flagged ones (Algorithm 1)."""

    unmatched: Literal["no-answer", "classifier"] = "no-answer"
    """The answer where no part found belongs to any class: none, which counts as wrong (as the paper's released code
    counts it), or the classifier's class."""

    @field_validator("class_parts")
    @classmethod
    def _a_name_or_a_table(cls, found: str) -> str:
        if found not in ("paper", "learned") and PurePath(found).suffix not in TABLE_SUFFIXES:
            raise PydanticCustomError(
                "class_parts",
                "class_parts is paper, learned or the path of a .yaml or .csv table, found {found}.{hint}",
                {"found": repr(found), "hint": near_match(found, ["paper", "learned"])},
            )
        return found
