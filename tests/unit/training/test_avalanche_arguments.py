"""Arguments of Avalanche's ``train`` and ``eval``, and its plugins: used or refused."""

import re
from pathlib import Path

import pytest
import torch
from avalanche.core import SupervisedPlugin
from avalanche.training import plugins as theirs

from continual_repmode.errors import UserError
from continual_repmode.training.strategy import Naive, RepMode

DOCS = Path(__file__).parents[3] / "docs" / "options.md"


class Seen(SupervisedPlugin):
    """Notes what a strategy does, and may stop it after an epoch."""

    def __init__(self, stop: bool = False) -> None:
        super().__init__()
        self.stop = stop
        self.epochs: list[int] = []
        self.workers: set[int] = set()

    def before_training_exp(self, strategy, **_):
        self.epochs.append(0)

    def after_training_epoch(self, strategy, **_):
        self.epochs[-1] += 1
        if self.stop:
            strategy.stop_training()

    def before_training_epoch(self, strategy, **_):
        self.workers.add(strategy.dataloader.num_workers)

    def before_eval_exp(self, strategy, **_):
        self.workers.add(strategy.dataloader.loader_kwargs["num_workers"])


def workers_of_a_call(make, benchmark):
    seen = Seen()
    strategy = make(Naive, plugins=[seen], train_epochs=1)
    strategy.train(benchmark.train_stream[0], num_workers=1)
    assert seen.workers == {1}
    assert strategy.num_workers == 0
    strategy.eval(benchmark.test_stream[0], num_workers=2)
    assert seen.workers == {1, 2}


def streams_to_evaluate(make, benchmark):
    strategy = make(Naive)
    with pytest.raises(UserError, match=r"leave it out, and call eval\(\) afterwards"):
        strategy.train(benchmark.train_stream[0], [benchmark.test_stream])
    strategy.adopt(benchmark.train_stream[0])
    strategy.train(benchmark.train_stream[1], [], num_workers=0)


def other_arguments(make, benchmark):
    strategy = make(Naive)
    for argument in ("shuffle", "drop_last", "epochs"):
        with pytest.raises(TypeError, match=argument):
            strategy.train(benchmark.train_stream[0], **{argument: False})
        with pytest.raises(TypeError, match=argument):
            strategy.eval(benchmark.test_stream[0], **{argument: False})


def a_later_experience_first(make, benchmark):
    for kind, first in ((RepMode, 1), (Naive, 1), (Naive, 2)):
        strategy = make(kind)
        with pytest.raises(UserError, match=rf"experience {first} .* not learned dna"):
            strategy.train(benchmark.train_stream[first])
        strategy.train(benchmark.train_stream[0])
    with pytest.raises(UserError, match=r"experience 2 .* not learned nucleolus,"):
        strategy.train(benchmark.train_stream[2])
    strategy.train(benchmark.train_stream[1:])
    assert strategy.net.task_names == benchmark.task_names


def an_experience_again(make, benchmark):
    strategy = make(RepMode, train_epochs=1)
    strategy.train(benchmark.train_stream[:2])
    with pytest.raises(UserError, match="dna, nuclear_envelope were learned"):
        strategy.train(benchmark.train_stream[0])


def nothing_to_evaluate(make, benchmark):
    strategy = make(Naive)
    for nothing in ([], (), iter([])):
        with pytest.raises(UserError, match=r"no experience to evaluate.*test_str"):
            strategy.eval(nothing)


def plugins_for_classes(make, benchmark):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    for plugin, told in (
        (theirs.LwFPlugin(), "continual_repmode.training.strategies"),
        (theirs.AGEMPlugin(2, 2), "continual_repmode.training.strategies"),
        (theirs.GDumbPlugin(4), "leave it out"),
        (theirs.BiCPlugin(4), "leave it out"),
        (theirs.EarlyStoppingPlugin(1, "test_stream"), "best weights are kept without"),
        (
            theirs.LRSchedulerPlugin(plateau, metric="val_loss", reset_scheduler=False),
            "LRSchedulerPlugin of Avalanche: it waits for an evaluation",
        ),
    ):
        with pytest.raises(UserError, match=told):
            make(Naive, plugins=[plugin])
    make(Naive, plugins=[theirs.ReplayPlugin(4), theirs.EWCPlugin(1.0)])


TRIED = (
    workers_of_a_call,
    streams_to_evaluate,
    other_arguments,
    a_later_experience_first,
    an_experience_again,
    nothing_to_evaluate,
    plugins_for_classes,
)
"""One for each line of the last table in docs/options.md, in its order."""


@pytest.mark.parametrize("line", TRIED)
def test_arguments_of_avalanche_are_used_or_refused(make_strategy, benchmark, line):
    line(make_strategy, benchmark)


def test_every_line_of_the_docs_is_tried():
    text = DOCS.read_text(encoding="utf-8").partition("## In Python")[2]
    assert len(re.findall(r"^\| `", text, re.MULTILINE)) == len(TRIED)


def test_stopping_an_experience_does_not_stop_the_next(make_strategy, benchmark):
    seen = Seen(stop=True)
    strategy = make_strategy(Naive, plugins=[seen], train_epochs=3)

    strategy.train(benchmark.train_stream[:2])

    assert seen.epochs == [1, 1]
