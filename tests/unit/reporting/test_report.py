import base64
import hashlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from continual_repmode.errors import UserError
from continual_repmode.metrics.learned import ValidationScore
from continual_repmode.prediction.calibration import add_calibration
from continual_repmode.reporting import write_report
from continual_repmode.reporting.score_tables import cell_style
from continual_repmode.results import RunFolder, write_json
from continual_repmode.tasks import display_name


@pytest.fixture
def report(make_run, parse, tmp_path):
    """Make a run and parse the report of it."""

    def make(**how: Any) -> Any:
        folder = make_run(tmp_path / "run", **how)
        return parse(write_report([folder.path], tmp_path / "report.html"))

    return make


@pytest.fixture(scope="module")
def usual(make_run, tmp_path_factory):
    """A complete run that lost nothing, and its report."""
    folder = make_run(tmp_path_factory.mktemp("usual") / "run")
    return folder, write_report([folder.path], folder.path.with_name("report.html"))


@pytest.fixture(scope="module")
def page(usual, parse):
    return parse(usual[1])


def cells(page: Any, name: str) -> list[list[str]]:
    return [row[1:] for row in page.rows if row and row[0] == name]


def test_every_score_of_the_results_is_there(report, tmp_path):
    page = report(lost=0.25)

    results = RunFolder(tmp_path / "run").read_results()
    for metric, scores in results["metrics"].items():
        columns = zip(*scores["result_matrix"], strict=True)
        for task, column in zip(results["tasks"], columns, strict=True):
            first = next(i for i, t in enumerate(results["experiences"]) if task in t)
            written = ["\N{EN DASH}" if v is None else f"{v:.3f}" for v in column]
            written[:first] = [""] * first  # not learned yet
            assert written in cells(page, display_name(task)), (metric, task)
        for mean, values in scores["overall"].items():
            name = {"over_images": "images", "over_tasks": "structures"}[mean]
            written = [f"{value:.3f}" for value in values]
            assert written in cells(page, f"all, over {name}")
    assert "Dice" in page.text


def test_forgetting_stands_beside_backward_transfer(report):
    page = report(lost=0.25)

    lost, gained = ["0.250"] * 4, ["-0.250"] * 4
    assert lost + gained in cells(page, "DNA")
    assert lost + gained in cells(page, "my structure")
    assert lost + gained in cells(page, "mean")


def test_only_exactly_nothing_is_written_as_zero(report):
    page = report(lost=1e-6)

    assert all(cell != "0" for row in cells(page, "mean") for cell in row)


def test_it_says_what_was_learned_from_how_many_images(page, nets):
    (dna, *_) = cells(page, "DNA")
    own = f"{nets[1].num_task_parameters('dna'):,}"
    assert dna[1].startswith("41 /")  # from the model file
    assert (dna[0], dna[2]) == ("1", own)
    (added, *_) = cells(page, "mitochondria")
    assert added[:2] == ["2", "3 / 1 / 2"]  # from settings and records
    assert "generated cells, volumes of 8 \N{MULTIPLICATION SIGN} 24" in page.text
    assert "2 min 30 s of training and testing" in page.text
    assert "continual-repmode run scenario=here.yaml" in page.text


def test_proofs_are_shown_with_their_whole_hashes(page):
    assert "unchanged to the bit : 2 of 2 fingerprints" in page.text
    assert f"state_sha256 before: {'a' * 64}" in page.text
    assert "✗" not in page.text


def test_changed_tasks_are_named_as_such(report):
    changed = report(lost=0.1)
    assert "Old structures changed : 2 of 2 fingerprints differ" in changed.text
    assert f"output_sha256 after: {'c' * 64}" in changed.text


def test_the_files_have_their_true_hashes(usual, page):
    run, _ = usual
    files = ["checkpoints/experience_0.safetensors", "config.yaml", "results.json"]
    for name in files:
        content = (run.path / name).read_bytes()
        assert f"{hashlib.sha256(content).hexdigest()} {name}" in page.text
    assert " ".join(run.config.read_text().split()) in page.text


def test_nothing_is_loaded_from_elsewhere(page):
    assert all(src.startswith("data:image/") for src in page.attributes("src"))
    assert all(href.startswith("#") for href in page.attributes("href"))
    assert not {"link", "iframe", "object", "base"} & {tag for tag, _ in page.elements}
    policy = next(m["content"] for m in page.of("meta") if "http-equiv" in m)
    assert policy.startswith("default-src 'none'")


def test_styles_and_scripts_name_no_address(usual):
    text = re.sub(r'data:[^"]*', "", usual[1].read_text())
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp", text)


def test_links_lead_somewhere_and_names_are_unique(page):
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    assert {href[1:] for href in page.attributes("href")} <= set(ids)
    assert set(page.attributes("for")) <= set(ids)
    assert {"run1-samples", "run1-gates", "run1-learning"} <= set(ids)


def test_images_and_sliders_have_a_text(page):
    assert len(page.of("img")) == 3 * 3 + 7
    assert all(image["alt"] for image in page.of("img"))
    labelled = {label["for"] for label in page.of("label")}
    assert {slider["id"] for slider in page.of("input")} == labelled


def test_hostile_names_stay_text(make_run, parse, new_sample, tmp_path):
    attack = "<script>alert(1)</script>"
    folder = make_run(
        tmp_path / "<b onclick=x> & 'run'",
        strategy=f'"{attack}',
        header={"command": f"continual-repmode run {attack}", "scenario": attack},
    )
    new_sample(folder, "dna", image=f'"><img src=x onerror=alert(1)>{attack}')
    folder.config.write_text(f"a: '</pre>{attack}'\n")

    page = parse(write_report([folder.path], tmp_path / "report.html"))

    assert len(page.of("script")) == 1
    assert not page.attributes("onerror")
    assert not page.attributes("onclick")
    assert page.text.count(attack) >= 5


def test_several_runs_are_compared(make_run, parse, tmp_path):
    one = make_run(tmp_path / "one", strategy="repmode")
    two = make_run(tmp_path / "two", strategy="naive", lost=0.25)

    page = parse(write_report([one.path, two.path], tmp_path / "report.html"))

    (dna, *_) = cells(page, "DNA")
    assert dna == ["0.550", "0.300"]
    assert ["0", "0.250"] in cells(page, "DNA")
    (naive, *_) = cells(page, "naive")
    assert naive[0] == "0.396"
    assert naive[4:6] == ["0.250", "0.250"]
    assert naive[6] == "✗ changed"
    assert {"comparison", "run1", "run2", "run2-samples"} <= set(page.attributes("id"))


def test_runs_are_named_by_what_tells_them_apart(make_run, parse, tmp_path):
    for case, (other, names) in enumerate(
        (
            ({"strategy": "naive"}, ["repmode", "naive"]),
            ({"seed": 8}, ["seed 7", "seed 8"]),
            ({}, ["repmode (run0)", "repmode (run1)"]),
            ({"strategy": "naive", "seed": 8}, ["repmode, seed 7", "naive, seed 8"]),
        )
    ):
        folder = tmp_path / str(case)
        runs = [
            make_run(folder / f"run{n}", done=1, header={"strategy": "repmode", **how})
            for n, how in enumerate([{}, other])
        ]
        page = parse(write_report([r.path for r in runs], folder / "report.html"))
        for name in names:
            assert cells(page, name) or cells(page, f"{name} incomplete"), name


def test_a_run_that_was_stopped_is_shown_as_far_as_it_came(report):
    page = report(done=1)

    assert "This run is not complete. 1 of 2 experiences has results" in page.text
    assert ["0.550"] in cells(page, "DNA")
    assert not cells(page, "mitochondria")
    assert "there is no forgetting to report" in page.text


def test_a_run_without_any_result_is_shown_with_its_settings(report):
    page = report(done=0)

    assert "0 of 2 experiences have results; there are no scores" in page.text
    assert "scenario=here.yaml" in page.text
    assert not page.of("img")


def test_results_follow_from_the_records_if_they_are_missing(make_run, parse, tmp_path):
    folder = make_run(tmp_path / "run")
    folder.results.unlink()

    page = parse(write_report([folder.path], tmp_path / "report.html"))

    assert ["0.550", "0.550"] in cells(page, "DNA")


def test_what_cannot_be_read_is_left_out_and_told(make_run, parse, tmp_path):
    folder = make_run(tmp_path / "run")
    (folder.samples / "dna.npz").write_bytes(b"no zip")
    folder.gating_weights.write_text("nonsense\n1\n")
    (folder.figures / "learning_curves.png").write_bytes(b"no image")

    page = parse(write_report([folder.path], tmp_path / "report.html"))

    assert "Left out:" in page.text
    assert "dna.npz: not a sample of a run" in page.text
    assert "gating_weights.csv: not a table of gating weights" in page.text
    assert "run1-learning" in page.attributes("id")  # drawn anew
    assert "run1-gates" not in page.attributes("id")


def test_a_figure_of_the_folder_is_taken_as_it_is(make_run, tmp_path):
    folder = make_run(tmp_path / "run")
    path = folder.figures / "learning_curves.png"
    Image.new("RGB", (31, 17), "blue").save(path)

    text = write_report([folder.path], tmp_path / "report.html").read_text()

    assert base64.b64encode(path.read_bytes()).decode() in text


def test_figures_that_the_folder_lacks_are_drawn(make_run, parse, tmp_path):
    folder = make_run(tmp_path / "run", draw=True)

    page = parse(write_report([folder.path], tmp_path / "report.html"))

    figures = [image for image in page.of("img") if "data-volume" not in image]
    assert len(figures) == 7
    for figure in figures:
        content = base64.b64decode(figure["src"].partition(";base64,")[2])
        width, height = Image.open(io.BytesIO(content)).size
        assert width > 400
        assert int(figure["width"]) / int(figure["height"]) == pytest.approx(
            width / height, rel=0.01
        )
    assert "Left out" not in page.text


def test_an_added_structure_comes_with_its_curve_of_images(make_run, parse, tmp_path):
    folder = make_run(tmp_path / "run", done=1)
    folder.config.unlink()
    write_json(folder.path / "extension.json", {"epochs": 12, "batch_size": 3})
    points = [
        {"num_images": 2, "valid_mse": 0.5},  # of an older version
        {"num_images": 4, "valid_mse": 0.25, "target_variance": 0.9},
    ]
    write_json(folder.path / "images.json", {"points": points, "verdict": "enough"})

    page = parse(write_report([folder.path], tmp_path / "report.html"))

    assert "In short: enough." in page.text
    assert ["2", "0.500", "\N{EN DASH}"] in page.rows
    assert ["4", "0.250", "0.900"] in page.rows
    assert "12 epochs, 3 patches per batch" in page.text
    assert "not complete" not in page.text


def test_errors_stand_against_predicted_deviations(make_run, parse, tmp_path):
    folder = make_run(tmp_path / "run", done=1)
    predicted = tmp_path / "predicted"
    predicted.mkdir()
    add_calibration(predicted, "a.tif", "dna", [(1000, 0.1, 0.1), (1000, 0.2, 0.8)])
    add_calibration(predicted, "b.tif", "dna", [(2000, 0.1, 0.2), (2000, 0.2, 0.8)])

    path = write_report([folder.path], tmp_path / "a.html", predicted=[predicted])
    page = parse(path)

    # sqrt((1000 * .65 + 2000 * .68) / (3000 * .05)), and of the ends:
    # sqrt((1000 * .01 + 2000 * .04) / (3000 * .01)) and .8 / .2
    assert ["DNA", "2", "6,000", "3.7", "1.7", "4"] in page.rows
    captions = [image["alt"] for image in page.of("img")]
    assert any("Errors against predicted deviations" in text for text in captions)
    assert "#calibration" in page.attributes("href")
    page = parse(write_report([folder.path], tmp_path / "b.html"))
    assert "#calibration" not in page.attributes("href")
    with pytest.raises(UserError, match=r"--predicted .*run: no calibration\.csv"):
        write_report([folder.path], tmp_path / "c.html", predicted=[folder.path])
    assert not (tmp_path / "c.html").exists()


def test_an_added_structure_is_compared_with_a_network_from_scratch(
    make_run, parse, tmp_path
):
    folder = make_run(tmp_path / "run", done=1)
    side = {"num_parameters": 1234, "valid_mse": 0.5, "valid_r2": None}
    content = {
        "extension": {**side, "test_mse": {"a": 0.4}},
        "scratch": {**side, "num_parameters": 56789, "test_mse": {"a": 0.6}},
        "verdict": "it was worth it",
    }
    write_json(folder.path / "reference.json", content)

    page = parse(write_report([folder.path], tmp_path / "report.html"))

    assert "In short: it was worth it." in page.text
    assert ["parameters for this structure", "1,234", "56,789"] in page.rows
    assert ["test MSE, a", "0.400", "0.600"] in page.rows

    write_json(folder.path / "reference.json", {**content, "scratch": {}})
    page = parse(write_report([folder.path], tmp_path / "other.html"))
    assert (
        "reference.json: not as this program writes it: Object missing required"
        in page.text
    )


def test_structures_that_were_not_learned_are_marked(make_run, parse, tmp_path):
    folder = make_run(tmp_path / "run")
    change(
        folder.results,
        validation={
            "dna": ValidationScore(0.4, 0.8).as_record(),
            "my_structure": ValidationScore(0.8, 0.8).as_record(),
        },
    )

    page = parse(write_report([folder.path], tmp_path / "report.html"))

    (dna, *_), (other, *_) = cells(page, "DNA"), cells(page, "my structure not learned")
    assert dna[3] == "0.500"
    assert other[3] == "0"
    (unknown, *_) = cells(page, "mitochondria")
    assert unknown[3] == "\N{EN DASH}"
    assert page.text.count("not learned where") == 1
    assert page.text.count(" not learned ") == 2


def test_colors_of_r2_mean_the_same_in_every_report(make_run, parse, tmp_path):
    good = make_run(tmp_path / "good")
    bad = make_run(tmp_path / "bad", lost=0.4)
    styles = []
    for run in (good, bad):
        text = write_report([run.path], tmp_path / f"{run.path.name}.html").read_text()
        table = text[text.index("table of R²") :]
        styles.append(re.search(r'style="(.*?)">0\.550<', table)[1])
    assert styles[0] == styles[1] == cell_style(0.55, 0, 1, better_up=True)


def test_no_file_of_the_run_is_touched(make_run, tmp_path):
    folder = make_run(tmp_path / "run")
    before = {p: p.stat().st_mtime_ns for p in folder.path.rglob("*")}

    write_report([folder.path], tmp_path / "report.html")

    assert {p: p.stat().st_mtime_ns for p in folder.path.rglob("*")} == before


def test_a_file_that_exists_is_replaced_only_if_told(make_run, tmp_path):
    folder, path = make_run(tmp_path / "run", done=0), tmp_path / "report.html"
    path.write_text("mine")

    with pytest.raises(UserError, match=r"report.html: exists already.*--overwrite"):
        write_report([folder.path], path)
    assert path.read_text() == "mine"

    write_report([folder.path], path, overwrite=True)
    assert path.read_text().startswith("<!doctype html>")


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_bad_folders_are_refused_in_one_line(make_run, tmp_path):
    newer, damaged, foreign = (make_run(tmp_path / n) for n in "abc")
    change(newer.results, schema_version=2)
    change(damaged.results, metrics={})
    change(foreign.path / "experiences" / "experience_0.json", mood="good")
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "report.html"

    for folder, reason in [
        (tmp_path / "absent", "no run folder"),
        (empty, "no run folder"),
        (newer.path, "version 2; this version reads .* version 1"),
        (damaged.path, "results.json: damaged"),
        (foreign.path, "experience_0.json: damaged, or of another version"),
    ]:
        with pytest.raises(UserError, match=reason) as caught:
            write_report([folder], out)
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="is a folder"):
        write_report([damaged.path], empty)
    good = make_run(tmp_path / "d", done=0)
    with pytest.raises(UserError, match="named twice"):
        write_report([good.path, tmp_path / "a" / ".." / "d"], out)
    assert not out.exists()
