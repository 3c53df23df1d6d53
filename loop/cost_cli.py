"""The commands on money: `ratchet cost …`, `ratchet advise` and `ratchet estimate`.

Thin, as `loop.cli`: numbers are reckoned in `retrain.money` and `retrain.estimate`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from core.errors import RequestError
from loop.terminal import AsJson, out, print_json, print_table, settings_of

cost_app = typer.Typer(no_args_is_help=True, help="What training costs, did cost, and is worth.")

KINDS = ("instructions", "domain", "behaviour", "task")
CPU_FLOPS = 4e10  # two cores with AVX2, as measured by `make bench-train`; a GPU: --tflops


@cost_app.command("prices")
def cost_prices(context: typer.Context, as_json: AsJson = False) -> None:
    """List what machines cost by the hour."""
    from retrain.money.prices import read_prices

    table = read_prices(settings_of(context).costs)
    if as_json:
        print_json({name: machine.model_dump() for name, machine in table.items()})
        return
    print_table(
        ("instance", "GPUs", "$ an hour"),
        [
            (name, f"{machine.gpus} {machine.gpu} {machine.gpu_gb:g} GB", _usd(machine))
            for name, machine in table.items()
        ],
    )


@cost_app.command("training")
def cost_training(
    context: typer.Context,
    hours: Annotated[float, typer.Option(min=0.0, help="of training")],
    instance: Annotated[str | None, typer.Option(help="of `ratchet cost prices`")] = None,
    spot: Annotated[bool, typer.Option(help="by spot machines")] = False,
    annotated: Annotated[int, typer.Option(min=0, help="examples that people write")] = 0,
    reviewed: Annotated[int, typer.Option(min=0, help="examples that experts look at")] = 0,
    synthetic: Annotated[int, typer.Option(min=0, help="examples that a model writes")] = 0,
    checkpoints: Annotated[int, typer.Option(min=0, help="kept for a month")] = 0,
    as_json: AsJson = False,
) -> None:
    """Reckon what a training will cost, from the data on."""
    from retrain.money.prices import hourly_price
    from retrain.money.training import DataWork, training_bill

    costs = settings_of(context).costs
    if instance is not None:
        costs = costs.model_copy(update={"instance": instance, "usd_per_hour": None})
    price = hourly_price(costs)
    if price is None:
        raise RequestError("no price is known: say --instance, or set costs.usd_per_hour")
    bill = training_bill(
        hours,
        price,
        DataWork(annotated, reviewed, synthetic),
        spot_discount=costs.spot_discount if spot else 0.0,
        checkpoints=checkpoints,
    )
    if as_json:
        print_json({"total": bill.total, "parts": bill.parts, "because": bill.because})
        return
    rows = [(name, f"${usd:,.2f}", bill.because[name]) for name, usd in bill.parts.items()]
    print_table(("for", "cost", "how"), [*rows, ("all", f"${bill.total:,.2f}", "")])


@cost_app.command("runs")
def cost_runs(
    context: typer.Context,
    application: Annotated[str | None, typer.Argument(help="of this application only")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what each training cost, and the adapter that it made."""
    from sqlmodel import col, select

    from feedback.tables import Adapter, Run
    from loop.wiring import open_parts

    query = select(Run).order_by(col(Run.started_at))
    if application is not None:
        query = query.where(Run.application == application)
    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        runs = session.exec(query).all()
        made = {run: name for name, run in session.exec(select(Adapter.name, Adapter.run_id))}
    rows: list[dict[str, Any]] = [
        {
            "run": run.id,
            "adapter": made.get(run.id),
            "seconds": run.details.get("system", {}).get("seconds"),  # of the machine that trained
            "usd": run.details.get("cost"),
        }
        for run in runs
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("run", "adapter", "minutes", "cost"),
        [
            (
                row["run"],
                row["adapter"] or "none",
                "unknown" if row["seconds"] is None else f"{row['seconds'] / 60:.1f}",
                "unknown" if row["usd"] is None else f"${row['usd']:,.2f}",
            )
            for row in rows
        ],
    )


@cost_app.command("ownership")
def cost_ownership(
    once: Annotated[float | None, typer.Option(min=0.0, help="$ before it serves")] = None,
    monthly: Annotated[float | None, typer.Option(min=0.0, help="$ by the month")] = None,
    tokens: Annotated[float, typer.Option(min=0.0, help="tokens a month, else by an API")] = 0.0,
    token_price: Annotated[float, typer.Option(min=0.0, help="$ a million of the API's")] = 0.0,
    work_hours: Annotated[float, typer.Option(min=0.0, help="of people spared by the month")] = 0.0,
    wage: Annotated[float, typer.Option(min=0.0, help="$ an hour of theirs")] = 0.0,
    months: Annotated[int, typer.Option(min=1, help="that are looked at")] = 12,
    as_json: AsJson = False,
) -> None:
    """Reckon total cost, return and break-even; what is not said is the guide's example."""
    from retrain.money.ownership import Instead, Ownership, break_even_months, roi

    default = Ownership()
    own = Ownership(
        once=default.once if once is None else {"once": once},
        monthly=default.monthly if monthly is None else {"monthly": monthly},
    )
    instead = Instead(tokens, token_price, work_hours, wage)
    back, after = roi(own, instead, months), break_even_months(own, instead)
    facts = {
        "once": own.once,
        "monthly": own.monthly,
        "months": months,
        "total": own.total(months),
        "spared_monthly": instead.monthly,
        "roi": back,
        "break_even_months": after,
    }
    if as_json:
        print_json(facts)
        return
    print_table(
        ("what", "value"),
        [
            ("before it serves", f"${sum(own.once.values()):,.0f}"),
            ("by the month", f"${sum(own.monthly.values()):,.0f}"),
            (f"in {months} months", f"${own.total(months):,.0f}"),
            ("spared by the month", f"${instead.monthly:,.0f}"),
            ("return on it", "none: all is free" if back is None else f"{back:+.0%}"),
            ("paid back", "never" if after is None else f"after {after} months"),
        ],
    )


def advise(
    examples: Annotated[int, typer.Option(min=0, help="good examples that there are")],
    kind: Annotated[str, typer.Option(help=f"of task: {', '.join(KINDS)}")] = "behaviour",
    budget: Annotated[float | None, typer.Option(min=0.0, help="US dollars")] = None,
    model_billions: Annotated[float | None, typer.Option(min=0.01, help="parameters")] = None,
    gpu_gb: Annotated[float | None, typer.Option(min=0.0, help="of all GPUs together")] = None,
    strict_latency: Annotated[bool, typer.Option(help="answers must come at once")] = False,
    knowledge_changes: Annotated[bool, typer.Option(help="facts change every few weeks")] = False,
    simple_task: Annotated[bool, typer.Option(help="a prompt nearly does it")] = False,
    private_data: Annotated[bool, typer.Option(help="data may not leave")] = False,
    as_json: AsJson = False,
) -> None:
    """Say which method fits, or whether prompting or retrieval would do instead."""
    from retrain.money import advice

    if kind not in KINDS:
        raise RequestError(f"--kind is {kind!r}: use one of {', '.join(KINDS)}", field="kind")
    found = advice.advise(
        advice.Situation(
            examples=examples,
            kind=kind,  # type: ignore[arg-type]
            budget_usd=budget,
            strict_latency=strict_latency,
            knowledge_changes=knowledge_changes,
            simple_task=simple_task,
            private_data=private_data,
            model_billions=model_billions,
            gpu_gb=gpu_gb,
        )
    )
    if as_json:
        print_json(asdict(found))
        return
    out.print(f"[bold]{found.way}[/]")
    for line in found.reasons:
        out.print(f"  because {line}", highlight=False)
    for line in found.cautions:
        out.print(f"  mind: {line}", highlight=False)


def estimate(
    context: typer.Context,
    recipe: Annotated[str | None, typer.Option(help="a recipe; default: the settings'")] = None,
    examples: Annotated[int, typer.Option(min=1, help="that are learnt")] = 1_000,
    tokens: Annotated[int | None, typer.Option(min=1, help="of one; default: max_length")] = None,
    memory_gb: Annotated[float | None, typer.Option(min=0.1, help="default: this machine")] = None,
    tflops: Annotated[float | None, typer.Option(min=0.001, help="that are reached")] = None,
    as_json: AsJson = False,
) -> None:
    """Estimate memory and time of a training before it begins; say what would fit."""
    import psutil

    from retrain.estimate import GB, Device
    from retrain.estimate import estimate as reckon
    from retrain.model_shape import read_shape
    from retrain.recipe import load_recipe
    from retrain.recipe_plan import plan_of

    settings = settings_of(context)
    chosen = load_recipe(recipe or settings.retrain.recipe).for_mode("full")
    length = tokens or chosen.max_length
    memory = psutil.virtual_memory().available if memory_gb is None else memory_gb * GB
    device = Device(memory, CPU_FLOPS if tflops is None else tflops * 1e12)
    plan = plan_of(chosen, length, processes=settings.launchers.local.processes)
    total = round(examples * length * chosen.epochs)
    found = reckon(read_shape(settings.engine.model), plan, device, total_tokens=total)
    if as_json:
        print_json(asdict(found) | {"memory_bytes": found.memory_bytes})
        return
    rows = [(name, f"{size / GB:.2f} GB") for name, size in found.parts.items()]
    print_table(("memory for", "size"), [*rows, ("all", f"{found.memory_bytes / GB:.2f} GB")])
    out.print(f"of {memory / GB:.1f} GB; about {found.seconds / 60:.0f} minutes", highlight=False)
    if found.suggestion:
        out.print(f"it does not fit; this would: {found.suggestion}", highlight=False)


def _usd(machine: Any) -> str:
    return f"{machine.usd_per_hour:.2f}"
