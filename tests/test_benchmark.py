"""The benchmark runs from end to end, and its clocks and rows are what they say."""

import time

import pytest
import torch

from bokehlib import cli
from bokehlib.extras import benchmark
from bokehlib.extras.benchmark import attention, renderers, timing, training
from bokehlib.optics import circle_of_confusion, token_radius
from bokehlib.study import speed, tables

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="takes the CPU's clocks")


def test_a_clock_takes_the_median_of_single_calls():
    pauses = iter([0, 0, 0, *[0.002] * 14, 0.2])
    assert 2 <= timing.milliseconds(lambda: time.sleep(next(pauses))) < 20


def test_a_captured_work_is_done_as_often_as_asked():
    done = []
    timing.captured(lambda: done.append(0), times=5)()
    assert len(done) == 5


@pytest.mark.parametrize("photo", [False, True])
def test_the_largest_radius_of_a_problem_is_the_one_asked_for(photo):
    layer = attention.problem((6, 8), 2, 3, photo, "cpu")
    radius = token_radius(layer.disparity, layer.lens, layer.grid)
    assert float(radius.amax()) == pytest.approx(3, abs=1e-4)
    assert bool(radius.amin() < 1) == photo
    assert layer.q.shape == (1, 2, 48, 64)
    assert layer.q.dtype == torch.bfloat16


def test_a_smoke_run_leaves_rows_that_the_reporters_read(tmp_path, capsys):
    assert cli.main(["benchmark", "--smoke", "--out", str(tmp_path), "--parts", "attention"]) == 0
    rows, stamps = speed.read(tmp_path)
    expected = {"plain", "pisa", "pisa-novis", "pisa-photo", "pisa-eager", "pisa-reference"}
    assert {*rows["what"]} >= expected | {"pisa-published", "visibility", "visibility-thin_lens"}
    pisa = rows[rows["what"] == "pisa"]
    assert {*pisa["direction"]} == {"forward", "both"}
    assert pisa["ratio_to_plain"].notna().all()
    assert (rows["milliseconds"] > 0).all()
    assert stamps["attention"]["device"] == "cpu"
    assert stamps["attention"]["parameters"] == {"smoke": True, "channels": 64}
    assert "plain" in tables.markdown(rows, "speed")
    assert "plain" in capsys.readouterr().out


def test_a_training_step_is_timed_without_its_first_steps_and_its_waiting_is_told(tmp_path):
    assert cli.main(["benchmark", "--smoke", "--out", str(tmp_path), "--parts", "training"]) == 0
    rows, stamps = speed.read(tmp_path)
    (row,) = rows.to_dict("records")
    assert (row["what"], row["direction"]) == ("training-sdxl-64", "both")
    assert row["milliseconds"] > 0
    parameters = stamps["training"]["parameters"]
    assert parameters["batch_size"] == 2
    assert 0 < parameters["waiting"] < 100


def test_waiting_is_the_share_of_a_step_that_goes_into_pairs():
    clock = training.Clock(lambda step: time.sleep(0.02), warm_up=1)
    for step in range(4):
        clock(step)
        time.sleep(0.06)
    clock.stop()
    assert 80 <= clock.milliseconds < 160
    assert 0.1 < clock.waiting < 0.35


def test_a_photograph_is_the_same_picture_at_every_size_and_its_mean_radius_is_the_one_asked_for():
    for width, mean in ((1536, 15), (384, 3.75)):
        _, disparity, lens = renderers.photo((width * 2 // 3, width), "cpu")
        radius = circle_of_confusion(disparity, lens)
        assert float(radius.mean()) == pytest.approx(mean, rel=1e-4)
        flat = renderers.worst(disparity, lens)
        assert 0 <= flat.unique().item() <= 1
        assert float(circle_of_confusion(flat, lens).mean()) == pytest.approx(float(radius.amax()))


def test_methods_are_timed_in_one_run_and_each_device_has_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr(renderers.methods, "ready", lambda: ["input", "scatter"])
    assert cli.main(["benchmark", "--smoke", "--out", str(tmp_path), "--parts", "methods"]) == 0
    rows, stamps = speed.read(tmp_path)
    assert rows["what"].tolist() == ["scatter-48x32-cpu", "scatter-worst-48x32-cpu"]
    assert (rows["milliseconds"] > 0).all()
    assert stamps["methods-cpu"]["parameters"]["mean_radius"]["48x32"] == pytest.approx(0.469)


def test_a_slow_picture_is_rendered_thrice_after_a_first_one_and_a_fast_one_more_often():
    calls = []

    def slow(pause):
        calls.append(pause)
        time.sleep(pause)

    assert renderers.median(lambda: slow(0.0)) < 50
    assert len(calls) == 1 + renderers.MOST
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(renderers, "SECONDS", 0.02)
        assert renderers.median(lambda: slow(0.03)) >= 30
    assert calls[1 + renderers.MOST :] == [0.03] * (1 + renderers.FEWEST)


def test_whole_models_are_compared_with_the_plain_one_and_stages_are_not():
    names = ("sdxl-1024x1024", "sdxl-1024x1024/unet", "sdxl-1024x1024-plain")
    rows = [
        {"what": what, "milliseconds": time, "ratio_to_plain": None}
        for what, time in zip(names, (90.0, 40.0, 60.0), strict=True)
    ]
    assert [row["ratio_to_plain"] for row in benchmark.compared(rows)] == [1.5, None, 1.0]
    assert benchmark.compared(rows[:2]) == rows[:2]


def test_an_unknown_part_is_refused(capsys):
    assert cli.main(["benchmark", "--parts", "everything"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "everything" in line
    assert "wide" in line
