"""Runs the code cells of a notebook in this process, which takes no kernel to start."""

import matplotlib
import nbformat

from bokehlib.study import results, runner

matplotlib.use("Agg")


def execute(notebook, root, **parameters):
    """The names that the cells leave; `root` is the folder of results."""
    names = {}
    for cell in nbformat.read(runner.NOTEBOOKS / f"{notebook}.ipynb", as_version=4).cells:
        if cell.cell_type == "code":
            lines = ["" if line.startswith("%") else line for line in cell.source.splitlines()]
            exec(compile("\n".join(lines), f"{notebook}, cell {cell.id}", "exec"), names)
            if "parameters" in cell.metadata.get("tags", []):
                names |= parameters | {"results": str(root)}
    return names


def leave(root, rows):
    """Write score rows of any data sets, methods and parts."""
    files = {}
    for row in rows:
        error = str(row["perturbation"])
        number = error.removeprefix("-").isdigit()
        part = "exact" if error == "0" else "perturbed" if number else "disturbed"
        files.setdefault((row["dataset"], row["method"], part), []).append(row)
    for what, made in files.items():
        results.write_scores(made, {}, *what, root)
