"""The commands `ratchet advise` and `ratchet estimate`: what to train, and what it would take.

Thin, as `loop.cli`: `retrain.money.advice` and `retrain.estimate` reckon. What is not said is taken
from the store when there is one, and each number tells where it is from.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import RequestError
from loop.figures import Figure, Whose, as_plain, figure, print_figures, print_legend
from loop.terminal import AsJson, out, print_json, print_table, settings_of
from retrain.estimate import GB, PART_SOURCES, reached_flops

if TYPE_CHECKING:  # `ratchet --help` answers before these are loaded
    from loop.project_facts import ProjectFacts
    from retrain.estimate import Estimate, Plan, Shape

KINDS = ("instructions", "domain", "behaviour", "task")
EXAMPLES = 1_000  # where nobody said and no dataset is. Guide, "Quantity Guidelines": 100 and more


def advise(
    context: typer.Context,
    examples: Annotated[int | None, typer.Option(min=0, help="good ones that there are")] = None,
    kind: Annotated[str, typer.Option(help=f"of task: {', '.join(KINDS)}")] = "behaviour",
    budget: Annotated[float | None, typer.Option(min=0.0, help="US dollars")] = None,
    model_billions: Annotated[float | None, typer.Option(min=0.01, help="parameters")] = None,
    gpu_gb: Annotated[float | None, typer.Option(min=0.0, help="of all GPUs together")] = None,
    strict_latency: Annotated[bool, typer.Option(help="answers must come at once")] = False,
    knowledge_changes: Annotated[bool, typer.Option(help="facts change every few weeks")] = False,
    simple_task: Annotated[bool, typer.Option(help="a prompt nearly does it")] = False,
    private_data: Annotated[bool, typer.Option(help="data may not leave")] = False,
    application: Whose = None,
    as_json: AsJson = False,
) -> None:
    """Say which method fits, or whether prompting or retrieval would do instead."""
    from loop.project_facts import read_facts
    from retrain.money import advice

    if kind not in KINDS:
        raise RequestError(f"--kind is {kind!r}: use one of {', '.join(KINDS)}", field="kind")
    facts = read_facts(settings_of(context), application)
    stored = None if facts.parameters is None else facts.parameters / 1e9
    known = figure(examples, facts.examples, None)
    size = figure(model_billions, stored, None)
    if known.value is None:
        raise RequestError("no dataset version is here yet: say --examples", field="examples")
    found = advice.advise(
        advice.Situation(
            examples=known.value,
            kind=kind,  # type: ignore[arg-type]
            budget_usd=budget,
            strict_latency=strict_latency,
            knowledge_changes=knowledge_changes,
            simple_task=simple_task,
            private_data=private_data,
            model_billions=size.value,
            gpu_gb=gpu_gb,
        )
    )
    if as_json:
        used = {"examples": known, "model_billions": size}
        print_json(asdict(found) | {"figures": as_plain(used)})
        return
    out.print(f"[bold]{found.way}[/]")
    for line in found.reasons:
        out.print(f"  because {line}", highlight=False)
    for line in found.cautions:
        out.print(f"  mind: {line}", highlight=False)
    print_figures({"examples": known, "model, billions of weights": size})


def estimate(
    context: typer.Context,
    recipe: Annotated[str | None, typer.Option(help="a recipe; default: the settings'")] = None,
    examples: Annotated[int | None, typer.Option(min=1, help="that are learnt")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="of one")] = None,
    memory_gb: Annotated[float | None, typer.Option(min=0.1, help="default: this machine")] = None,
    tflops: Annotated[float | None, typer.Option(min=0.001, help="that are reached")] = None,
    application: Whose = None,
    as_json: AsJson = False,
) -> None:
    """Estimate memory and time of a training before it begins; say what would fit.

    What is not said is the store's: the newest dataset's examples, the tokens of a request with its
    answer, the speed of the last run. Else: 1,000 examples of max_length, on this machine.
    """
    from loop.project_facts import read_facts
    from retrain.estimate import Device
    from retrain.estimate import estimate as reckon
    from retrain.mends import mends
    from retrain.model_shape import read_model_type, read_shape
    from retrain.money.advice import hardware_words
    from retrain.parallel.plan import planned
    from retrain.recipe import load_recipe
    from retrain.recipe_plan import Lengths, Place, plan_of, tokens_of
    from retrain.runs.devices import find_devices
    from retrain.runs.ranks import shared

    settings = settings_of(context)
    facts = read_facts(settings, application)
    parallel = planned(settings)
    whole = load_recipe(recipe or settings.retrain.recipe).for_mode("full")
    chosen = shared(whole, parallel.processes)
    mean = None if facts.tokens is None else max(1, round(facts.tokens))
    rows = figure(examples, facts.examples or None, EXAMPLES)
    length = figure(tokens, mean, chosen.max_length, "settings")
    shape = read_shape(settings.engine.model)
    lengths = Lengths(rows.value, min(length.value, chosen.max_length), chosen.max_length)
    # with a size or a speed of one's own another machine is meant: one with a GPU
    here = memory_gb is None and tflops is None and find_devices() == ("cpu",)
    place = Place(here, bfloat16=not here, processes=parallel.processes, zero=parallel.stage)
    plan = plan_of(chosen, lengths, place, read_model_type(settings.engine.model))
    sharing = plan.processes if here else 1  # processes of one machine share what it has
    memory, flops = _memory(memory_gb, sharing), _flops(tflops, facts, shape, plan, sharing)
    total, _ = tokens_of(chosen, lengths)
    found = reckon(shape, plan, Device(memory.value, flops.value), total_tokens=total)
    would = [str(mend) for mend in mends(shape, plan, memory.value)] if not found.fits else []
    guide = hardware_words(shape.parameters / 1e9)
    used = {
        "examples": rows,
        "tokens of one": length,
        "memory, GB": Figure(memory.value / GB, memory.source),
        "speed, TFLOPS": Figure(flops.value / 1e12, flops.source),
    }
    if as_json:
        plain = asdict(found) | {"memory_bytes": found.memory_bytes, "mends": would, "guide": guide}
        print_json(plain | {"sources": PART_SOURCES, "figures": as_plain(used)})
        return
    _print_estimate(found, memory.value, would)
    out.print(guide, highlight=False, soft_wrap=True)
    print_figures(used)


def _memory(said_gb: float | None, sharing: int) -> Figure[float]:
    from retrain.runs.memory import machine_room

    if said_gb is not None:
        return Figure(said_gb * GB, "said")
    return Figure(machine_room().free / sharing, "machine")


def _flops(
    said: float | None, facts: ProjectFacts, shape: Shape, plan: Plan, sharing: int
) -> Figure[float]:
    """Return the operations a second a process reaches: as said, as the last run did, or here."""
    from retrain.speed import cpu_flops

    if said is not None:
        return Figure(said * 1e12, "said")
    if speed := facts.run_tokens_per_s:
        return Figure(reached_flops(shape, plan, speed), "store")
    return Figure(cpu_flops() / sharing, "machine")


def _print_estimate(found: Estimate, memory: float, would: list[str]) -> None:
    rows = [(name, f"{size / GB:.2f} GB", PART_SOURCES[name]) for name, size in found.parts.items()]
    rows.append(("all", f"{found.memory_bytes / GB:.2f} GB", "reckoned"))
    rows.append(("time", f"{found.seconds / 60:.0f} minutes", "flops"))
    print_table(("what", "needs", "source"), rows)
    print_legend([*PART_SOURCES.values(), "reckoned", "flops"])
    if found.fits:
        out.print(f"it fits into {memory / GB:.1f} GB", highlight=False)
    else:
        out.print("it does not fit; this would:", highlight=False)
    for mend in would:
        out.print(f"  {mend}", highlight=False, soft_wrap=True)
