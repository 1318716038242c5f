"""A sheet of ratings that nobody gave, made by a rule: `python -m bokehlib.user_study.demo`.

It shows what becomes of real sheets, and whatever is made of it says "demo". The rule: of each
scene, `METHODS` are ranked by their measured LPIPS; a rater's rating is 4.5 for the best and
`STEP` less for each rank, plus the rater's leniency and a slip for every rating, both normal
from one seed, rounded and kept on the scale.
"""

import csv
import io
from pathlib import Path

import numpy as np

from bokehlib.ratings import ASPECTS, COLUMNS, KEY, SCALE, Key
from bokehlib.study import results

STUDY = "demo"
METHODS = ("scatter", "bokehdiff-mini-paper", "bokehdiff-mini", "drbokeh")
SCENES, LENS = slice(0, 24, 4), 2  # of synbokeh-mini
RATERS = 12
CHECK_AT = 4  # screen of the attention check, which all pass
STEP, LENIENCY, SLIP = 0.7, 0.4, 0.8  # points
SEED = 0


def make(root: Path = results.RESULTS) -> tuple[Key, str]:
    """The demo's key and its sheet as CSV, from the scores under `root`."""
    scores = results.read_scores("synbokeh-mini", root=root)
    scores = scores[(scores["perturbation"] == "0") & (scores["blur"] == LENS)]
    table = scores.pivot(index="image", columns="method", values="lpips_alex")[[*METHODS]]
    ranks = table.iloc[SCENES].rank(axis=1) - 1
    codes = [f"{101 + n}" for n in range(len(METHODS))]
    cases = {scene: dict(zip(codes, METHODS, strict=True)) for scene in ranks.index}
    rng = np.random.default_rng(SEED)
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for rater in range(RATERS):
        writer.writerows(_rows(f"demo{rater + 1:02d}", rater, ranks.to_numpy(), [*cases], rng))
    return Key(STUDY, "Demo: nobody rated anything", "drawn", 1, cases), file.getvalue()


def _rows(name: str, rater: int, ranks: np.ndarray, scenes: list[str], rng: np.random.Generator):
    """The rows of one rater: every scene under one aspect, methods in the order of a square."""
    leniency = rng.normal(0, LENIENCY)
    aspects = rng.permutation(np.arange(len(scenes)) % len(ASPECTS))
    screen = 0
    for turn, scene in enumerate(rng.permutation(len(scenes))):
        for place in range(len(METHODS)):
            method = (place + turn + rater) % len(METHODS)
            opinion = 4.5 - STEP * ranks[scene, method] + leniency + rng.normal(0, SLIP)
            rating = int(np.clip(np.round(opinion), *SCALE))
            screen += 1
            if screen == CHECK_AT:
                yield _row(name, screen, scenes[scene], "check", "choose 4", place, 4)
                screen += 1
            aspect = [*ASPECTS][aspects[turn]]
            yield _row(name, screen, scenes[scene], aspect, str(101 + method), place, rating)


def _row(name: str, screen: int, scene: str, aspect: str, result: str, place: int, rating: int):
    return (STUDY, name, name, "", screen, scene, aspect, result, place + 1, rating, "", "", "")


def write(root: Path = results.RESULTS) -> list[Path]:
    """Write `ratings/demo` under a folder of results from the scores there."""
    key, sheet = make(root)
    folder = root / "ratings" / STUDY
    texts = {f"{STUDY}{KEY}": key.text(), "ratings-demo.csv": sheet}
    for name, text in texts.items():
        with results.replacing(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")
    return [folder / name for name in texts]


if __name__ == "__main__":
    print(*write(), sep="\n")
