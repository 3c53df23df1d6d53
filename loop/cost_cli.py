"""The commands on money: `ratchet cost …`.

Thin, as `loop.cli`: numbers are reckoned in `retrain.money`; what is not said is taken from the
store when there is one, else from the fine-tuning guide, and each number tells where it is from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import RequestError
from loop.figures import Figure, Whose, figure, print_legend
from loop.ownership_cli import cost_ownership
from loop.terminal import AsJson, out, print_json, print_table, settings_of

if TYPE_CHECKING:  # `ratchet --help` answers before these are loaded
    from core.cost_settings import CostSettings
    from retrain.money.training import DataRates

cost_app = typer.Typer(no_args_is_help=True, help="What training costs, did cost, and is worth.")
cost_app.command("ownership")(cost_ownership)


@cost_app.command("prices")
def cost_prices(context: typer.Context, as_json: AsJson = False) -> None:
    """List what machines cost by the hour."""
    from retrain.money.prices import read_prices

    costs = settings_of(context).costs
    table = read_prices(costs)
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
    print_legend(["compute" if costs.prices is None else "settings"])


@cost_app.command("training")
def cost_training(
    context: typer.Context,
    hours: Annotated[float | None, typer.Option(min=0.0, help="of training")] = None,
    instance: Annotated[str | None, typer.Option(help="of `ratchet cost prices`")] = None,
    spot: Annotated[bool, typer.Option(help="by spot machines")] = False,
    annotated: Annotated[int, typer.Option(min=0, help="examples that people write")] = 0,
    reviewed: Annotated[int, typer.Option(min=0, help="examples that experts look at")] = 0,
    synthetic: Annotated[int, typer.Option(min=0, help="examples that a model writes")] = 0,
    checkpoints: Annotated[int, typer.Option(min=0, help="kept for a month")] = 0,
    full: Annotated[bool, typer.Option(help="every weight is trained, not an adapter")] = False,
    application: Whose = None,
    as_json: AsJson = False,
) -> None:
    """Reckon what a training will cost, from the data on; unsaid hours are the last run's."""
    from loop.project_facts import read_facts
    from retrain.money.training import DataWork, Machine, training_bill

    settings = settings_of(context)
    stored = read_facts(settings, application).run_hours if hours is None else None
    taken = figure(hours, stored, None)
    if taken.value is None:
        raise RequestError("no training was timed here yet: say --hours", field="hours")
    price = _price(settings.costs, instance)
    discount = settings.costs.spot_discount if spot else 0.0
    bill = training_bill(
        Machine(taken.value, price.value, discount, (taken.source, price.source)),
        DataWork(annotated, reviewed, synthetic),
        _rates(settings.costs),
        checkpoints=checkpoints,
        full=full,
    )
    if as_json:
        told = {"parts": bill.parts, "because": bill.because, "sources": bill.sources}
        print_json({"total": bill.total, **told})
        return
    rows = [
        (name, f"${usd:,.2f}", bill.because[name], ", ".join(bill.sources[name]))
        for name, usd in bill.parts.items()
    ]
    rows.append(("all", f"${bill.total:,.2f}", "", "reckoned"))
    print_table(("for", "cost", "how", "source"), rows)
    print_legend([key for keys in bill.sources.values() for key in keys] + ["reckoned"])


def _price(costs: CostSettings, instance: str | None) -> Figure[float]:
    """Return what an hour costs.

    Raises: RequestError when nobody said; SettingsError for an unknown instance.
    """
    from retrain.money.prices import find_machine, hourly_price, read_prices

    if instance is not None:
        table = "compute" if costs.prices is None else "settings"
        return Figure(find_machine(read_prices(costs), instance).usd_per_hour, table)
    price = hourly_price(costs)
    if price is None:
        raise RequestError("no price is known: say --instance, or set costs.usd_per_hour")
    return Figure(price, "settings")


def _rates(costs: CostSettings) -> DataRates:
    from retrain.money.training import DataRates

    return DataRates(
        annotation_minutes=costs.annotation_minutes,
        review_minutes=costs.review_minutes,
        annotation_per_hour=costs.annotation_usd_per_hour,
        expert_per_hour=costs.expert_usd_per_hour,
        synthetic_per_example=costs.synthetic_usd_per_example,
    )


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
    out.print("minutes: measured by each run; cost: by costs.usd_per_hour or costs.instance then")


def _usd(machine: Any) -> str:
    return f"{machine.usd_per_hour:.2f}"
