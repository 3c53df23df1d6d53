"""The drawings of the demo's report: satisfaction, losses, canaries, time.

In come values of `result.py`, out goes one inline `<svg>` each, in the style of
`monitoring.drawing`, so that the demo's report and the rollouts' reports look alike. Knows
nothing of HTML pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from loop.demo.result import HeldoutShare, LossCurve, Phase, RolloutTrack, SeenAnswer
from monitoring.drawing import (
    BASELINE,
    CANARY,
    FOURTH,
    HARM,
    LINE,
    MUTED,
    SIZE_IN,
    SMALL_SIZE_IN,
    THIRD,
    canvas,
    floats,
    marker,
    styled,
    svg,
)
from monitoring.plots import LOG10_SHOWN

WINDOW = 40  # answers in the rolling share: some ten seconds of the crowd on two cores
PAUSE_S = 60.0  # so long without an answer breaks the line
MINUTE_S = 60.0


def adapter_colours(base: str, good: str, spoiled: str) -> dict[str, str]:
    """Return the colour that stands for each of the three in every drawing."""
    return {base: BASELINE, good: CANARY, spoiled: HARM}


def draw_satisfaction(
    answers: Sequence[SeenAnswer], phases: Sequence[Phase], colours: Mapping[str, str]
) -> str:
    """Return the rolling share of good answers of each adapter over the demo's minutes."""
    with styled():
        figure, axes = canvas((2 * SIZE_IN[0], SIZE_IN[1]))
        _mark_phases(axes, phases)
        spare = cycle((THIRD, FOURTH))
        for adapter in dict.fromkeys(answer.adapter for answer in answers):
            minutes, shares = _rolling([a for a in answers if a.adapter == adapter])
            axes.plot(minutes, shares, color=colours.get(adapter) or next(spare), label=adapter)
        _percent_axis(axes)
        axes.set_xlim(left=0.0)
        axes.set_xlabel("minutes since the demo began; the numbers on top are its phases")
        return svg(figure, axes, "Share of good answers as users saw them", legend=True, columns=3)


def draw_heldout(heldout: HeldoutShare) -> str:
    """Return the held-out good share of base and promoted adapter as two bars."""
    with styled():
        figure, axes = canvas(SIZE_IN)
        names, shares = ("base model", "promoted adapter"), (heldout.base, heldout.promoted)
        bars = axes.bar(names, shares, color=(BASELINE, CANARY), width=0.5)
        axes.bar_label(bars, fmt=lambda share: f"{share:.1%}", padding=2)
        _percent_axis(axes)
        return svg(figure, axes, "Share of good answers on held-out questions")


def draw_losses(curves: Sequence[LossCurve], colours: Mapping[str, str]) -> str:
    """Return the training loss of each run over its steps."""
    with styled():
        figure, axes = canvas(SIZE_IN)
        for curve in curves:
            colour = colours.get(curve.adapter, THIRD)
            axes.plot(curve.steps, curve.losses, color=colour, label=curve.adapter)
        axes.set_ylim(bottom=0.0)
        axes.set_xlabel("training step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return svg(figure, axes, "Training loss", legend=True, columns=3)


def draw_canary_share(track: RolloutTrack, title: str) -> str:
    """Return the share of subjects in the canary arm over the rollout's seconds."""
    with styled():
        figure, axes = canvas(SMALL_SIZE_IN)
        axes.step(
            track.times_s,
            track.share,
            color=CANARY,
            where="post",
            marker=marker(len(track.times_s)),
        )
        _percent_axis(axes)
        axes.set_xlabel("seconds since the rollout began")
        return svg(figure, axes, title)


def draw_evidence(track: RolloutTrack, title: str) -> str:
    """Return both e-values over the rollout's seconds, with the thresholds that decide."""
    curves = (
        ("canary is better", track.better_log10, CANARY),
        ("canary is worse", track.worse_log10, HARM),
    )
    known = [value for _, values, _ in curves for value in values if value is not None]
    low, high = min([-1.0, *known]), max([2.5, *known])
    with styled():
        figure, axes = canvas(SIZE_IN)
        for label, values, colour in curves:
            axes.plot(
                track.times_s,
                floats(values),
                color=colour,
                label=label,
                marker=marker(len(track.times_s)),
            )
        _mark_limits(axes, track)
        axes.set_ylim(max(low, -LOG10_SHOWN) - 0.5, min(high, LOG10_SHOWN) + 0.5)
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(lambda value, _place: f"{10.0**value:g}")
        axes.set_xlabel("seconds since the rollout began")
        return svg(figure, axes, title, legend=True, columns=3)


def draw_phases(phases: Sequence[Phase]) -> str:
    """Return the seconds of each phase as bars, in order of time from the top."""
    with styled():
        figure, axes = canvas((2 * SIZE_IN[0], max(1.5, 0.22 * len(phases) + 0.5)))
        names = [f"{number} {phase.name}" for number, phase in enumerate(phases, start=1)]
        bars = axes.barh(names, [phase.seconds for phase in phases], color=CANARY, height=0.6)
        axes.bar_label(bars, fmt=lambda seconds: f"{seconds:.0f}", padding=3)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.margins(x=0.08)
        axes.set_xlabel("seconds")
        return svg(figure, axes, "Seconds of each phase")


def _percent_axis(axes: Axes) -> None:
    axes.set_ylim(-0.02, 1.06)
    axes.yaxis.set_major_formatter(lambda value, _place: f"{value:.0%}")


def _mark_phases(axes: Axes, phases: Sequence[Phase]) -> None:
    for number, phase in enumerate(phases, start=1):
        minute = phase.began_s / MINUTE_S
        axes.axvline(minute, color=LINE, linewidth=1.0)
        axes.annotate(
            str(number),
            (minute, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(2, -8 if number % 2 else -17),  # short phases lie close together
            textcoords="offset points",
            fontsize=8.0,
            color=MUTED,
        )


def _mark_limits(axes: Axes, track: RolloutTrack) -> None:
    limits = {track.promote_at_log10: "promote"}
    if track.roll_back_at_log10 in limits:
        limits = {track.promote_at_log10: "promote, roll back"}
    else:
        limits[track.roll_back_at_log10] = "roll back"
    for log10, label in limits.items():
        axes.axhline(log10, color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)))
        axes.annotate(
            label,
            (0.0, log10),
            xycoords=("axes fraction", "data"),
            xytext=(3, 2),
            textcoords="offset points",
            fontsize=8.0,
            color=MUTED,
        )


def _rolling(answers: Sequence[SeenAnswer]) -> tuple[list[float], list[float]]:
    """Return minutes, and the share of good ones among the last `WINDOW` answers at each.

    A pause breaks the line and begins a new window: nothing was seen in between.
    """
    minutes: list[float] = []
    shares: list[float] = []
    window: list[bool] = []
    last_s = answers[0].time_s if answers else 0.0
    for answer in answers:
        if answer.time_s - last_s > PAUSE_S:
            window = []
            minutes.append(last_s / MINUTE_S)
            shares.append(float("nan"))
        window = [*window, answer.good][-WINDOW:]
        last_s = answer.time_s
        if len(window) >= WINDOW // 4:  # a share of fewer says nothing
            minutes.append(last_s / MINUTE_S)
            shares.append(sum(window) / len(window))
    return minutes, shares
