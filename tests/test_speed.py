"""Laws of the benchmark's files, table and figure, on synthetic rows: no number was measured."""

import json

import pandas as pd
import pytest
from cells import execute
from made_up import fill

from bokehlib import study
from bokehlib.study import results, speed

SIZES = ("32x32", "64x64", "64x96", "128x128")
DEVICE = {"device": "Made-up GPU", "versions": {"python": "3.11", "torch": "9.8", "triton": "7.6"}}


def synthetic_rows(sizes=SIZES, heads=10):
    """Lines of a benchmark file: plain attention grows as N², ours as N."""
    lines = []
    for size in sizes:
        height, width = map(int, size.split("x"))
        count = height * width / 4096
        for direction, factor in {"forward": 1, "both": 3}.items():
            end = f"{direction},{factor * 0.1 * count**2:.6g},0.03,1"
            lines.append(f"plain,{size},{heads},,{end}")
            for radius in (2, 4, 8, 16):
                ours = factor * count * (0.1 + radius / 100)
                lines.append(f"pisa,{size},{heads},{radius},{direction},{ours:.6g},0.05,1.8")
        lines.append(f"pisa-reference,{size},{heads},8,forward,{50 * count**2:.6g},9,")
        lines.append(f"visibility,{size},,8,forward,{0.2 * count:.6g},,")
    models = {"sdxl-1024x1024": 90, "sdxl-1024x1024-plain": 80, "sdxl-1536x1024": 1234}
    lines += [f"{name},,,,forward,{time},9.6,{time / 80:.6g}" for name, time in models.items()]
    methods = ["scatter-384x256-cpu,,,,forward,250,,", "sdxl-1024x1024/unet,,,,forward,33,,"]
    return [*lines, *methods, "training-sdxl-512,,,,both,1234,20.5,"]


def synthetic_benchmark(root, lines=None, columns=speed.COLUMNS):
    """Write a benchmark of these lines and read it."""
    path = root / "scores" / "speed-attention.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([",".join(columns), *(lines or synthetic_rows())]) + "\n")
    path.with_suffix(".json").write_text(json.dumps(DEVICE))
    return speed.read(root)


def test_parts_measured_apart_are_read_together_and_name_their_devices(tmp_path):
    assert list(speed.read(tmp_path)[0].columns) == speed.COLUMNS
    row = dict(
        zip(speed.COLUMNS, ["pisa", "64x64", 10, 4, "forward", 1.0, None, None], strict=True)
    )
    whole = dict.fromkeys(speed.COLUMNS) | {"what": "sdxl-1024x1024", "milliseconds": 60.0}
    speed.write("model", [whole], DEVICE | {"device": "Other GPU"}, tmp_path)
    speed.write("attention", [row], DEVICE, tmp_path)
    speed.write("attention", [row | {"milliseconds": 2.0}], DEVICE, tmp_path)
    rows, made_by = speed.read(tmp_path)
    assert rows["what"].tolist() == ["pisa", "sdxl-1024x1024"]
    assert rows["milliseconds"].tolist() == [2.0, 60.0]
    assert [made["device"] for made in made_by.values()] == ["Made-up GPU", "Other GPU"]
    assert results.read_scores(root=tmp_path).empty  # the benchmark is no method


def test_a_repeated_combination_and_other_columns_are_refused(tmp_path):
    twice = ["pisa,64x64,10,4,forward,1,,", "pisa,64x64,10,4,forward,2,,"]
    with pytest.raises(ValueError, match="repeat pisa"):
        synthetic_benchmark(tmp_path, twice)
    with pytest.raises(ValueError, match="seconds"):
        synthetic_benchmark(tmp_path, ["plain,1"], columns=["what", "seconds"])


def test_the_notebook_lists_the_benchmark_what_it_lacks_and_the_methods_medians(tmp_path):
    fill(tmp_path)
    rows, _ = synthetic_benchmark(tmp_path)
    asked = {"psnr_to_float32": 51.26, "batch_size": 2, "waiting": 3.26}
    (tmp_path / "scores/speed-attention.json").write_text(
        json.dumps(DEVICE | {"parameters": asked})
    )
    found = execute("44_speed", tmp_path)
    frame = found["table"]
    assert ",".join(frame.columns) == (
        "what,tokens,heads,radius,direction,milliseconds,peak_gib,ratio_to_plain"
    )
    assert not frame.duplicated(speed.KEY).any()
    pd.testing.assert_frame_equal(frame.head(len(rows)), rows)
    absent = frame.loc[frame["milliseconds"].isna(), "what"]
    assert {*absent} == {"pisa-novis", "pisa-published", "sdxl-1024x1024-published"}
    methods = frame.tail(len(study.EMBEDDED)).set_index("what")["milliseconds"]
    assert methods.to_dict() == dict.fromkeys(study.EMBEDDED, 500.0)
    assert found["listed"]["Scatter"]["384x256-cpu"] == 0.25
    assert found["listed"]["BokehDiff"]["ours"] == 1.234
    written = [(tmp_path / f"tables/speed.{end}").read_text() for end in ("csv", "md")]
    assert "\npisa,64x64,10,4,forward,0.14,0.05,1.8\n" in written[0]
    assert "measured on Made-up GPU with torch 9.8, triton 7.6 (attention);" in written[1]
    assert "51.3 dB against float32; a training step has 2 pairs" in written[1]


def test_each_line_of_the_figure_passes_through_its_rows_and_other_heads_do_not_count(tmp_path):
    others = [row for row in synthetic_rows(("16x16", "32x32"), 20) if ",20," in row]
    synthetic_benchmark(tmp_path, synthetic_rows() + others)
    forward, both = execute("44_speed", tmp_path)["figure"].axes
    lines = {line.get_label(): [*map(tuple, line.get_xydata())] for line in forward.lines}
    assert lines["PISA, radius 8"] == [(1024, 0.045), (4096, 0.18), (6144, 0.27), (16384, 0.72)]
    plain = next(line for line in both.lines if line.get_label() == "plain attention")
    assert tuple(plain.get_xydata()[1]) == (4096, 0.3)


def test_without_a_benchmark_the_figure_is_said_to_be_absent(tmp_path):
    figure = execute("44_speed", tmp_path)["figure"]
    assert figure.texts[0].get_text().startswith("not run")
