"""The numbers of the paper's Tables 1 to 3, measured on data that is not here.

Zhou et al., "RepMode: Learning to re-parameterize diverse experts for subcellular
structure prediction" (CVPR 2023). Errors are of z-scored intensities.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from continual_repmode.tasks import TASKS

LABEL = "paper (measured on data we do not have)"
"""Stands above every number of the paper."""

METRICS = ("mse", "mae", "r2")
"""What the paper reports, in its order."""

NUM_TEST_IMAGES: Mapping[str, int] = {
    task: 13 if task == "cell_membrane" else 20 for task in TASKS
}
"""Test images of each task in the paper's data set: 233 in all."""

Scores = Mapping[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class PaperRow:
    """One row of a table of the paper."""

    #: Metric -> task -> value; empty where the paper gives none.
    per_task: Mapping[str, Scores] = field(default_factory=dict)
    #: Metric -> the column "All"; empty in Table 3.
    overall: Scores = field(default_factory=dict)
    #: Metric -> relative improvement over Multi-Net, 0 to 100; Table 1 only.
    gain_percent: Scores = field(default_factory=dict)


def _row(
    *by_metric: str, overall: tuple[float, ...], gain: tuple[float, ...]
) -> PaperRow:
    """Return a row of Table 1.

    ``*by_metric``: per metric, ten-thousandths of the values of all tasks, in the order
        of :data:`TASKS`.
    ``overall``: column "All", per metric.
    ``gain``: column "Delta_Imp (%)", per metric.
    """
    return PaperRow(
        per_task={
            metric: {
                task: int(digits) / 10_000
                for task, digits in zip(TASKS, values.split(), strict=True)
            }
            for metric, values in zip(METRICS, by_metric, strict=True)
        },
        overall=dict(zip(METRICS, overall, strict=True)),
        gain_percent=dict(zip(METRICS, gain, strict=True)),
    )


def _overall(*overall: float) -> PaperRow:
    return PaperRow(overall=dict(zip(METRICS, overall, strict=True)))


def _two_tasks(nucleolus: tuple[float, ...], membrane: tuple[float, ...]) -> PaperRow:
    values = zip(METRICS, nucleolus, membrane, strict=True)
    return PaperRow(
        per_task={m: {"nucleolus": n, "cell_membrane": c} for m, n, c in values}
    )


TABLE_1: Mapping[str, PaperRow] = {
    "multinet": _row(
        "4241 7247 5940 8393 5806 4635 8023 3682 4684 3014 2164 6474",
        "4716 4443 4351 5640 5033 4914 5732 4348 3921 3006 1789 3369",
        "5695 2606 3930 0162 3822 5262 0801 6296 5172 6954 7826 3370",
        overall=(0.5341, 0.4269, 0.4337),
        gain=(0.000, 0.000, 0.000),
    ),
    "multihead_dec": _row(
        "4278 7052 5785 8431 5312 4454 7925 3932 4545 2687 2114 6396",
        "4803 4363 4625 5677 4764 4832 5768 4594 3888 2895 1762 3252",
        "5657 2804 4089 0118 4346 5448 0910 6044 5315 7284 7877 3451",
        overall=(0.5226, 0.4258, 0.4456),
        gain=(2.149, 0.272, 2.752),
    ),
    "multihead_las": _row(
        "4648 6697 5568 8402 5088 4372 7918 3781 4649 2909 2213 6547",
        "4978 4222 4441 5637 4824 4697 5807 4465 3991 3057 1870 3367",
        "5281 3168 4310 0148 4581 5531 0921 6196 5208 7059 7778 3298",
        overall=(0.5223, 0.4275, 0.4461),
        gain=(2.218, -0.120, 2.868),
    ),
    "condnet": _row(
        "4246 6873 5635 8422 4967 4290 7996 3868 4673 2876 2203 6569",
        "4719 4286 4157 5655 4707 4697 5823 4523 4067 3014 1865 3241",
        "5688 2988 4242 0126 4712 5615 0831 6108 5184 7094 7787 3274",
        overall=(0.5206, 0.4232, 0.4478),
        gain=(2.534, 0.884, 3.249),
    ),
    "tsn": _row(
        "4279 6691 5309 8392 4974 4362 7892 3407 4625 2904 2116 6479",
        "4779 4111 4346 5630 4682 4785 5777 4235 3956 2991 1751 3320",
        "5656 3174 4575 0160 4702 5543 0949 6572 5233 7064 7874 3367",
        overall=(0.5113, 0.4192, 0.4572),
        gain=(4.263, 1.804, 5.437),
    ),
    "pipofan": _row(
        "4063 6815 5440 8417 4868 4433 7968 3604 4750 2904 2097 6437",
        "4603 4306 4389 5674 4626 4832 5861 4365 4171 3003 1782 3282",
        "5873 3046 4441 0131 4813 5470 0861 6373 5105 7065 7894 3410",
        overall=(0.5141, 0.4237, 0.4543),
        gain=(3.747, 0.766, 4.764),
    ),
    "dodnet": _row(
        "4215 6989 5459 8415 5280 4414 7927 3972 4772 2976 2250 6703",
        "4706 4204 4390 5633 4810 4844 5774 4606 4119 3164 1934 3336",
        "5721 2870 4422 0133 4382 5490 0909 6004 5081 6992 7740 3137",
        overall=(0.5276, 0.4291, 0.4406),
        gain=(1.227, -0.490, 1.607),
    ),
    "tgnet": _row(
        "3917 6843 5856 8392 5011 4441 7870 3569 4585 2748 2093 6232",
        "4535 4213 4227 5654 4746 4806 5774 4310 3971 2940 1799 3238",
        "6023 3018 4015 0160 4666 5460 0973 6410 5274 7222 7897 3619",
        overall=(0.5108, 0.4183, 0.4578),
        gain=(4.363, 2.022, 5.566),
    ),
    "repmode": _row(
        "3936 6572 5443 8358 4852 4046 7792 3389 4459 2631 1995 6168",
        "4558 4103 4136 5619 4598 4445 5694 4171 3885 2820 1682 3245",
        "6004 3295 4437 0199 4831 5865 1064 6590 5404 7340 7997 3685",
        overall=(0.4956, 0.4078, 0.4735),
        gain=(7.209, 4.482, 9.176),
    ),
}
"""Comparing methods on all twelve tasks."""

TABLE_2: Mapping[str, PaperRow] = {
    "only_decoder": _overall(0.5097, 0.4139, 0.4590),
    "only_encoder": _overall(0.5079, 0.4184, 0.4607),
    "without_1x1x1_pair": _overall(0.5027, 0.4106, 0.4662),
    "without_3x3x3_pair": _overall(0.5080, 0.4141, 0.4605),
    "without_5x5x5_pair": _overall(0.5017, 0.4108, 0.4672),
    "without_conv": _overall(0.5631, 0.4346, 0.4042),
    "without_avgp_conv": _overall(0.5037, 0.4101, 0.4651),
    "without_avgp": _overall(0.4999, 0.4112, 0.4691),
    "avgp_3x3x3_only": _overall(0.4974, 0.4072, 0.4716),
    "avgp_5x5x5_only": _overall(0.4964, 0.4091, 0.4725),
    "gaussian_embedding": _overall(0.5071, 0.4155, 0.4616),
    "two_layer_gate": _overall(0.4980, 0.4060, 0.4710),
    "sigmoid_gate": _overall(0.4992, 0.4094, 0.4698),
    "input_dependent_gate": _overall(0.7958, 0.5527, 0.1619),
    "repmode": _overall(0.4956, 0.4078, 0.4735),
}
"""Ablations."""

TABLE_3: Mapping[str, PaperRow] = {
    "multinet": _two_tasks((0.2164, 0.1789, 0.7826), (0.5940, 0.4351, 0.3930)),
    "multihead_dec": _two_tasks((0.2121, 0.1811, 0.7870), (0.5339, 0.4097, 0.4543)),
    "repmode": _two_tasks((0.2052, 0.1774, 0.7939), (0.5260, 0.4077, 0.4625)),
}
"""Two tasks that arrive later: individual training, all fine-tuned, experts frozen."""
