"""Laws of shared work: two processes leave the files and rows that one leaves."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pandas as pd
import pytest

from bokehlib import cli
from bokehlib.evaluation import aperture_search
from bokehlib.io import images, processes
from bokehlib.io.errors import InputError
from bokehlib.io.places import ROOT
from bokehlib.study import results

PHOTOS = ("a.png", "b.jpg", "c.png")
SCENES = 3


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of photos, one of their maps, and a data set of scenes."""
    rng = np.random.default_rng(0)
    for place in ("photos", "maps"):
        (tmp_path / place).mkdir()
    for name in PHOTOS:
        images.write_image(tmp_path / "photos" / name, rng.random((20, 30, 3)))
        map_ = rng.random((20, 30)).astype(np.float32)
        images.write_disparity(tmp_path / "maps" / f"{name[0]}.png", map_)
    for n in range(SCENES):
        scene = tmp_path / "set" / f"scene_{n}"
        scene.mkdir(parents=True)
        for file in ("image.png", "bokeh_0.png"):
            images.write_image(scene / file, rng.random((20, 30, 3)))
        images.write_disparity(scene / "disparity.png", rng.random((20, 30)).astype(np.float32))
        lens = {"target": "bokeh_0.png", "focus_disparity": 0.5, "aperture": 4.0}
        (scene / "lens.json").write_text(json.dumps({"lens": [lens]}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def render(out, **changes):
    words = {"--disparity": "maps", "--focus-disparity": "0.5", "--aperture": "3", "--out": out}
    words |= {"--method": "scatter"} | changes
    return ["render", "photos", *(word for pair in words.items() for word in pair)]


def test_two_processes_leave_the_files_and_rows_of_one(folder, capfd):
    dataset, rendered = f"folder:{folder}/set", render("one")
    assert cli.main(rendered) == 0
    capfd.readouterr()
    scored = ["score", "--method", "input", "--dataset", dataset, "--results", f"{folder}/one"]
    assert cli.main(scored) == 0
    (folder / "shared.py").write_text(
        "from bokehlib import cli\n"
        "from bokehlib.io import processes\n"
        "assert processes.processes() == 2\n"
        f"assert cli.main({render('two')}) == 0\n"
        f"assert cli.main({[word.replace('/one', '/two') for word in scored]}) == 0\n"
        "assert processes.state().num_processes == 2\n"  # or each has done everything
    )
    launched = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, *launched, "shared.py"],
        capture_output=True,
        text=True,
        env=environment,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    assert [line["image"] for line in lines] == [*PHOTOS]  # one process tells of all, in order
    made = {file.name: file.read_bytes() for file in (folder / "one").glob("*.png")}
    assert sorted(made) == ["a.png", "b.png", "c.png"]
    assert made == {file.name: file.read_bytes() for file in (folder / "two").glob("*.png")}
    one, two = (results.read_scores(root=folder / name) for name in ("one", "two"))
    assert len(one) == SCENES
    pd.testing.assert_frame_equal(one.drop(columns="seconds"), two.drop(columns="seconds"))
    asked = [results.read_provenance(dataset, "input", root=folder / n) for n in ("one", "two")]
    assert asked[0]["parameters"] == asked[1]["parameters"]


class Both:
    """Process 1 of 2, whose partner does what it does."""

    process_index = num_processes = 2

    @contextmanager
    def split_between_processes(self, items):
        yield items[1:]


def test_each_process_works_on_its_own_part_alone_and_a_complaint_reaches_all(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(processes, "state", Both)
    monkeypatch.setattr("accelerate.utils.gather_object", lambda made: [("first", ""), *made])
    worked = []
    assert processes.spread("abc", lambda x: worked.append(x) or x * 2) == ["first", "bb", "cc"]
    assert worked == ["b", "c"]
    assert not processes.is_main()
    assert processes.own_gpu() == "cuda:1"
    monkeypatch.setattr("accelerate.utils.gather_object", lambda made: [(None, "no"), *made])
    with pytest.raises(InputError, match=r"^no$"):
        processes.spread("abc", worked.append)


def test_the_search_for_an_aperture_measures_its_own_part_and_knows_all(monkeypatch):
    seen = []

    def spread(items, work, *_):
        seen.append([*items])
        return [work(item) for item in items]

    monkeypatch.setattr(aperture_search.processes, "spread", spread)
    curve = aperture_search._Curve(None, [], None)
    monkeypatch.setattr(curve, "_measured", lambda n, apertures: {(k, n): k * n for k in apertures})
    curve.measure(range(3), [1.0, 2.0])
    assert curve.mean(2.0, range(3)) == 2.0
    assert curve.mean(4.0, [2]) == 8.0
    assert [items for items in seen if items] == [[0, 1, 2], [2]]


# --- A folder of photos ----------------------------------------------------------------------


def test_a_photo_that_cannot_be_read_is_named_and_the_others_are_rendered(folder, capfd):
    (folder / "photos" / "b.jpg").write_bytes(b"no picture")
    assert cli.main(render("out")) == 2
    said = capfd.readouterr()
    assert [json.loads(line)["image"] for line in said.out.splitlines()] == ["a.png", "c.png"]
    assert said.err.count("\n") == 1
    assert "b.jpg" in said.err
    assert sorted(p.name for p in (folder / "out").iterdir()) == ["a.png", "c.png"]


def test_a_folder_is_rendered_as_each_photo_alone(folder, capfd):
    assert cli.main(render("out")) == 0
    alone = render("alone.png", **{"--disparity": "maps/b.png"})
    assert cli.main(["render", "photos/b.jpg", *alone[2:]]) == 0
    assert (folder / "alone.png").read_bytes() == (folder / "out" / "b.png").read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"--out": "photos"}, "--out: found photos, the folder of the photos; accepted: another"),
        ({"--out": "maps/a.png"}, "--out: found maps/a.png, a file; accepted: another folder"),
        ({"--disparity": "maps/a.png"}, "--disparity: found no folder for a.png in maps/a.png;"),
        ({"--disparity": "set"}, "--disparity: found 0 files for a.png in set; accepted: a folder"),
        ({"--save-disparity": "m.png"}, "--save-disparity: found with the folder photos; accepted"),
    ],
)
def test_bad_input_of_a_folder_is_one_line_and_nothing_is_written(folder, changes, message, capfd):
    before = sorted(folder.rglob("*"))
    assert cli.main(render("out", **changes)) == 2
    line = capfd.readouterr().err
    assert line.startswith(message)
    assert line.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_names_that_clash_and_folders_without_photos_are_refused(folder, capfd):
    images.write_image(folder / "photos" / "a.jpg", np.zeros((4, 4, 3)))
    assert cli.main(render("out")) == 2
    assert "found a.jpg and a.png in photos" in capfd.readouterr().err
    assert cli.main(["render", "set", *render("out")[2:]]) == 2
    assert "IMAGE: found no photo in set" in capfd.readouterr().err
    assert not (folder / "out").exists()


def test_a_method_that_lacks_something_is_not_scored(tmp_path, capsys):
    words = ["--method", "deeplens", "--dataset", "synbokeh-mini", "--results", str(tmp_path)]
    assert cli.main(["score", *words]) == 2
    assert "--method: found deeplens, not part of this version" in capsys.readouterr().err
