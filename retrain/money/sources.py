"""Where each number of a bill is from: a short key, and what it means. Pure.

Bills carry the keys; whoever prints one prints `legend` of those that it used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

SOURCES: Mapping[str, str] = {
    "said": "said on the command line",
    "settings": "of the settings",
    "store": "from the store: what this project has and measured",
    "machine": "of this machine",
    "tco": 'the fine-tuning guide, "ROI Calculation": its example of a 7B LoRA',
    "compute": 'the guide, "Compute Costs"',
    "data": 'the guide, "Data Costs"',
    "ongoing": 'the guide, "Ongoing Costs"',
    "room": 'the guide, "Storage Requirements"',
    "spot": 'the guide, "Spot/Preemptible Instances"',
    "zero": "Rajbhandari et al. 2020, arXiv 1910.02054",
    "acts": "Korthikanti et al. 2022, arXiv 2205.05198",
    "flops": "Kaplan et al. 2020: 6 operations a weight and token",
    "lora": "Hu et al. 2021, arXiv 2106.09685",
    "measured": "measured on a CPU, by `make bench-train`",
    "ours": "our own choice",
    "reckoned": "reckoned from the numbers beside it",
}


def legend(keys: Iterable[str]) -> dict[str, str]:
    """Return what the keys mean, each once, in the order of `SOURCES`.

    Raises: KeyError for a key that means nothing.
    """
    used = {key: SOURCES[key] for key in keys}
    return {key: used[key] for key in SOURCES if key in used}
