"""How results print: a title and blocks, as text and as HTML."""

from __future__ import annotations

from collections.abc import Sequence

from mixedmodels.output import html
from mixedmodels.output.layout import Block, block_text


class Printed:
    """A result that prints in a terminal and shows as HTML in a notebook."""

    def title(self) -> str:
        """One line above the tables."""
        raise NotImplementedError

    def blocks(self) -> Sequence[Block]:
        """Tables and sentences, in reading order."""
        raise NotImplementedError

    def __str__(self) -> str:
        return "\n\n".join([self.title(), *map(block_text, self.blocks())])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return html.page(self.title(), list(self.blocks()))
