"""Executed notebooks as web pages that need no network: the exporter of `make html`.

nbconvert's own pages load MathJax, require.js, mermaid and widgets from the network. Here formulas
become MathML, which browsers draw themselves, and all scripts are left out.
"""

import re
from copy import deepcopy
from typing import Any

from latex2mathml.converter import convert
from nbconvert import HTMLExporter

CODE, BLOCK = r"(?P<code>```.*?```|`[^`\n]+`)", r"\$\$(?P<block>.+?)\$\$"
FORMULA = re.compile(CODE + "|" + BLOCK + r"|\$(?P<inline>[^$\n]+(?:\n[^$\n]+)?)\$", re.DOTALL)
NOTEBOOKS = "../../../notebooks/"  # from results/runs/html


def with_mathml(markdown: str) -> str:
    """Markdown with its TeX formulas as MathML; code stays as it is."""

    def mathml(found: re.Match) -> str:
        if found["code"]:
            return found["code"]
        made = convert(found["block"] or found["inline"], "block" if found["block"] else "inline")
        return made.replace("*", "&#42;").replace("_", "&#95;")  # no emphasis of Markdown's

    return FORMULA.sub(mathml, markdown)


class Page(HTMLExporter):
    """A page without scripts, whose relative links lead into the repository."""

    def from_notebook_node(
        self, nb: Any, resources: Any = None, **more: Any
    ) -> tuple[Any, dict[str, Any]]:
        """Convert a notebook; see nbconvert."""
        nb = deepcopy(nb)
        for cell in (cell for cell in nb.cells if cell.cell_type == "markdown"):
            cell.source = with_mathml(re.sub(r"\]\((?!\w+:|#)", f"]({NOTEBOOKS}", cell.source))
        page, resources = super().from_notebook_node(nb, resources, **more)
        return re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL), resources
