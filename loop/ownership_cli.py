"""The command `ratchet cost ownership`: what owning a fine-tuned model costs, and whether it pays.

Thin: `retrain.money.ownership` reckons. Rows that are not said are the store's where it can tell
them, else the fine-tuning guide's example, and each says which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from loop.figures import Figure, Whose, figure, print_legend
from loop.terminal import AsJson, print_json, print_table, settings_of

if TYPE_CHECKING:  # `ratchet --help` answers before these are loaded
    from loop.project_facts import ProjectFacts
    from retrain.money.ownership import Instead, Item, Ownership


def cost_ownership(
    context: typer.Context,
    once: Annotated[float | None, typer.Option(min=0.0, help="$ before it serves, in all")] = None,
    monthly: Annotated[float | None, typer.Option(min=0.0, help="$ by the month, in all")] = None,
    data_tools: Annotated[float | None, typer.Option(min=0.0, help="$ for others' tools")] = None,
    own_price: Annotated[float | None, typer.Option(min=0.0, help="$ a million tokens")] = None,
    engine_hourly: Annotated[float | None, typer.Option(min=0.0, help="$ of its machine")] = None,
    monitoring: Annotated[float | None, typer.Option(min=0.0, help="$ by the month")] = None,
    retrainings: Annotated[float | None, typer.Option(min=0.0, help="by the month")] = None,
    staff_hours: Annotated[float | None, typer.Option(min=0.0, help="by the month")] = None,
    staff_wage: Annotated[float | None, typer.Option(min=0.0, help="$ an hour")] = None,
    tokens: Annotated[float | None, typer.Option(min=0.0, help="a month, else by an API")] = None,
    token_price: Annotated[float | None, typer.Option(min=0.0, help="$ a million there")] = None,
    work_hours: Annotated[float, typer.Option(min=0.0, help="of people spared by the month")] = 0.0,
    wage: Annotated[float, typer.Option(min=0.0, help="$ an hour of theirs")] = 0.0,
    months: Annotated[int, typer.Option(min=1, help="that are looked at")] = 12,
    application: Whose = None,
    as_json: AsJson = False,
) -> None:
    """Reckon total cost, return and break-even.

    What is not said is the store's; what that cannot tell is the guide's example.
    """
    from loop.project_facts import read_facts
    from retrain.money import ownership as money

    facts = read_facts(settings_of(context), application)
    used = figure(tokens, facts.tokens_per_month, 0.0)
    price = figure(token_price, None, money.API_PER_MILLION, "tco")
    items = [
        *_said(money.TOOLS, data_tools),
        *_said(money.MONITORING, monitoring),
        *_inference(used, own_price, engine_hourly),
        *_kept(facts),
        *_retraining(facts, retrainings),
        *_staff(staff_hours, staff_wage),
    ]
    own = money.Ownership().but(items)
    if once is not None:
        own = money.Ownership(tuple(_said("once", once)), own.monthly)
    if monthly is not None:
        own = money.Ownership(own.once, tuple(_said("monthly", monthly)))
    instead = money.Instead(used.value, price.value, work_hours, wage)
    told = _told(own, instead, months, used, price)
    if as_json:
        print_json(told)
        return
    _print(own, told)


def _said(name: str, usd: float | None) -> list[Item]:
    from retrain.money.ownership import Item

    return [] if usd is None else [Item(name, usd, "", ("said",))]


def _inference(
    used: Figure[float], own_price: float | None, engine_hourly: float | None
) -> list[Item]:
    from retrain.money import ownership as money

    if engine_hourly is not None:
        return [money.engine_item(engine_hourly, ("said",))]
    if own_price is None:
        return []
    return [money.inference_item(used.value, own_price, (used.source, "said"))]


def _kept(facts: ProjectFacts) -> list[Item]:
    """Return what the store tells of the first training and the model's size."""
    from retrain.money import ownership as money

    found: list[Item] = []
    if facts.run_usd is not None:
        found.append(money.Item(money.TRAINING, facts.run_usd, "as the newest run", ("store",)))
    if facts.parameters is not None:
        found.append(money.storage_item(facts.parameters, ("store", "room", "data")))
    return found


def _retraining(facts: ProjectFacts, said: float | None) -> list[Item]:
    from retrain.money import ownership as money

    if said is None and facts.run_usd is None:
        return []
    times = figure(said, facts.runs_per_month, money.RETRAININGS, "tco")
    each = figure(None, facts.run_usd, money.RETRAINING_USD, "tco")
    return [money.retraining_item(times.value, each.value, (times.source, each.source))]


def _staff(hours: float | None, wage: float | None) -> list[Item]:
    from retrain.money import ownership as money

    if hours is None:
        return []
    each = figure(wage, None, money.WAGE, "tco")
    return [money.staff_item(hours, each.value, ("said", each.source))]


def _told(
    own: Ownership, instead: Instead, months: int, used: Figure[float], price: Figure[float]
) -> dict[str, Any]:
    from retrain.money import ownership as money

    rows = (*own.once, *own.monthly)
    return {
        "once": {item.name: item.usd for item in own.once},
        "monthly": {item.name: item.usd for item in own.monthly},
        "because": {item.name: item.because for item in rows if item.because},
        "sources": {item.name: item.sources for item in rows},
        "months": months,
        "total": own.total(months),
        "tokens_per_month": {"value": used.value, "source": used.source},
        "api_usd_per_million": {"value": price.value, "source": price.source},
        "api_monthly": instead.api,
        "inference_saving_monthly": money.inference_saving(own, instead),
        "spared_monthly": instead.monthly,
        "roi": money.roi(own, instead, months),
        "break_even_months": money.break_even_months(own, instead),
    }


def _print(own: Ownership, told: dict[str, Any]) -> None:
    rows = [
        (f"{when} {item.name}", f"${item.usd:,.2f}", item.because, _keys(item.sources))
        for when, items in (("once:", own.once), ("monthly:", own.monthly))
        for item in items
    ]
    saving, back, after = told["inference_saving_monthly"], told["roi"], told["break_even_months"]
    used, price = told["tokens_per_month"], told["api_usd_per_million"]
    api = f"{used['value']:,.0f} tokens at ${price['value']:g} a million"
    found = [
        ("before it serves", f"${own.before:,.0f}", ""),
        ("by the month", f"${own.by_the_month:,.0f}", ""),
        (f"in {told['months']} months", f"${told['total']:,.0f}", ""),
        ("an API by the month", f"${told['api_monthly']:,.2f}", api),
        (
            "own inference spares against it",
            "no tokens to compare" if saving is None else f"{_dollars(saving)} by the month",
            "",
        ),
        ("spared by the month", f"${told['spared_monthly']:,.0f}", "the API, and people's work"),
        ("return on it", "none: all is free" if back is None else f"{back:+.0%}", ""),
        ("paid back", "never" if after is None else f"after {after} months", ""),
    ]
    keys = {"an API by the month": _keys((used["source"], price["source"]))}
    sums = [(name, value, how, keys.get(name, "reckoned")) for name, value, how in found]
    print_table(("what", "value", "how", "source"), [*rows, *sums])
    used_keys = [key for item in (*own.once, *own.monthly) for key in item.sources]
    print_legend([*used_keys, used["source"], price["source"], "reckoned"])


def _keys(sources: tuple[str, ...]) -> str:
    return ", ".join(dict.fromkeys(sources))


def _dollars(usd: float) -> str:
    return f"-${-usd:,.2f}" if usd < 0.0 else f"${usd:,.2f}"
