"""Where the pages of a report are: file names that no label can bend, and links between them."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass

INDEX = "index.html"


def file_name(folder: str, words: tuple[str, ...], *identity: str) -> str:
    """Return `folder/readable-words-digest.html`.

    The words are there for people alone: only a-z, 0-9 and `-` are kept of them. The digest is of the whole identity,
    so that two labels which look alike do not share a page.
    """
    plain = unicodedata.normalize("NFKD", " ".join(words)).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:48].strip("-")
    digest = hashlib.blake2b(json.dumps(identity).encode(), digest_size=6).hexdigest()
    return f"{folder}/{slug}-{digest}.html" if slug else f"{folder}/{digest}.html"


def data_file(page: str) -> str:
    """Return the file with the data of a page's browser of images."""
    return f"samples/{page.rpartition('/')[2].removesuffix('.html')}.js"


def page_id(page: str) -> str:
    """Return the id that a page has where all pages stand in one file."""
    return "page-" + re.sub(r"[^a-z0-9]+", "-", page.removesuffix(".html"))


@dataclass(frozen=True)
class Links:
    """Links from one page to others.

    Args:
        page: where the links stand, such as `cells/x.html`.
        single: whether all pages stand in one file.
    """

    page: str
    single: bool = False

    @property
    def root(self) -> str:
        """What leads from this page to the folder of the report."""
        return "" if self.single else "../" * self.page.count("/")

    def id(self, page: str) -> str:
        """Return the id that a page has in its file: of several in one it has the page's name."""
        return page_id(page) if self.single else "page"

    def to(self, page: str, anchor: str = "") -> str:
        """Return the address of a page, or of an element on it."""
        if self.single:
            return f"#{anchor or page_id(page)}"
        where = "" if page == self.page else self.root + page
        return where + (f"#{anchor}" if anchor else "") or f"{self.root}{page}"

    def file(self, path: str) -> str:
        """Return the address of another file of the report."""
        return self.root + path
