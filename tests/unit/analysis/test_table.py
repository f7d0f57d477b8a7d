"""What a run ends with on the terminal."""

from dataclasses import replace

from continual_repmode.analysis.continual import summarize
from continual_repmode.analysis.table import format_table
from continual_repmode.metrics.learned import ValidationScore


def test_a_task_that_was_not_learned_is_named_with_its_validation(make_record):
    scores = {"dna": [0.5], "golgi_apparatus": [0.3]}  # of the test images
    record = replace(
        make_record(0, list(scores), scores),
        validation={
            "dna": ValidationScore(0.4, 0.9).as_record(),
            "golgi_apparatus": ValidationScore(0.9, 0.9).as_record(),
        },
    )

    text = format_table(summarize([record]))

    assert text.splitlines()[-1] == (
        "Golgi apparatus: not learned: validation R² 0.00, no better than each image's "
        "mean"
    )
    assert text.count("learned:") == 1


def test_nothing_is_said_where_validation_is_unknown(make_record):
    results = summarize([make_record(0, ["dna"], {"dna": [0.0]})])
    assert "not learned" not in format_table(results)
    del results["validation"]  # results of an older version
    assert "not learned" not in format_table(results)


def test_a_task_counts_as_it_was_validated_last(make_record):
    first = make_record(0, ["dna"], {"dna": [0.5]})
    second = make_record(1, ["golgi"], {"dna": [0.5], "golgi": [0.5]})
    bad, good = ValidationScore(1.0, 0.9), ValidationScore(0.5, 0.9)
    first = replace(first, validation={"dna": bad.as_record()})
    joined = {"dna": good.as_record(), "golgi": good.as_record()}

    results = summarize([first, replace(second, validation=joined)])

    assert results["validation"] == joined
