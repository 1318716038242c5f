"""Laws of the speed benchmark's reporters, on synthetic rows: no number here was measured."""

import json

import numpy as np
import pandas as pd
import pytest
from made_up import fill
from matplotlib.backends.backend_agg import FigureCanvasAgg

from bokehlib import study
from bokehlib.study import figures, results, speed, tables

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
                end = f"{direction},{ours:.6g},0.05,{ours / (factor * 0.1 * count**2):.6g}"
                lines.append(f"pisa,{size},{heads},{radius},{end}")
        lines.append(f"pisa-reference,{size},{heads},8,forward,{50 * count**2:.6g},9,")
        lines.append(f"pisa-published,{size},{heads},8,forward,{60 * count**2:.6g},12,")
        lines.append(f"visibility,{size},,8,forward,{0.2 * count:.6g},,")
    models = {"sdxl-1024x1024": 90, "sdxl-1024x1024-plain": 80, "sdxl-1536x1024": 1234}
    lines += [f"{name},,,,forward,{time},9.6,{time / 80:.6g}" for name, time in models.items()]
    training = "training-sdxl-512,,,,both,1234,20.5,"
    return [*lines, "sdxl-1024x1024/unet,,,,forward,33,,", training]


def synthetic_benchmark(root, lines=None, columns=tables.SPEED_COLUMNS):
    """Write a benchmark of these lines and read it."""
    path = root / "scores" / "speed-attention.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([",".join(columns), *(lines or synthetic_rows())]) + "\n")
    path.with_suffix(".json").write_text(json.dumps(DEVICE))
    return results.read_speed(root)


def table(root, benchmark=tables.NO_SPEED):
    scores = results.read_scores(root=root)
    return tables.build("speed", scores, results.published("tableS1"), benchmark)


def written(root, lines=None):
    """The table's files by suffix, made from a synthetic benchmark and made-up scores."""
    fill(root)
    rows, stamps = synthetic_benchmark(root, lines)
    results.write_table(table(root, rows), "speed", root, tables.measured_on(stamps))
    return {path.suffix: path.read_text() for path in (root / "tables").iterdir()}


# --- The benchmark's file --------------------------------------------------------------------


def test_an_absent_benchmark_has_the_columns_and_no_rows(tmp_path):
    rows, stamps = results.read_speed(tmp_path)
    assert list(rows.columns) == tables.SPEED_COLUMNS
    assert (len(rows), stamps) == (0, {})


def test_parts_measured_apart_stand_beside_each_other_and_name_their_devices(tmp_path):
    row = dict(
        zip(tables.SPEED_COLUMNS, ["pisa", "64x64", 10, 4, "forward", 1.0, None, None], strict=True)
    )
    whole = dict.fromkeys(tables.SPEED_COLUMNS) | {"what": "sdxl-1024x1024", "milliseconds": 60.0}
    results.write_speed("model", [whole], DEVICE | {"device": "Other GPU"}, tmp_path)
    results.write_speed("attention", [row], DEVICE, tmp_path)
    results.write_speed("attention", [row | {"milliseconds": 2.0}], DEVICE, tmp_path)
    rows, stamps = results.read_speed(tmp_path)
    assert rows["what"].tolist() == ["pisa", "sdxl-1024x1024"]
    assert rows["milliseconds"].tolist() == [2.0, 60.0]
    sentence = tables.measured_on(stamps)
    assert "Made-up GPU" in sentence
    assert "Other GPU" in sentence
    assert "(model)" in sentence
    assert "dB" not in sentence
    stamps["model"]["parameters"] = {"psnr_to_float32": 51.26}
    stamps["training"] = DEVICE | {"parameters": {"batch_size": 2, "waiting": 3.26}}
    assert "51.3 dB against float32" in tables.measured_on(stamps)
    assert "has 2 pairs, and waiting for them is 3.3 % of it." in tables.measured_on(stamps)


def test_a_combination_that_stands_there_twice_is_refused(tmp_path):
    with pytest.raises(ValueError, match="repeat pisa"):
        synthetic_benchmark(
            tmp_path, ["pisa,64x64,10,4,forward,1,,", "pisa,64x64,10,4,forward,2,,"]
        )


def test_a_benchmark_with_other_columns_is_refused(tmp_path):
    with pytest.raises(ValueError, match="seconds"):
        synthetic_benchmark(tmp_path, ["plain,1"], columns=["what", "seconds"])


def test_the_benchmark_is_not_taken_for_the_scores_of_a_method(tmp_path):
    synthetic_benchmark(tmp_path)
    assert results.read_scores(root=tmp_path).empty


# --- The table -------------------------------------------------------------------------------


def test_the_table_has_the_agreed_columns_and_one_row_a_combination(tmp_path):
    fill(tmp_path)
    rows, _ = synthetic_benchmark(tmp_path)
    for frame in (table(tmp_path), table(tmp_path, rows)):
        assert ",".join(frame.columns) == (
            "what,tokens,heads,radius,direction,milliseconds,peak_gib,ratio_to_plain"
        )
        assert not frame.duplicated(["what", "tokens", "heads", "radius", "direction"]).any()


def test_methods_of_one_run_stand_beside_each_other_by_size_and_device(tmp_path):
    fill(tmp_path)
    lines = [
        *("scatter-384x256-cpu,,,,forward,250,,", "scatter-1536x1024-cuda,,,,forward,40,,"),
        *("scatter-worst-384x256-cpu,,,,forward,900,,", "layered-384x256-cpu,,,,forward,750,,"),
    ]
    frame = table(tmp_path, synthetic_benchmark(tmp_path, lines)[0])
    shown = speed.parts(frame, results.published("tableS1"))["One picture by method"]
    header, _, *body = [[c.strip() for c in line.split("|")[1:-1]] for line in shown.splitlines()]
    cells = {cell[0]: dict(zip(header, cell, strict=True)) for cell in body}
    assert header[3:] == ["384x256, cpu", "1536x1024, cuda"]
    assert cells["Scatter"]["384x256, cpu"] == "0.250"
    assert cells["Scatter"]["1536x1024, cuda"] == "0.040"
    assert cells["Scatter in layers"]["384x256, cpu"] == "0.750"
    assert cells["Scatter in layers"]["1536x1024, cuda"] == ""


def test_the_benchmarks_rows_come_first_and_the_methods_medians_last(tmp_path):
    fill(tmp_path)
    rows, _ = synthetic_benchmark(tmp_path)
    frame = table(tmp_path, rows)
    pd.testing.assert_frame_equal(frame.head(len(rows)), rows)
    methods = frame.tail(len(study.EMBEDDED)).set_index("what")["milliseconds"]
    assert methods.to_dict() == dict.fromkeys(study.EMBEDDED, 500.0)


def test_a_planned_row_reads_not_run_until_it_is_measured(tmp_path):
    rows, _ = synthetic_benchmark(tmp_path)
    missing = [
        frame[frame["milliseconds"].isna()] for frame in (table(tmp_path), table(tmp_path, rows))
    ]
    assert list(missing[0]["what"]) == list(tables.SPEED_PLANNED)
    assert list(missing[1]["what"]) == ["pisa-novis", "sdxl-1024x1024-published"]


def test_heads_and_radii_print_as_integers(tmp_path):
    files = written(
        tmp_path, ["pisa,64x64,10,4,forward,0.118,0.05,1.03", "plain,64x64,10,,both,1,,1"]
    )
    assert "\npisa,64x64,10,4,forward,0.118,0.05,1.03\n" in files[".csv"]
    assert "| 10      | 4        | forward" in files[".md"]
    assert "pisa & 64x64 & 10 & 4 & forward & 0.118 & 0.050 & 1.030" in files[".tex"]


def test_the_caption_names_the_benchmarks_device_and_versions(tmp_path):
    files = written(tmp_path)
    for suffix in (".md", ".tex"):
        assert "measured on Made-up GPU with torch 9.8, triton 7.6 (attention)." in files[suffix]
        assert "device of its scores" in files[suffix]
    assert "measured on" not in tables.measured_on({})


def test_the_table_written_twice_has_the_same_bytes(tmp_path):
    assert written(tmp_path / "one") == written(tmp_path / "two")


# --- Its parts -------------------------------------------------------------------------------


def parts(root, benchmark):
    return speed.parts(table(root, benchmark), results.published("tableS1"))


def cells(text, *first):
    """Cells of the line that begins with these, by heading."""
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    (line,) = [line for line in lines if tuple(line[: len(first)]) == first]
    return dict(zip(lines[0], line, strict=True))


def test_each_part_shows_its_numbers_by_size_by_stage_and_by_method(tmp_path):
    fill(tmp_path)
    rows, _ = synthetic_benchmark(tmp_path)
    forward, both, visibility, model, training, methods = parts(tmp_path, rows).values()
    assert cells(training, "training-sdxl-512") == {
        "what": "training-sdxl-512",
        "milliseconds": "1234",
        "peak GiB": "20.5",
    }
    assert cells(forward, "pisa", "8")["64x64, 10 heads"] == "0.180 (1.80)"
    assert cells(both, "pisa", "8")["64x64, 10 heads"] == "0.540 (1.80)"
    assert cells(visibility, "visibility", "8")["64x64"] == "0.200"
    assert cells(model, "sdxl-1024x1024") == {
        **{"what": "sdxl-1024x1024", "whole": "90.0", "unet": "33.0"},
        **{"peak GiB": "9.60", "ratio to plain": "1.12"},
    }
    assert list(cells(methods, "Scatter").values()) == ["Scatter", "–", "0.500"]
    assert list(cells(methods, "Dr.Bokeh").values()) == ["Dr.Bokeh", "99.670", "not run"]
    assert list(cells(methods, "BokehDiff").values()) == ["BokehDiff", "3.974", "1.234"]


def test_parts_that_were_not_measured_say_so_and_the_papers_seconds_stay(tmp_path):
    *measured, methods = parts(tmp_path, tables.NO_SPEED).values()
    assert measured == ["not run"] * 5
    assert list(cells(methods, "BokehDiff").values()) == ["BokehDiff", "3.974", "not run"]


# --- The figure ------------------------------------------------------------------------------


def curves(axes):
    """Points of the lines of a panel by label; guides have none."""
    return {
        line.get_label(): list(zip(*line.get_data(), strict=True))
        for line in axes.lines
        if not line.get_label().startswith("_")
    }


def test_the_figure_drawn_twice_has_the_same_bytes(tmp_path):
    rows, _ = synthetic_benchmark(tmp_path)
    drawn = [
        results.write_figure(figures.pisa_scaling(rows), name, tmp_path).read_bytes()
        for name in ("one", "two")
    ]
    assert drawn[0] == drawn[1]


def test_each_line_passes_through_its_rows_and_other_heads_do_not_count(tmp_path):
    others = [row for row in synthetic_rows(("16x16", "32x32"), 20) if ",20," in row]
    rows, _ = synthetic_benchmark(tmp_path, synthetic_rows() + others)
    figure = figures.pisa_scaling(rows)
    forward, both = map(curves, figure.axes)
    assert set(forward) == {label for label, *_ in figures.COSTS.values()}
    assert forward["PISA, radius 8"] == [
        (1024, 0.045), (4096, 0.18), (6144, 0.27), (16384, 0.72),
    ]  # fmt: skip
    assert both["plain attention"][1] == (4096, 0.3)
    assert both["published layer"] == []
    assert "10 heads" in figure.get_supxlabel()


def test_the_guides_have_the_slopes_that_they_name(tmp_path):
    rows, _ = synthetic_benchmark(tmp_path)
    for axes in figures.pisa_scaling(rows).axes:
        guides = [line for line in axes.lines if line.get_label().startswith("_")]
        ends = [np.diff(np.log(line.get_data())).ravel() for line in guides]
        assert [round(y / x, 6) for x, y in ends] == [1, 2]
        assert [text.get_text() for text in axes.texts] == ["∝ N", "∝ N²"]


def test_the_guides_end_apart_even_where_all_sizes_take_as_long(tmp_path):
    rows, _ = synthetic_benchmark(tmp_path)
    for axes in figures.pisa_scaling(rows.assign(milliseconds=1.0)).axes:
        low, high = (text.xy[1] for text in axes.texts)
        assert high > 3 * low


@pytest.mark.parametrize("sizes", [SIZES, SIZES[1:3], SIZES[:1], ("32x32", "1024x1024")])
def test_no_text_of_the_figure_overlaps_another_or_leaves_the_page(tmp_path, sizes):
    rows, _ = synthetic_benchmark(tmp_path, synthetic_rows(sizes))
    figure = figures.pisa_scaling(rows, "Made-up GPU")
    FigureCanvasAgg(figure).draw()
    boxes = [figure.legends[0].get_window_extent(), figure._supxlabel.get_window_extent()]
    for axes in figure.axes:
        low, high = axes.get_xlim()
        ticks = [t for t, x in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)
                 if low <= x <= high]  # fmt: skip
        shown = [*axes.texts, *ticks, axes._left_title]
        boxes += [text.get_window_extent() for text in shown] + [axes.get_window_extent()]
    for number, box in enumerate(boxes):
        assert figure.bbox.fully_containsx(box.x0)
        assert figure.bbox.fully_containsx(box.x1)
        assert not box.count_overlaps(boxes[:number])


def test_a_direction_that_was_not_timed_says_so(tmp_path):
    rows, _ = synthetic_benchmark(tmp_path)
    forward, both = figures.pisa_scaling(rows[rows["direction"] == "forward"]).axes
    assert "not run" in [text.get_text() for text in both.texts]
    assert "not run" not in [text.get_text() for text in forward.texts]


def test_without_a_benchmark_the_figure_is_said_to_be_absent(tmp_path):
    figure = figures.pisa_scaling(results.read_speed(tmp_path)[0])
    assert figure.texts[0].get_text().startswith("not run")
