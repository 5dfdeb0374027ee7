"""The checklist of a run: its items with their answers, tags, and all options of its attacks; as a page and a text."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from bench_report.checklist import pitfalls, severe, special
from bench_report.checklist.evidence import Answer, Evidence, Status, Topics
from bench_report.facts import RunFacts
from bench_report.markup import markdown
from bench_report.sentences.phrases import Sentence
from bench_report.table import as_text
from bench_report.values import Word
from benchmark import TAGS, AttackTraits, Tag, tags_of

if TYPE_CHECKING:
    from benchmark import Run

SAID: dict[Status, str] = {
    "done": "done",
    "not done": "not done",
    "unknown": "cannot be told from the run",
    "none": "does not apply",
}
PAPER = "Carlini et al. 2019, arXiv:1902.06705, section 4"
SOURCE = "https://arxiv.org/abs/1902.06705"
TITLE = "Evaluation checklist"
WARNING = (
    "The authors call these items neither necessary nor sufficient: a defense that does not work may satisfy them all. "
    "“Done” says that the run has such numbers, never that they are good."
)
SECTIONS: Mapping[str, Topics] = {
    "Common severe flaws": severe.TOPICS,
    "Common pitfalls": pitfalls.TOPICS,
    "Special cases": special.TOPICS,
}


@dataclass(frozen=True)
class Check:
    """An item of the checklist.

    Attributes:
        section: which of the paper's three lists it stands in.
        topic: what several items are about.
        text: what should be.
        facts: what answers it.
    """

    section: str
    topic: str
    text: str
    status: Status
    facts: Sentence


@dataclass(frozen=True)
class Tagged:
    """A component of the run with its tags; `where` is what kind of attacker a row of an attack has."""

    kind: Literal["attack", "defense"]
    label: str
    where: str
    why: str
    tags: tuple[Tag, ...]


@dataclass(frozen=True)
class Described:
    """An attack with all of its options, as they were, those with default values too."""

    label: str
    use: str
    needs: str
    options: str


class Checklist:
    """The checklist of a run."""

    def __init__(self, run: Run, facts: RunFacts) -> None:
        self.facts = facts
        self.evidence = Evidence(run, facts)
        self.anchor = facts.table.anchor
        self.name = as_text(facts.manifest.get("title")) or run.path.resolve().name

    @cached_property
    def checks(self) -> tuple[Check, ...]:
        """Return all items, in the order of the paper."""
        return tuple(
            Check(section, topic, text, *_answered(answer(self.evidence)))
            for section, topics in SECTIONS.items()
            for topic, items in topics.items()
            for text, answer in items.items()
        )

    def tagged(self) -> tuple[Tagged, ...]:
        """Return the attacks, by where their images were crafted, and the defenses, with their tags."""
        rows = []
        met = dict.fromkeys((p.attack, p.knowledge) for p in self.evidence.cells)
        attacks = list(self.evidence.attacks)
        for attack, knowledge in sorted(met, key=lambda one: attacks.index(one[0]) if one[0] in attacks else -1):
            needs = self.evidence.needs(attack)
            if needs:
                tags = tags_of(AttackTraits(needs, knowledge))  # type: ignore[arg-type]
                rows.append(Tagged("attack", attack, knowledge, f"needs {needs}", tags))
        for label in self.facts.axes.defenses:
            traits = self.facts.defense(label).traits
            if traits is not None:
                rows.append(Tagged("defense", label, "", traits.family, tags_of(traits)))
        return tuple(rows)

    def described(self) -> tuple[Described, ...]:
        """Return the attacks with all of their options."""
        return tuple(
            Described(
                label,
                as_text(known.get("use")),
                as_text(known.get("needs")),
                ", ".join(
                    f"{name} {_plain(value)}"
                    for name, value in self.evidence.options(label).items()
                    if value is not None
                ),
            )
            for label, known in self.evidence.attacks.items()
        )

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many items have each answer, in words."""
        given = [check.status for check in self.checks]
        return {said: given.count(status) for status, said in SAID.items()}

    def sections(self) -> list[tuple[str, list[Check]]]:
        """Return the three lists of the paper with their items."""
        return [(name, list(checks)) for name, checks in itertools.groupby(self.checks, lambda check: check.section)]

    def markdown(self) -> str:
        """Return the same as Markdown, for a paper's appendix or a pull request."""
        lines = [f"# {TITLE}: {markdown(self.name)}", "", f"By [{PAPER}]({SOURCE}). {WARNING}", ""]
        lines += [", ".join(f"{count} {said}" for said, count in self.counts.items()) + ".", ""]
        for section, checks in self.sections():
            lines += [f"## {section}", "", "| | Item | Answer | By |", "| --- | --- | --- | --- |"]
            topic = ""
            for check in checks:
                told = "".join(markdown(word.text) for word in check.facts)
                head = "" if check.topic == topic else check.topic
                lines.append(f"| {head} | {check.text} | {SAID[check.status]} | {told} |")
                topic = check.topic
            lines.append("")
        lines += ["## Tags", "", f"By {' and '.join(dict.fromkeys(tag.framework for tag in TAGS))}.", ""]
        lines += ["| | Label | | Tags |", "| --- | --- | --- | --- |"]
        for row in self.tagged():
            why = ", ".join(filter(None, (row.where, row.why)))
            tags = "; ".join(f"{tag.name} {tag.title}" for tag in row.tags)
            lines.append(f"| {row.kind} | {markdown(row.label)} | {markdown(why)} | {tags} |")
        lines += ["", "## Attacks", "", "| Label | Plugin | Needs | Options |", "| --- | --- | --- | --- |"]
        for attack in self.described():
            cells = map(markdown, (attack.label, attack.use, attack.needs, attack.options))
            lines.append("| " + " | ".join(cells) + " |")
        return "\n".join([*lines, ""])


def _answered(answer: Answer) -> tuple[Status, Sentence]:
    return answer[0], tuple(word if isinstance(word, Word) else Word(word) for word in answer[1])


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
