"""Tables as data frames of numbers, nothing where nothing was measured, and as text.

A paper's number is in a column that ends in `_paper` and nowhere else.
"""

from bokehlib.study.tables.in_focus_table import NO_FOCUS, in_focus, pictures_in
from bokehlib.study.tables.latents_table import NO_LATENTS, latents, trained_how
from bokehlib.study.tables.measured import (
    MEANS,
    difference,
    differences,
    exact,
    means,
    methods,
    pairs,
    with_paper_columns,
)
from bokehlib.study.tables.origins_table import NO_ORIGINS, credited, origins
from bokehlib.study.tables.strands_table import NO_STRANDS, strands
from bokehlib.study.tables.text import CAPTIONS, WORDS, display, latex, markdown
