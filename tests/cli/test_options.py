"""What the user says counts, is refused, or is said to do nothing."""

import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "options.md"
P, ONE = "predict model.safetensors", "--tasks dna --out out --estimate"
X = "extend model.safetensors"
C = "check pairs.csv --headers-only --patch-size 4 16 16"
RUN = "run data=manifest data.manifest=nowhere.csv"
SMALL = (
    "scenario=two.yaml strategy=repmode_paper model=repmode model.width=2 "
    "model.depth=1 data.patch_size=[4,16,16] base_model=model.safetensors"
)

TABLE: dict[str, list[tuple[str, int, str]]] = {
    "`predict --precision auto` | the processor has no instructions for bfloat16, or "
    "the model no test MSE": [
        (
            f"{P} a.ome.tif {ONE} --precision auto",
            0,
            "note: --precision auto: float32; (model|cpu).* has no",
        ),
    ],
    "`predict --voxel-size` | the file has another, an impossible one, or none": [
        (
            f"{P} a.ome.tif {ONE} --voxel-size 0.6 0.3 0.3",
            0,
            r"5 x 24 x 24 voxels of 0.6 0.3 0.3 um \(as given, not 0.3 x 0.3 x 0.3 µm "
            r"in its metadata\), predicted as 10 x 24 x 24",
        ),
        (f"{P} odd.npy {ONE}", 3, "says 7366 um along z, .* --voxel-size Z Y X"),
        (f"{P} odd.npy {ONE} --voxel-size .3 .3 .3", 0, "voxels of 0.3 0.3 0.3 um"),
        (f"{P} none.npy {ONE} --voxel-size .3 .3 .3", 0, "voxels of 0.3 0.3 0.3 um"),
    ],
    "`predict --voxel-size` | columns of the manifest have another":
        [(f"{P} sized.csv {ONE} --voxel-size 0.3 0.3 0.3", 0,
        r"voxels of 0.6 0.6 0.6 um \(by the columns of .*row 2, not --voxel-size\)")],
    "`check`, `prepare`, `extend --source-voxel-size`, `data.source_voxel_size_um` | "
    "the files have another": [
        (
            f"{C} --source-voxel-size .3 .6 .6",
            0,
            r"7 rows: the voxel size is 0.3 x 0.6 x 0.6\s+µm as given, not 0.3 x 0.3 x",
        ),
        (
            "prepare pairs.csv --source-voxel-size .3 .6 .6",
            0,
            "7 rows: the voxel size is 0.3 x 0.6 x 0.6 µm as given",
        ),
    ],
    "`--source-voxel-size` | columns have another": [
        (
            "check sized.csv --headers-only --source-voxel-size .3 .3 .3 "
            "--patch-size 4 16 16",
            0,
            r"columns voxel_size_z_um, .* come before\s+data.source_voxel_size_um",
        ),
    ],
    "columns `voxel_size_z_um`, ... | the files have another":
        [("check sized.csv --headers-only --patch-size 4 16 16", 0,
        r"7 rows: the voxel size is 0.6 x 0.6 x 0.6\s+µm as given")],
    "columns `z0`, `z1`, ... | light and target differ in shape":
        [("check six.csv --headers-only", 2, "crop both to the same part by the col"),
        ("check sixcrop.csv --headers-only --patch-size 2 16 16", 0, "3 x 32 x 32")],
    "a column that is not in the list of [data.md](data.md#the-manifest) | looks like "
    "one that is": [
        ("check dna_test.csv --headers-only", 2, "'channel_targets' is left alone"),
    ],
    "columns `task`, `split` | the name of the manifest tells another":
        [("check dna_test.csv --headers-only", 2, r"lab 7 0 0 TIFF")],
    "`--channel 1`, a channel column, `--choose`, a column such as `scene` | 1 is the "
    "index of one and the name of another": [
        (f"{P} cameras.ome.tif {ONE} --channel 1", 3, "name:1 or index:1"),
        (f"{P} cameras.ome.tif {ONE} --channel name:1", 0, "predicted as"),
        (f"{P} cameras.ome.tif {ONE} --channel index:1", 0, "predicted as"),
        ("check cameras.csv --headers-only", 2, "'channel_signal'.* name:1 or index:1"),
    ],
    "`--choose time=1` | the file holds no such one, or is of a format without":
        [(f"{P} lapse.ome.tif {ONE} --choose time=2", 3, "no time '2'; choose from 0"),
        (f"{P} a.ome.tif {ONE} --choose tile=1", 3, "no tile '1'; choose from 0")],
    "`--choose time=0 --choose time=1` |":
        [(f"{P} lapse.ome.tif {ONE} --choose time=0 --choose time=1", 2,
        "--choose time=1: time=0 is chosen, too; give one")],
    "`--channel`, `--choose`, `--target` | a manifest says it for each image":
        [(f"{P} pairs.csv {ONE} --channel 0", 2, "--channel: pairs.csv says it"),
        (f"{P} pairs.csv {ONE} --choose time=0", 2, "--choose: pairs.csv says it"),
        (f"{P} pairs.csv {ONE} --target 0", 2, "--target: pairs.csv says it")],
    "`--root` of `predict` | no manifest is given": [(f"{P} a.ome.tif {ONE} --root .",
        2, "is for manifests; none is given")],
    "`--metrics` of `predict` | neither `--target` nor a manifest is given": [
        (f"{P} a.ome.tif {ONE} --metrics ssim", 2, "--metrics: there is nothing to co"),
    ],
    "`--ensemble` | the model is given twice, lacks a task, or prepares images in "
    "another way": [
        (f"{P} a.ome.tif {ONE} --ensemble model.safetensors", 2, "is given twice"),
        (f"{P} a.ome.tif {ONE} --ensemble old.safetensors", 2, "model-voxel-size"),
        (f"{P} a.ome.tif {ONE} --ensemble private.safetensors", 0, "predicted 2 times"),
    ],
    "`--refuse-missing-chunks` (`data.`) | chunk files are missing": [
        (f"{P} gaps.ome.zarr {ONE} --refuse-missing-chunks", 3, "1 of 2 chunk files"),
        (f"{P} gaps.ome.zarr {ONE}", 0, "predicted as"),
    ],
    "`--series per-frame` | not `--choose time=all`": [
        (f"{P} lapse.ome.tif {ONE} --choose time=0 --series per-frame", 2, "time=all"),
        (f"{P} lapse.ome.tif {ONE} --choose time=all --series per-frame", 0, "2 times"),
    ],
    "`--target DAPI` | is a file and a channel": [(f"{P} a.ome.tif {ONE} --target DAPI",
        3, "write ./DAPI or name:DAPI"), (f"{P} a.ome.tif {ONE} --target ./DAPI", 0,
        "predicted as"), (f"{P} a.ome.tif {ONE} --target name:DAPI", 0,
        "predicted as")],
    "`--target FILE` | has other voxels than the image":
        [(f"{P} light.ome.tif {ONE} --target coarse.ome.tif", 3, "has voxels of 0.3"),
        (f"{P} light.ome.tif {ONE} --target coarse.ome.tif --voxel-size .3 .3 .3", 0,
        "predicted as")],
    "`--seed` of `check` and `prepare`, `data.seed` | the column `split` says it":
        [(f"{C} --seed 3", 0, "note: --seed: without effect as the manifest says")],
    "any option, or `setting=value` | once more":
        [(f"{P} a.ome.tif {ONE} --tasks nucleolus", 2, "--tasks is given twice"),
        (f"{X} pairs.csv --task x --private-bn --no-private-bn", 2, "both given"),
        ("run seed=1 seed=2", 2, "seed=1 and seed=2 are both given: leave one out"),
        ("tables table1 run=false run=true", 2, "are both given: leave"),
    ],
    "`predict --model-voxel-size`, `export --voxel-size`, `extend --voxel-size`, "
    "`check --model --voxel-size` | the model has another": [
        (
            "check pairs.csv --model model.safetensors --voxel-size 1 1 1",
            2,
            "leave the option out",
        ),
        (f"{P} a.ome.tif {ONE} --model-voxel-size 1 1 1", 2, "leave the option out"),
        (
            "export model.safetensors --task dna --format torch --voxel-size 1 1 1",
            2,
            "leave the option out",
        ),
        (f"{X} pairs.csv --task x --voxel-size 1 1 1", 2, "leave the option out"),
    ],
    "`predict --tasks`, `export --task` | the model has no such task": [
        (f"{P} a.ome.tif --out out --tasks golgi", 2, "knows dna, nucleolus"),
        (
            "export model.safetensors --task golgi --format torch",
            2,
            "it knows dna, nucleolus",
        ),
    ],
    '`--tasks DNA`, `--task "Nuclear envelope"` | the model or manifest has `dna`, '
    "`nuclear_envelope`": [
        (f"{P} a.ome.tif --out o --estimate --tasks DNA,Nucleolus", 0, "predicted as"),
        ("export model.safetensors --task Dna --format torch --out u.pt2", 0, "u.pt2"),
    ],
    "`predict --intensity target` | the model does not know intensities": [
        (f"{P} a.ome.tif --out o --intensity target", 2, "'nucleolus' .*; use zscore"),
    ],
    "`extend --task` | the model knows it": [(f"{X} pairs.csv --task dna", 2,
        "give the new structure another name")],
    "`extend --no-private-bn` | the model's tasks have normalizations of their own":
        [("extend private.safetensors pairs.csv --task x --no-private-bn", 2,
        "leave out --no-private-bn")],
    "`extend --patch-size` | images are smaller": [
        (f"{X} thin.csv --task lab --yes --patch-size 2 16 16", 2, "pad it with --pad"),
        (f"{X} pairs.csv --task lab --patch-size 8 16 16", 2, "choose 6 or less"),
    ],
    "`extend` with other settings | its folder was begun otherwise":
        [(f"{X} pairs.csv --task lab --out begun --epochs 2", 2, "another base model")],
    "a task called `all`, `closest`, `mean`, ... | options mean something else by it":
        [(f"{X} pairs.csv --task mean", 2, "choose another name, such as mean_cells"),
        ("check all.csv --headers-only", 2, "column 'task': task name 'all'")],
    "`merge --rename` | the task gets two names, or is no added one": [
        (
            "merge model.safetensors private.safetensors --out m.safetensors "
            "--rename dna=a --rename dna=b",
            2,
            "dna gets two names; give one",
        ),
        (
            "merge model.safetensors private.safetensors --out m.safetensors "
            "--rename golgi=b",
            2,
            "no model but the first has a task golgi",
        ),
    ],
    "`base_model=` | `model.*`, `data.voxel_size_um`, `data.resize` or `data.order` "
    "differ from the file": [
        (f"{RUN} {SMALL} model.axes=YX", 2, "its axes is"),
        (
            f"{RUN} {SMALL}",
            2,
            r"voxel_size_um \[0.3,0.3,0.3\], .* set data.voxel_size_um=\[0.3,0.3,",
        ),
        (
            f"{RUN} {SMALL} data.resize=fast "
            "data.voxel_size_um=[0.3,0.3,0.3]",
            2,
            "set data.resize=paper",
        ),
    ],
    "`check --cache-dir`, `--model`, `--workers`, ... | `--headers-only`": [
        (f"{C} --cache-dir x --workers 1", 0, "--cache-dir, --workers: without"),
        (f"{C} --model model.safetensors", 0, "--model: without effect"),
    ],
    "`inspect --channel`, `--window`, ... | no `--model`": [
        ("inspect a.ome.tif --channel 0 --device cpu", 0, "--channel, --device: witho"),
    ],
    "`--workers`, `tables workers=` | a Dask cluster (`--scheduler`)": [
        (
            "prepare pairs.csv --workers 2 --scheduler nowhere.json",
            2,
            "note: --workers: without effect with --scheduler",
        ),
    ],
    "`check --verbose` | `--json`, which has all": [
        (f"{C} --json --verbose", 0, "note: --verbose: without effect with --json"),
    ],
    "`download --mirror`, `--proxy`, ... | `--list`": [
        (
            "download --list --mirror http://localhost --delete-archives",
            0,
            "note: --mirror, --delete-archives: without effect with --list",
        ),
    ],
    "`download --voxel-size`, `--published-lists` | `--no-manifest`": [
        (
            "download dna --no-manifest --voxel-size metadata --to pairs.csv",
            2,
            "note: --voxel-size: without effect with --no-manifest",
        ),
    ],
    "`export --license`, `--author` | a format that keeps none": [
        (
            "export model.safetensors --task dna --format torch --license X --author Y",
            2,
            "leave out --license and --author",
        ),
        (
            "export model.safetensors --task dna --format bioimageio --license X",
            2,
            "needs --license and --author: on which",
        ),
    ],
    "`extend --outer-rate` | an expert that is not of low rank": [
        (f"{X} pairs.csv --task dna --outer-rate 3", 2, "--outer-rate: without effect"),
    ],
    "`train.extension_epochs`, `strategy.expert`, ... | a run of one experience": [
        (
            f"{RUN} scenario=one.yaml train.extension_epochs=3 strategy.expert=conv1",
            2,
            "train.extension_epochs: without effect, as this run has one experience "
            "note: strategy.expert: without effect",
        ),
    ],
    "`strategy.outer_rate` | an expert that is not of low rank": [
        (
            f"{RUN} scenario=two.yaml strategy.outer_rate=3",
            2,
            "outer_rate: without effect, as strategy.expert=conv3 is not of low rank",
        ),
    ],
    "a single setting, such as `model.scope=all` | `experiment=` sets it": [
        (
            "run experiment=ablation/only_decoder model.scope=all --cfg job",
            0,
            "scope: all",
        ),
        ("run experiment=ablation/only_decoder --cfg job", 0, "scope: decoder"),
    ],
    "`tables rows=`, `workers=`, `scheduler=` | `run=false`": [
        (
            "tables table1 run=false rows=repmode results=new",
            3,
            "note: rows: without effect with run=false",
        ),
    ],
    "a setting of another model, strategy or data |": [
        ("run strategy=naive strategy.expert_init=zero", 2, "belongs to strategy=rep"),
        ("run data.manifest=pairs.csv", 2, "belongs to data=manifest"),
    ],
    "`hydra.run.dir` with `-m`, `hydra.sweep.dir` without |": [
        ("run -m hydra.run.dir=x seed=0,1", 2, "give hydra.sweep.dir=FOLDER"),
        ("run hydra.sweep.dir=x", 2, "give hydra.run.dir=FOLDER"),
    ],
    "`resume=` | any other setting": [
        ("run resume=x seed=1", 2, "takes all settings from there: give it alone"),
    ],
    "`loggers=`, `figures=` | there is no such one": [
        (f"{RUN} loggers=[csv,paper]", 2, r"loggers=.*some of \[csv,tensorboard,"),
        (f"{RUN} figures=gif", 2, r"figures=gif.*some of \[png,pdf,svg\]"),
    ],
    "`demo --out` | the folder is of something else": [
        ("demo --out sub", 2, "sub: exists and is not of an earlier demo; .*--out"),
    ],
    "`tables seed=`, `model=`, ... | the table decides it": [
        ("tables table1 seed=1", 2, "give seeds=0,1,2"),
        ("tables table1 model=fnet", 2, "a table decides that"),
    ],
}  # fmt: skip
"""First two cells of a line of the tables in docs/options.md -> calls that try it."""


def test_what_the_docs_say_of_options_is_so(call):
    failures = []
    for row, calls in TABLE.items():
        for words, status, pattern in calls:
            said = call(words)
            if said.status != status or not re.search(pattern, said.told, re.DOTALL):
                failures.append(
                    f"{row}\n  {words}\n  {said.status}: {said.text[-500:]}"
                )
            assert "Traceback" not in said.text
    assert not failures, "\n".join(failures)


def test_every_line_of_the_docs_is_tried():
    lines = DOCS.read_text(encoding="utf-8").partition("## In Python")[0].splitlines()
    rows = [re.split(r"\|", line)[1:3] for line in lines if line.startswith("| ")]
    found = {f"{said.strip()} | {against.strip()}".rstrip() for said, against in rows}
    assert found - {"you say | and", "--- | ---"} == set(TABLE)
