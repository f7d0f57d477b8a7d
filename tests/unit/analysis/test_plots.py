import re
import shutil
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from continual_repmode.analysis.continual import publish, summarize
from continual_repmode.analysis.gating import GatingRow, load_gating
from continual_repmode.analysis.plots import (
    plot_extent_profile,
    plot_forgetting,
    plot_gate_distances,
    plot_gating,
    plot_gating_overview,
    plot_learning_curves,
    plot_result_matrix,
    plot_samples,
    plot_scale_preference,
    save_figure,
    save_figures,
)
from continual_repmode.analysis.preferences import earlier_tasks, gate_distances
from continual_repmode.errors import UserError
from continual_repmode.models import RepModeUNet, save_model
from continual_repmode.results import RunFolder


@pytest.fixture
def results(folder):
    return folder.read_results()


@pytest.fixture(scope="module")
def rows(folder):
    return load_gating(folder)[0]


def texts(figure: Figure) -> list[str]:
    """Return all visible text of a figure."""
    figure.draw_without_rendering()
    return [
        t.get_text() for t in figure.findobj(Text) if t.get_visible() and t.get_text()
    ]


def bold(figure: Figure) -> set[str]:
    figure.draw_without_rendering()
    found = [t for t in figure.findobj(Text) if t.get_fontweight() == "bold"]
    return {t.get_text() for t in found}


def test_the_result_matrix_writes_every_known_score_into_its_cell(results):
    axes = plot_result_matrix(results, "r2").axes[0]

    cells = {t.get_position(): t.get_text() for t in axes.texts}
    matrix = results["metrics"]["r2"]["result_matrix"]
    for y, scores in enumerate(matrix):
        for x, score in enumerate(scores):
            assert cells.get((x, y)) == (None if score is None else f"{score:.3f}")
    overall = results["metrics"]["r2"]["overall"]["over_images"][-1]
    assert f"{overall:.3f}" in cells.values()


def test_the_result_matrix_frames_the_tasks_of_each_experience(results):
    axes = plot_result_matrix(results, "mse").axes[0]

    frames = {(round(p.get_x()), round(p.get_y())) for p in axes.patches}
    assert frames == {(0, 0), (1, 0), (2, 0), (3, 1), (4, 2)}


def test_the_result_matrix_tells_an_undefined_score_from_an_unlearned_task(make_record):
    records = [
        make_record(0, ["a"], {"a": [0.9]}),
        make_record(1, ["b"], {"a": [None], "b": [0.4]}),
    ]

    axes = plot_result_matrix(summarize(records), "r2").axes[0]

    cells = {t.get_position(): t.get_text() for t in axes.texts}
    assert cells[0, 1] == "n/a"
    assert (1, 0) not in cells


def test_the_better_score_is_the_brighter_cell(make_record):
    summary = summarize(
        [make_record(0, ["good", "bad"], {"good": [0.9], "bad": [0.1]})]
    )
    for metric in ("mse", "r2"):
        (image, *_) = plot_result_matrix(summary, metric).axes[0].images
        good, bad = image.to_rgba(image.get_array())[0, :, :3].sum(axis=-1)
        assert good > bad, metric


def test_a_color_of_r2_means_the_same_in_every_run(make_record):
    for scores in ({"a": [0.3], "b": [0.31]}, {"a": [0.3], "b": [-0.4]}):
        summary = summarize([make_record(0, list(scores), scores)])
        for metric in ("r2", "pearson_r"):
            (image, *_) = plot_result_matrix(summary, metric).axes[0].images
            assert image.get_clim() == (0, 1)
    (image, *_) = plot_result_matrix(summary, "mse").axes[0].images
    assert image.get_clim() == pytest.approx((0.7, 1.4))


def test_learning_curves_mark_the_kept_epoch_and_skip_epochs_not_validated(folder):
    panels = plot_learning_curves(folder.records()).axes

    titles = [panel.get_title(loc="left") for panel in panels]
    assert titles == [
        "experience 1: 3 tasks",
        "experience 2: mitochondria",
        "experience 3: cell membrane",
    ]
    train, valid, kept = panels[0].lines
    assert list(train.get_ydata()) == [1.2, 0.8, 0.7]
    assert list(valid.get_xdata()) == [2, 3]
    assert (list(kept.get_xdata()), list(kept.get_ydata())) == ([2], [0.9])


def test_a_spike_does_not_flatten_a_learning_curve(folder):
    first, *_ = folder.records()
    losses = [30.0 if epoch == 20 else 1 / epoch for epoch in range(1, 61)]
    curve = [
        {"epoch": epoch, "train_loss": loss, "valid_mse": None}
        for epoch, loss in enumerate(losses, start=1)
    ]
    figure = plot_learning_curves([first, replace(first, curve=curve)])
    short, long = figure.axes
    assert (short.get_yscale(), long.get_yscale()) == ("linear", "log")
    raw, smooth, *_ = long.lines
    assert max(raw.get_ydata()) == 30
    assert max(smooth.get_ydata()) == 1
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert "the same, median of 4 epochs" in labels


def test_figures_are_written_as_pdf_and_svg_with_text_too(folder, tmp_path):
    path = tmp_path / "curves.png"
    assert (
        save_figure(plot_learning_curves(folder.records()), path, "pdf", "svg") == path
    )
    assert sorted(f.suffix for f in tmp_path.iterdir()) == [".pdf", ".png", ".svg"]
    assert "validation images" in path.with_suffix(".svg").read_text()
    assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_samples_show_middle_planes_on_one_scale_with_their_scores(folder):
    figure = plot_samples(folder, (0.6, 0.3, 0.3))

    written = texts(figure)
    assert written.count("target") == 5
    with np.load(folder.samples / "cell_membrane.npz") as sample:
        target = sample["target"].astype(np.float64)
        prediction = sample["prediction"].astype(np.float64)
    r2 = 1 - ((prediction - target) ** 2).sum() / ((target - target.mean()) ** 2).sum()
    r = np.corrcoef(prediction.ravel(), target.ravel())[0, 1]
    assert f"cell membrane   R² {r2:.2f}   r {r:.2f}" in written
    _, true, predicted, _, true_xz, predicted_xz = figure.axes[:6]
    (image,), (section,) = true.images, true_xz.images
    np.testing.assert_array_equal(image.get_array(), target[4])
    np.testing.assert_array_equal(section.get_array(), target[:, 12])
    for other in (predicted, true_xz, predicted_xz):
        assert other.images[0].get_clim() == image.get_clim()


def test_the_same_samples_make_the_same_picture(folder, tmp_path):
    """A solver of the layout moved parts by shares of a pixel."""
    samples = sorted(folder.samples.glob("*.npz"))
    folder = RunFolder(tmp_path)
    folder.samples.mkdir()
    for number in range(12):
        shutil.copy(samples[0], folder.samples / f"task_{number}.npz")
    pictures, kept = set(), []
    for number in range(4):  # with other addresses of everything
        kept.append([bytearray(number) for _ in range(1000 * number)])
        path = save_figure(plot_samples(folder, (0.6, 0.3, 0.3)), tmp_path / "a.png")
        pictures.add(path.read_bytes())
    assert len(pictures) == 1


def test_samples_have_a_round_scale_bar_only_if_the_voxel_size_is_known(folder):
    with_bar = plot_samples(folder, (0.6, 0.3, 0.3))

    assert texts(with_bar).count("2 µm") == 5
    (bar,) = with_bar.axes[0].lines
    start, end = bar.get_xdata()
    assert (end - start) * 0.3 == pytest.approx(2)
    assert with_bar.axes[3].get_aspect() == pytest.approx(2)
    assert not re.search("µm", " ".join(texts(plot_samples(folder))))


def test_missing_and_truncated_samples_are_named(folder, tmp_path):
    broken = RunFolder(tmp_path)
    with pytest.raises(UserError, match="no samples here"):
        plot_samples(broken)
    whole = (folder.samples / "dna.npz").read_bytes()
    broken.samples.mkdir()
    for num_bytes in (0, 2, 200):
        (broken.samples / "dna.npz").write_bytes(whole[:num_bytes])
        with pytest.raises(UserError, match=r"dna\.npz: not a sample of a run"):
            plot_samples(broken)


def test_forgetting_shows_each_task_from_learning_to_the_end(results):
    figure = plot_forgetting({"repmode": results, "naive": results}, "r2")

    assert len(figure.axes) == 2
    panel = figure.axes[0]
    assert panel.get_title(loc="left") == "repmode"
    ends = [
        list(line.get_xdata()) for line in panel.lines if line.get_marker() == "None"
    ]
    matrix = results["metrics"]["r2"]["result_matrix"]
    assert ends[0] == [scores[0] for scores in matrix]
    assert ends[-1] == [matrix[-1][-1]]


def test_gating_shows_the_weight_of_every_expert(rows):
    (panel,) = plot_gating(rows, ["decoder1.conv2"]).axes

    drawn = {
        float(x)
        for line in panel.lines
        if line.get_linestyle() == "None"
        for x in line.get_xdata()
    }
    wanted = {
        row.weight
        for row in rows
        if (row.block, row.task) == ("decoder1.conv2", "mitochondria")
    }
    assert wanted <= drawn


def test_gating_adds_up_the_experts_of_earlier_extensions(rows):
    figure = plot_gating(rows, ["output"])

    names = {"conv5", "avg3 + conv1", "own expert", "own experts of others"}
    assert names <= set(texts(figure))


def test_gating_chooses_the_block_in_which_tasks_differ_most():
    def pair(block: str, task: str, weight: float) -> list[GatingRow]:
        part = block.split(".")[0].rstrip("1")
        return [
            GatingRow(0, part, block, 1, task, "conv5", 5, weight, 0.0),
            GatingRow(0, part, block, 1, task, "conv1", 1, 1 - weight, 0.0),
        ]

    rows = [
        *pair("encoder1.conv1", "dna", 0.5),
        *pair("encoder1.conv1", "mine", 0.5),
        *pair("encoder1.conv2", "dna", 0.4),
        *pair("encoder1.conv2", "mine", 0.6),
        *pair("decoder1.conv1", "dna", 0.5),
        *pair("decoder1.conv1", "mine", 0.7),
    ]

    titles = [panel.get_title(loc="left") for panel in plot_gating(rows).axes]

    assert titles == ["block encoder1.conv2", "block decoder1.conv1"]


def test_gates_in_one_part_only_are_drawn(rows):
    for part in ("encoder", "decoder"):
        own = [row for row in rows if row.part == part]
        (panel,) = plot_gating(own).axes
        assert panel.get_title(loc="left").startswith(f"block {part}")
        assert part in texts(plot_scale_preference(own))
        plot_gating_overview(own)
        plot_extent_profile(own)


def test_distances_of_gates_in_one_part_are_drawn(net):
    tables = [t for t in net.gating_weights() if t.block.startswith("encoder")]

    figure = plot_gate_distances(gate_distances(tables, "mitochondria", ["dna"]))

    assert {"encoder", "all blocks"} <= set(texts(figure))
    assert "decoder" not in texts(figure)


def test_a_run_without_gates_of_tasks_has_all_other_figures(folder, tmp_path):
    other = RunFolder(shutil.copytree(folder.path, tmp_path / "run"))
    other.gating_weights.unlink()
    tasks = folder.read_results()["tasks"]
    net = RepModeUNet(tasks, width=2, depth=1, gate_input="features")
    save_model(net, other.checkpoint(len(other.records()) - 1))

    publish(other)
    drawn = {path.stem for path in save_figures(other)}

    assert not other.gating_weights.exists()
    assert {"samples", "learning_curves", "result_matrix_mse"} <= drawn
    assert not {"gating", "gating_overview", "extent_profile"} & drawn
    with pytest.raises(UserError, match="RepModeUNet without gates of tasks"):
        load_gating(other)


def test_gating_of_an_unknown_block_lists_the_known_ones(rows):
    with pytest.raises(UserError, match=r"block 'encoder9': choose one of encoder1"):
        plot_gating(rows, ["encoder9"])


def test_tasks_that_were_added_later_are_bold(rows):
    for figure in (plot_gating(rows), plot_gating_overview(rows)):
        names = bold(figure) & {"DNA", "nucleolus", "mitochondria", "cell membrane"}
        assert names == {"mitochondria", "cell membrane"}


def test_the_overview_leaves_unused_experts_blank(rows):
    figure = plot_gating_overview(rows)

    panels = {
        panel.get_title(): panel.images[0].get_array() for panel in figure.axes[:5]
    }
    assert panels["cell membrane"].shape == (7, 7)
    assert np.ma.count_masked(np.ma.masked_invalid(panels["cell membrane"])) == 0
    assert np.ma.count_masked(np.ma.masked_invalid(panels["mitochondria"])) == 7
    assert np.ma.count_masked(np.ma.masked_invalid(panels["DNA"])) == 14
    np.testing.assert_allclose(np.nansum(panels["DNA"], axis=1), 1, atol=1e-6)
    image = figure.axes[0].images[0]
    red, green, blue, _ = image.cmap(image.norm(1 / 5))  # an equal share is white
    assert min(red, green, blue) > 0.95


def test_scale_preference_goes_from_small_structures_to_large(rows):
    panel = plot_scale_preference(rows).axes[0]

    assert [label.get_text() for label in panel.get_xticklabels()] == [
        "mitochondria, 0.5 µm",
        "nucleolus, 2 µm",
        "DNA, 10 µm",
        "cell membrane, 15 µm",
    ]


def test_scale_preference_without_known_structures_says_so(rows):
    mine = [row for row in rows if row.task == "my_structure"]

    assert texts(plot_scale_preference(mine)) == [
        "no structure of known size in this run"
    ]


def test_the_profile_has_a_line_per_task_and_their_mean(rows):
    *tasks, mean = plot_extent_profile(rows).axes[0].lines

    assert len(tasks) == 5
    values = [np.asarray(line.get_ydata()) for line in tasks]
    np.testing.assert_allclose(mean.get_ydata(), np.mean(values, axis=0))


def test_gate_distances_have_a_panel_per_new_task_nearest_on_top(folder):
    rows, tables = load_gating(folder)
    distances = [
        distance
        for task, others in earlier_tasks(rows).items()
        for distance in gate_distances(tables, task, others)
    ]

    first, second = plot_gate_distances(distances).axes

    assert first.get_title(loc="left") == "mitochondria"
    widths = [bar.get_width() for bar in second.patches]
    assert len(widths) == 4
    assert widths == sorted(widths)


def test_without_new_tasks_the_distances_say_so():
    assert texts(plot_gate_distances([])) == [
        "no task arrived after the first experience"
    ]


def test_all_figures_of_a_run_are_saved_and_no_temporary_file_is_left(folder):
    paths = save_figures(folder)

    assert sorted(folder.figures.iterdir()) == sorted(paths)
    assert {path.stem for path in paths} == {
        "extent_profile",
        "forgetting",
        "gating",
        "gating_overview",
        "learning_curves",
        "result_matrix_mae",
        "result_matrix_mse",
        "result_matrix_pearson_r",
        "result_matrix_r2",
        "samples",
        "scale_preference",
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_a_figure_that_fails_to_save_leaves_the_old_one(tmp_path):
    class Broken(Figure):
        def savefig(self, fname: Any, **_: Any) -> None:
            fname.write(b"half")
            raise OSError("disk full")

    path = tmp_path / "figure.png"
    path.write_bytes(b"old")

    with pytest.raises(OSError, match="disk full"):
        save_figure(Broken(), path)

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def assert_fits(figure: Figure) -> None:
    """Assert that nothing, such as a long label, reaches beyond the figure."""
    figure.draw_without_rendering()
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 >= -0.02
    assert drawn.y0 >= -0.02
    assert drawn.x1 <= width + 0.02
    assert drawn.y1 <= height + 0.02


def test_results_of_any_size_fit_their_figures(make_record):
    for num_tasks in (1, 12):
        names = [f"endoplasmic_reticulum_{n}" for n in range(num_tasks)]
        record = make_record(0, names, {name: [0.5] for name in names})
        results = summarize([record])

        assert_fits(plot_result_matrix(results, "pearson_r"))
        assert_fits(plot_forgetting({"naive": results}, "pearson_r"))
        assert_fits(plot_learning_curves([record] * num_tasks))


def test_figures_are_made_without_pyplot():
    code = (
        "import sys; import continual_repmode.analysis.plots; "
        "sys.exit('matplotlib.pyplot' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
