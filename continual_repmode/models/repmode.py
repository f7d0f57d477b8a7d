"""RepMode: a 3D U-Net whose every convolution is a MoDE block, open to new tasks.

Sec. 3 of the paper gives the network, Sec. 4.4 (Fig. 8) the extension to an unseen
task.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Self

from torch import Tensor

from continual_repmode.errors import UserError
from continual_repmode.models.conv_units import ConvUnit
from continual_repmode.models.experts import EXPERTS, check_expert
from continual_repmode.models.feature_gating import FeatureGatedBlock
from continual_repmode.models.gate_spec import Activation, TaskEmbedding
from continual_repmode.models.gating import (
    EXPERT_MIXES,
    GATE_INITS,
    GatingTable,
    extension_name,
)
from continual_repmode.models.mode_conv import MoDEBlock
from continual_repmode.models.mode_units import GateInput, Scope, mode_units
from continual_repmode.models.spatial import Axes
from continual_repmode.models.task_groups import TaskGroups
from continual_repmode.models.task_network import TaskNetwork
from continual_repmode.models.task_norm import TaskNorm
from continual_repmode.tasks import TASKS


class RepModeUNet(TaskNetwork):
    """The network of the paper: one U-Net whose kernels depend on the task.

    The options beyond ``axes`` are those of the paper's ablations (Table 2).

    Parameters
    ----------
    task_names : sequence of str
        Names of the base tasks; a task label is a position in it.
    width : int
        Channels of the first level; each level below has twice as many.
    depth : int
        Number of times the resolution is halved.
    experts : sequence of str
        Kinds of the experts in every block, ``convK`` or ``avgK_conv1`` with odd K. A
        kind may be repeated: its experts have weights of their own.
    in_channels, out_channels : int
    axes : {"ZYX", "YX"}
        ``"YX"``: kernels and sampling leave Z alone, for 2D images as Z = 1 stacks.
    scope : {"all", "encoder", "decoder"}
        Where convolutions are MoDE blocks; elsewhere they are plain, with the largest
        kernel of the experts. The paper does not say which: here the bottleneck belongs
        to the encoder and the output to the decoder (our adaptation).
    task_embedding : {"one_hot", "gaussian"}
        Task vectors that the gates start from; ``"gaussian"``: as many numbers from
        N(0, 1), drawn once and saved with the network.
    gate_hidden : int or None
        Units between two fully connected layers of the gates, with a ReLU (our
        adaptation); None: one layer. The paper's ablation has 6.
    gate_activation : {"softmax", "sigmoid"}
    gate_input : {"task", "features"}
        ``"features"``: gates follow from the globally averaged features of each sample,
        and the task enters nowhere; such a network cannot take a new task.
    private_bn : bool
        Give every task batch normalization of its own from the start, wherever features
        depend on the task (so not in the encoder with ``scope="decoder"``), and to
        added tasks. Shared running statistics do not fit kernels that depend on the
        task. The paper's network shares them; this is our proposal.
    private_expert : str or None
        Kind of an expert that every base task has to itself in each block, called
        ``extension_<task>`` as those of added tasks, added to what the shared experts
        make, zero at first. It is our proposal; None: all are shared, as in the paper.
    """

    owned = ("extension", "private", "adapter")
    reserved_names = GATE_INITS
    task_options = (
        "expert",
        "private_bn",
        "use_extensions",
        "gate_init",
        "expert_init",
        "expert_mix",
        "freeze",
    )

    def __init__(
        self,
        task_names: Sequence[str] = TASKS,
        width: int = 32,
        depth: int = 4,
        experts: Sequence[str] = EXPERTS,
        in_channels: int = 1,
        out_channels: int = 1,
        axes: Axes = "ZYX",
        *,
        scope: Scope = "all",
        task_embedding: TaskEmbedding = "one_hot",
        gate_hidden: int | None = None,
        gate_activation: Activation = "softmax",
        gate_input: GateInput = "task",
        private_bn: bool = False,
        private_expert: str | None = None,
    ) -> None:
        gating: dict[str, Any] = {
            "scope": scope,
            "task_embedding": task_embedding,
            "gate_hidden": gate_hidden,
            "gate_activation": gate_activation,
            "gate_input": gate_input,
            "private_bn": private_bn,
            "private_expert": private_expert,
        }
        super().__init__(
            task_names,
            {"experts": list(experts), **gating},
            width=width,
            depth=depth,
            in_channels=in_channels,
            out_channels=out_channels,
            axes=axes,
        )
        self.gate_input: GateInput = gate_input
        self.private_bn = private_bn
        self.unet = self.build_unet(mode_units(self._task_names, experts, **gating))

    def add_task(  # type: ignore[override]  # names its options
        self,
        name: str,
        *,
        expert: str | None = "conv3",
        private_bn: bool = False,
        use_extensions: bool | Sequence[str] = False,
        gate_init: str = "mean",
        expert_init: str = "random",
        expert_mix: str = "softmax",
        freeze: bool = True,
    ) -> int:
        """Extend the network to an unseen task (Fig. 8) and return its label.

        Every MoDE block gets a gate for the task and an expert of its own. With
        ``freeze`` these are all that can be trained, so nothing can change for the
        tasks known before.

        Parameters
        ----------
        name : str
            Name of the new task.
        expert : str or None
            Kind of the new expert, called ``extension_<name>``; None adds the gate
            only.
        private_bn : bool
            Give the task its own copy of every batch normalization, trainable and with
            its own running statistics: that of the task named by ``gate_init``, else
            the shared one, or the mean of those of all tasks where none is shared. A
            network with ``private_bn`` always gives it.
        use_extensions : bool or sequence of str
            Names of earlier extensions whose experts the task uses too, as they are;
            True: of all that have one. :meth:`architecture` gives the names, so that
            extensions from elsewhere can join without changing what was meant.
        gate_init : str
            ``"mean"`` starts from what the known tasks agree on, ``"uniform"`` from
            equal weights, the name of a known task from its weights; see
            :meth:`~continual_repmode.models.gating.TaskGate.initial_logits`.
        expert_init : {"random", "zero"}
            ``"zero"``: the new expert adds nothing until it is trained, so that the
            task starts from what the known experts make of it. Which of the two the
            paper did is unknown; random, as for the other experts, is our adaptation.
        expert_mix : {"softmax", "additive"}
            ``"softmax"``: the new expert competes with the others (the paper).
            ``"additive"``: the softmax is over the base experts, and the new expert is
            added to what they make; see
            :meth:`~continual_repmode.models.gating.TaskGate.add_task`. Where
            convolutions are plain, it is added to these too, zero at first.
        freeze : bool
            Call :meth:`freeze` first. False leaves everything trainable (naive
            fine-tuning, which forgets).

        Raises
        ------
        UserError
            If the name is taken or not a name, an option is not as above, or the gates
            know no tasks. The network is then unchanged.
        """
        self._check_new_name(name)
        if self.gate_input == "features":
            raise UserError(
                f"task {name!r}: a network with gate_input 'features' knows no tasks "
                "and cannot take a new one; use gate_input 'task', or learn all tasks "
                "at once (strategy=joint)"
            )
        if expert is not None:
            check_expert(expert)
        used = self._used_extensions(use_extensions)
        if gate_init not in (*GATE_INITS, *self._task_names):
            raise UserError(
                f"gate_init {gate_init!r}: use 'mean', 'uniform' or a known task "
                f"({', '.join(self._task_names)})"
            )
        if expert_init not in ("random", "zero"):
            raise UserError(f"expert_init {expert_init!r}: use 'random' or 'zero'")
        if expert_mix not in EXPERT_MIXES:
            raise UserError(f"expert_mix {expert_mix!r}: use 'softmax' or 'additive'")
        if freeze:
            self.freeze()
        label = super().add_task(
            name,
            expert=expert,
            private_bn=private_bn or self.private_bn,
            use_extensions=used,
            gate_init=gate_init,
            expert_mix=expert_mix,
        )
        if expert_init == "zero" and expert is not None:
            for block in self.blocks().values():
                block.conv.experts_of(name)[extension_name(name)].zero_()
        return label

    def freeze(self) -> None:
        """Fix every task known so far for good.

        As for every network, and the activated gating weights are kept in buffers
        instead of the layers that made them.
        """
        for block in self.blocks().values():
            block.conv.gate.store()
        super().freeze()

    def blocks(self) -> dict[str, MoDEBlock]:
        """Return the MoDE blocks by name, in the order a signal passes them.

        Those with gates of tasks, that is: with ``gate_input="features"`` none.
        """
        return {n: u for n, u in self.unet.units() if isinstance(u, MoDEBlock)}

    def gating_weights(self) -> list[GatingTable]:
        """Return copies of the gating weights: by block in network order, then task.

        Empty with ``gate_input="features"``, whose gates belong to images.
        """
        gates = {name: block.conv.gate for name, block in self.blocks().items()}
        return [
            GatingTable(name, task, gate.experts[task], gate(task).detach().clone())
            for name, gate in gates.items()
            for task in self._task_names
        ]

    def task_tensors(self, task: str | int) -> dict[str, Tensor]:
        """Return the tensors that decide the predictions of one task.

        That is, for each unit: the kernels of the experts the task uses and its
        activated gating weights (or the kernel of a plain convolution, and an adapter),
        and what batch normalization it uses. Names do not depend on being frozen.
        """
        task = self.task_name(task)
        state: dict[str, Tensor] = {}
        for name, unit in self._units():
            if isinstance(unit, MoDEBlock):
                state[f"{name}.gates"] = unit.conv.gate(task)
                for expert_name, expert in unit.conv.experts_of(task).items():
                    state[f"{name}.experts.{expert_name}"] = expert.weight
            else:
                for key, parameter in unit.conv.named_parameters():
                    state[f"{name}.{key}"] = parameter
            if isinstance(unit, ConvUnit) and (adapter := unit.adapter_of(task)):
                for key, parameter in adapter.named_parameters():
                    state[f"{name}.adapter.{key}"] = parameter
            if unit.norm is not None:
                for key, tensor in unit.norm.of(task).effective_state().items():
                    state[f"{name}.norm.{key}"] = tensor
        return state

    def num_parameters(self) -> int:
        """Count the parameters, and with them the gating weights that are stored."""
        gates = [block.conv.gate for block in self.blocks().values()]
        stored = sum(gate.num_weights(t) for gate in gates for t in gate.stored())
        return super().num_parameters() + stored

    def num_task_parameters(self, task: str | int) -> int:
        """Count the parameters that were introduced for one task.

        These are its gating weights (E per output channel and block, stored or not),
        its private batch normalization, and experts of its own.
        """
        task = self.task_name(task)
        weights = sum(b.conv.gate.num_weights(task) for b in self.blocks().values())
        return super().num_task_parameters(task) + weights

    def architecture(self) -> dict[str, Any]:
        """Return what :meth:`from_architecture` needs, as plain JSON values."""
        return {
            **super().architecture(),
            "num_frozen_tasks": self._num_frozen_tasks,
        }

    @classmethod
    def _built(cls, arguments: dict[str, Any]) -> Self:
        extensions = [
            {"expert_mix": "softmax", **extension}  # all there was before version 3
            for extension in arguments["extensions"]
        ]
        arguments["num_frozen_tasks"]  # these networks always tell it
        arguments["extensions"] = [{**e, "freeze": False} for e in extensions]
        net = super()._built(arguments)
        rebuilt = net.architecture()["extensions"]
        if [e.keys() for e in rebuilt] != [e.keys() for e in extensions]:
            raise KeyError("an option of an extension")
        return net

    def run(self, signal: Tensor, groups: TaskGroups) -> Tensor:
        """Predict a batch that is sorted by task."""
        prediction: Tensor = self.unet(signal, groups)
        return prediction

    def _grow(  # type: ignore[override]  # names its options
        self,
        name: str,
        *,
        expert: str | None,
        private_bn: bool,
        use_extensions: list[str],
        gate_init: str,
        expert_mix: str,
    ) -> None:
        for block in self.blocks().values():
            block.conv.add_task(name, expert, use_extensions, gate_init, expert_mix)
        if expert is not None and expert_mix == "additive":
            plain = (unit for _, unit in self._units() if isinstance(unit, ConvUnit))
            for unit in (unit for unit in plain if unit.keeps_resolution):
                unit.add_expert(name, expert, self.axes)
        if private_bn:
            like = [gate_init] if gate_init in self._task_names else None
            for norm in self._norms():
                norm.add_private(name, self.training, like)

    def _used_extensions(self, wanted: bool | Sequence[str]) -> list[str]:
        """Return the names of the extensions whose experts a new task uses."""
        if not wanted:
            return []
        having = self.extended_tasks
        if isinstance(wanted, bool):
            return list(having)
        used = [wanted] if isinstance(wanted, str) else list(wanted)
        for name in used:
            if name not in having or used.count(name) > 1:
                raise UserError(
                    f"use_extensions {name!r}: name earlier extensions that have an "
                    f"expert, each once ({', '.join(having) or 'there is none'})"
                )
        return used

    def _units(self) -> Iterator[tuple[str, MoDEBlock | FeatureGatedBlock | ConvUnit]]:
        for name, unit in self.unet.units():
            assert isinstance(unit, MoDEBlock | FeatureGatedBlock | ConvUnit)
            yield name, unit

    def _norms(self) -> list[TaskNorm]:
        return [unit.norm for _, unit in self._units() if unit.norm is not None]
