"""What a suite file says, section by section: the types that check it, and of which its schema is made.

Labels are texts here, whatever they look like (`010`); whether there are such components is asked when the `Suite` is
read. What is wrong with the text of one piece hides nothing that is wrong with another: each is checked by itself.
"""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from benchmark.names import Knowledge, ProbeName
from benchmark.options import Explained, Options
from benchmark.selection import Substitute

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
LABEL_LENGTH = 300
USUAL_KNOWLEDGE: Knowledge = "gray-box"
"""That of grid entries which do not say."""

UNIQUE = Field(json_schema_extra={"uniqueItems": True})
Label = Annotated[str, WithJsonSchema({"type": ["string", "number", "boolean"], "format": "label"})]
"""A label of the suite; an editor reads the label 8 as a number."""
Labels = Literal["all"] | Label | Annotated[tuple[Label, ...], UNIQUE]
Network = Label | Substitute


class SomethingSaid(Options):
    """A mapping that is not empty."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    @model_validator(mode="after")
    def _says_something(self) -> SomethingSaid:
        if not self.model_fields_set:
            raise PydanticCustomError("empty", "found an empty mapping, something to say is needed")
        return self


@dataclass(frozen=True)
class Protocol(Explained):
    """How detectors are measured."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    false_positive_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Share of clean validation images that a detector's threshold may flag."""

    success: Literal["initially-correct", "any-wrong"] = "initially-correct"
    """Which attacks count as successful: the clean image was classified rightly and the attacked one wrongly, or the
    attacked one wrongly in any case."""

    repeats: Annotated[int, Field(ge=1)] = 5
    """Judgements of a randomised defense."""

    draws: Annotated[int, Field(ge=1)] = 10
    """Draws of a randomised defense over which an attacker who knows it averages in each pass (expectation over
    transformation, Athalye et al. 2018, arXiv:1707.07397)."""

    split: Literal["test", "val"] = "test"
    """Images that are attacked and judged. `val` is for choosing a hyperparameter, such as the epsilon of adversarial
    training; not for defenses with scores, whose thresholds are set on these images."""

    adversarial: Literal["exact", "8-bit"] = "exact"
    """Adversarial examples as the attack made them, or rounded to images of 8 bits, as a file or a camera would have
    them: towards the clean image, and judged anew. Of data of 8 bits only."""


def protocol_facts(protocol: Protocol) -> dict[str, Any]:
    """Return a protocol as plain data; `adversarial` where it is not the default, which runs of before do not name."""
    return {name: value for name, value in asdict(protocol).items() if (name, value) != ("adversarial", "exact")}


class Head(Options):
    """The part of a suite file that names no component."""

    suite: str = Field(pattern=NAME, max_length=100)
    """Name of the suite: letters, digits, `_`, `-` and `.`."""

    title: str = ""
    """What a report is called."""

    description: str = ""
    """What the suite shows, and its limits."""

    cite: str | tuple[str, ...] = ()
    """What the suite reproduces: a reference, or a list of them."""

    seeds: tuple[Annotated[int, Field(ge=0, le=2**32 - 1)], ...] = Field((0,), min_length=1)
    """Everything is run once per seed."""

    protocol: Protocol = Protocol()
    """How detectors are measured."""

    batch_size: int = Field(128, ge=1)
    """Images per batch while adversarial examples are crafted and judged; part of the answer's identity."""

    threads: int = Field(1, ge=1)
    """CPU threads per task."""

    gpu: bool = False
    """Meant for a GPU: on a machine without one, planning and running say so. It changes nothing else."""

    probes: tuple[ProbeName, ...] = ()
    """Checks to make of every attack, and for masked gradients of every defense: a value, its n, and pass, fail or not
    run."""

    separation: tuple[str, ...] = ()
    """Layers, such as `penultimate`, at which it is measured how far apart the classes of clean images lie."""

    only: tuple[str, ...] = ()
    """Filters of cells, such as `attack=pgd*,defense=none`: a cell is run if one of them fits. `--only` on the command
    line takes their place."""


class Axes(Options):
    """Labels of each section; one that is not named fits all."""

    datasets: Labels = "all"
    """all, a label, or a list of labels."""

    models: Labels = "all"
    """all, a label, or a list of labels."""

    attacks: Labels = "all"
    """all, a label, or a list of labels. Clean images are always part of the grid."""

    defenses: Labels = "all"
    """all, a label, or a list of labels."""


class Rule(Axes, SomethingSaid):
    """What of a grid entry is left out."""


class Entry(Axes):
    """An entry of the grid."""

    knowledge: Knowledge | Annotated[tuple[Knowledge, ...], Field(min_length=1), UNIQUE] = USUAL_KNOWLEDGE
    """What the attacker holds; a list makes an entry of each."""

    substitute: Network | Annotated[tuple[Network, ...], Field(min_length=1)] | None = None
    """What a black-box attacker trains: the label of a model, or a model and its defense; a list is attacked as one
    ensemble."""

    exclude: tuple[Rule, ...] = ()
    """Combinations to leave out."""


Grid = Annotated[tuple[Entry, ...], Field(min_length=1)]


def _number(value: Any) -> Any:
    try:
        number = float(value) if value != "" else None
    except (TypeError, ValueError):
        number = math.nan
    if number is not None and not math.isfinite(number):
        raise PydanticCustomError("number", "not a number such as 0.93")
    return number


class Published(Options):
    """A published number, or its place alone: a row of a suite's `reference`. "" stands for any, or for not said."""

    table: str = ""
    """Where it was published, such as `Table IV`; several such places with `;` between."""

    row: str = ""
    """What the paper calls the row of its table, such as `MNIST | FGSM` for two levels of headings."""

    column: str = ""
    """What the paper calls the column; without a row and a column it has no place in the table."""

    artifact: str = ""
    """The shared artifact, such as `extractor`, that it is a measure of, instead of a cell's."""

    dataset: str = ""
    """Label of the data set."""

    model: str = ""
    """Label of the model."""

    attack: str = ""
    """Label of the attack or of a group; `none` for clean images."""

    defense: str = ""
    """Label of the defense."""

    knowledge: Literal["", Knowledge] = ""
    """What the attacker holds."""

    metric: str
    """Name of the measure."""

    value: Annotated[float | None, BeforeValidator(_number)] = None
    """The number; None where it holds a place alone."""

    @property
    def tables(self) -> tuple[str, ...]:
        """The published tables that name it; ("",) for none."""
        return tuple(name.strip() for name in self.table.split(";"))

    @property
    def placed(self) -> bool:
        """Whether it says where in its table it stands."""
        return bool(self.row)

    @property
    def headings(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The levels of its row's and of its column's heading: `FGSM | ε = 0.1` has two."""
        return levels(self.row), levels(self.column)

    @property
    def is_of_a_cell(self) -> bool:
        """Whether it is about anything that is run: one with a place and no label is not."""
        return not self.placed or any((self.artifact, self.dataset, self.model, self.attack, self.defense))

    @field_validator("metric")
    @classmethod
    def _is_named(cls, metric: str) -> str:
        if not metric:
            raise PydanticCustomError("metric", "the name of a measure is needed")
        return metric

    @field_validator("table")
    @classmethod
    def _names_tables(cls, table: str) -> str:
        names = [name.strip() for name in table.split(";")]
        if not _is_a_line(table) or (len(names) > 1 and "" in names) or len(set(names)) < len(names):
            raise PydanticCustomError(
                "table",
                "say where the number was published, such as 'Table IV', or several such places with ';' between, at "
                "most {most} characters on one line",
                {"most": LABEL_LENGTH},
            )
        return table

    @field_validator("row", "column")
    @classmethod
    def _has_levels(cls, heading: str) -> str:
        if not _is_a_line(heading) or (heading and "" in levels(heading)):
            raise PydanticCustomError(
                "heading",
                "say what the paper calls it, such as 'FGSM', levels with '|' between, such as 'FGSM | ε = 0.1', at "
                "most {most} characters on one line",
                {"most": LABEL_LENGTH},
            )
        return heading

    @model_validator(mode="after")
    def _says_something(self) -> Published:
        if bool(self.row) != bool(self.column):
            empty = "column" if self.row else "row"
            raise PydanticCustomError("place", "give both `row` and `column`, or neither", {empty: ""})
        if self.value is None and not self.placed:
            raise PydanticCustomError("number", "a number such as 0.93 is needed", {"value": ""})
        return self


def _is_a_line(text: str) -> bool:
    return len(text) <= LABEL_LENGTH and text.isprintable()


def levels(heading: str) -> tuple[str, ...]:
    """Return the levels of a heading in a published table."""
    return tuple(level.strip() for level in heading.split("|"))


class StandIns(Options):
    """What stands here for what a published table has: its numbers are not shown beside."""

    datasets: dict[str, Label] = {}
    """What the table has → the data set here."""

    models: dict[str, Label] = {}
    """What the table has → the model here."""

    attacks: dict[str, Label] = {}
    """What the table has → the attack here."""

    defenses: dict[str, Label] = {}
    """What the table has → the defense here."""

    headings: dict[str, Annotated[str, Field(min_length=1)]] = {}
    """A level of the table's headings → what stands there here."""


class Reference(Options):
    """Published numbers to show beside the measured ones."""

    table: Annotated[str, Field(min_length=1)] | tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """CSV file, relative to the suite file, or a list of them; its columns are called as the keys of `rows`."""

    rows: tuple[Published, ...] = ()
    """Numbers."""

    stand_ins: StandIns = StandIns()
    """What stands here for what a table has."""


class Sections(Head):
    """What a suite file says, but for its profiles. Components are checked by their plugins' types."""

    datasets: dict[str, Any]
    models: dict[str, Any]
    attacks: dict[str, Any] = {}
    defenses: dict[str, Any]

    grid: Grid
    """What is run."""

    groups: dict[str, Labels] = {}
    """Attacks whose worst case per image is measured together."""

    reference: Reference = Reference()
    """Published numbers to show beside the measured ones."""


if TYPE_CHECKING:
    Override = SomethingSaid
else:
    Override = create_model(
        "Override",
        __base__=SomethingSaid,
        __doc__="What a profile changes: any part of a suite, null to drop it.",
        **{key: (Any, None) for key in Sections.model_fields if key != "suite"},
    )


def _is_a_name(text: str) -> str:
    if not re.fullmatch(NAME, text) or len(text) > 100:
        raise PydanticCustomError("name", "a name has letters, digits, '_', '-' and '.' only, at most 100 of them")
    return text


ProfileName = Annotated[str, AfterValidator(_is_a_name), WithJsonSchema({"type": "string", "pattern": NAME})]
Profiles = dict[ProfileName, Override]


class File(Sections):
    """A suite file."""

    profiles: Profiles = {}
    """Overrides by name, chosen by --profile; null drops a component or a key."""


HEAD_KEYS = tuple(Head.model_fields)
KEYS = tuple(File.model_fields)
