"""The commands on alerts: `ratchet incidents list|show|note|resolve|silence|…`.

Thin, as `loop.cli`. An incident is a rule that fired, until it is resolved.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from core.errors import RequestError
from loop.durations import duration
from loop.terminal import (
    AsJson,
    Operator,
    Reason,
    out,
    print_json,
    print_row,
    print_table,
    require_words,
    settings_of,
)

if TYPE_CHECKING:
    from feedback.alert_tables import Silence

incidents_app = typer.Typer(no_args_is_help=True, help="Alerts that fired, and who is told.")

IncidentId = Annotated[str, typer.Argument(help="as `ratchet incidents list` shows it")]
OfApplication = Annotated[str | None, typer.Option("--application", help="of this one only")]
MINUTE = "%Y-%m-%d %H:%M"


@incidents_app.command("list")
def incidents_list(
    context: typer.Context,
    application: OfApplication = None,
    everything: Annotated[bool, typer.Option("--all", help="resolved ones, too")] = False,
    limit: Annotated[int, typer.Option(min=1, help="the newest so many")] = 100,
    as_json: AsJson = False,
) -> None:
    """List incidents, newest first."""
    from loop.wiring import open_parts
    from monitoring.alerts.incidents import list_incidents

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        rows = list_incidents(session, application=application, resolved=everything, limit=limit)
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    print_table(
        ("incident", "severity", "rule", "application", "state", "since", "what"),
        [
            (
                *(row.id, row.severity, row.rule, row.application or "(service)", row.state),
                *(f"{row.opened_at:{MINUTE}}", row.summary),
            )
            for row in rows
        ],
    )


@incidents_app.command("show")
def incidents_show(context: typer.Context, incident: IncidentId, as_json: AsJson = False) -> None:
    """Show an incident with its timeline."""
    from loop.wiring import open_parts
    from monitoring.alerts.incidents import get_incident, timeline

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        row = get_incident(session, incident)
        notes = timeline(session, incident)
    if as_json:
        shown = [note.model_dump(mode="json", exclude={"incident_id"}) for note in notes]
        print_json({**row.model_dump(mode="json"), "timeline": shown})
        return
    whose = row.application or "the service"
    out.print(f"{row.severity} {row.rule} of {whose}: {row.state}", markup=False, highlight=False)
    out.print(row.summary, markup=False, highlight=False)
    for what, url in {**row.labels, **row.links}.items():
        out.print(f"{what}: {url}", markup=False, highlight=False, soft_wrap=True)
    print_table(
        ("at", "what", "by", "words"),
        [
            (
                *(f"{note.at:{MINUTE}:%S}", note.kind, note.author),
                f"{note.text} {note.link or ''}".strip(),
            )
            for note in notes
        ],
    )


@incidents_app.command("note")
def incidents_note(
    context: typer.Context,
    incident: IncidentId,
    text: Annotated[str, typer.Argument(help="what you found or did")],
    by: Operator,
    link: Annotated[str | None, typer.Option(help="a URL that belongs to it")] = None,
    as_json: AsJson = False,
) -> None:
    """Add a note to an incident's timeline."""
    from core.clock import utc_now
    from feedback.audit import HumanAct, record
    from loop.wiring import open_parts
    from monitoring.alerts.incidents import get_incident, note

    require_words(by=by, text=text)
    if link is not None and not link.startswith(("http://", "https://")):
        raise RequestError(f"--link is {link!r}: write a URL such as https://…", field="link")
    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        get_incident(session, incident)
        row = note(session, incident, "note", text, author=by, link=link, now=utc_now())
        record(session, HumanAct(by, "incident_noted", "incident", incident))
        session.commit()
    if as_json:
        print_row(row)
    else:
        out.print(f"noted on {incident}", highlight=False)


@incidents_app.command("resolve")
def incidents_resolve(
    context: typer.Context,
    incident: IncidentId,
    by: Operator,
    reason: Reason,
    as_json: AsJson = False,
) -> None:
    """Resolve an incident by hand; a rule that still holds fires again, as a new one."""
    from core.clock import utc_now
    from feedback.audit import HumanAct, record
    from loop.wiring import open_parts
    from monitoring.alerts.incidents import resolve_by_hand

    require_words(by=by, reason=reason)
    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        row = resolve_by_hand(session, incident, by=by, reason=reason, now=utc_now())
        record(session, HumanAct(by, "incident_resolved", "incident", incident, reason=reason))
        session.commit()
    if as_json:
        print_row(row)
    else:
        out.print(f"{incident} is resolved", highlight=False)


@incidents_app.command("silence")
def incidents_silence(
    context: typer.Context,
    by: Operator,
    reason: Reason,
    for_: Annotated[str, typer.Option("--for", help="how long: 30m, 2h, 1d")],
    incident: Annotated[
        str | None, typer.Argument(help="an incident, for its rule and application; or:")
    ] = None,
    rule: Annotated[str | None, typer.Option(help="of this rule only")] = None,
    application: OfApplication = None,
    as_json: AsJson = False,
) -> None:
    """Tell nobody for a time: of an incident's rule, or of a rule, an application, or both."""
    from core.clock import utc_now
    from core.ids import new_id
    from feedback.alert_tables import Silence
    from feedback.audit import HumanAct, record
    from loop.wiring import open_parts
    from monitoring.alerts.incidents import add_silence, get_incident
    from monitoring.alerts.rules import load_rules

    require_words(by=by, reason=reason)
    if (incident is None) == (rule is None and application is None):
        raise RequestError("name an incident, or --rule, --application, or both", field="incident")
    now, length = utc_now(), duration(for_, "for")
    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        if incident is not None:
            row = get_incident(session, incident)
            rule, application = row.rule, row.application
        else:
            _require_known(
                rule, {known.name for known in load_rules(parts.settings.alerts)}, "rule"
            )
            _require_known(application, set(parts.settings.applications), "application")
        silence = add_silence(
            session,
            Silence(
                id=new_id(),
                rule=rule,
                application=application,
                reason=reason,
                created_by=by,
                created_at=now,
                ends_at=now + length,
            ),
        )
        place = ("silence", silence.id, application)
        record(session, HumanAct(by, "alerts_silenced", *place, reason, {"rule": rule}))
        session.commit()
    if as_json:
        print_row(silence)
    else:
        out.print(f"silence {silence.id}: {_covered(silence)}", markup=False, highlight=False)


@incidents_app.command("silences")
def incidents_silences(context: typer.Context, as_json: AsJson = False) -> None:
    """List the silences that have not ended."""
    from core.clock import utc_now
    from loop.wiring import open_parts
    from monitoring.alerts.incidents import active_silences

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        rows = active_silences(session, utc_now())
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    print_table(
        ("silence", "of what", "by", "why"),
        [(row.id, _covered(row), row.created_by, row.reason) for row in rows],
    )


@incidents_app.command("unsilence")
def incidents_unsilence(
    context: typer.Context,
    silence: Annotated[str, typer.Argument(help="as `ratchet incidents silences` shows it")],
    as_json: AsJson = False,
) -> None:
    """Let a silence end now; who was not told of what still fires is told."""
    from core.clock import utc_now
    from feedback.audit import HumanAct, machine_user, record
    from loop.wiring import open_parts
    from monitoring.alerts.incidents import end_silence

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        row = end_silence(session, silence, utc_now())
        record(session, HumanAct(machine_user(), "silence_ended", "silence", silence))
        session.commit()
    if as_json:
        print_row(row)
    else:
        out.print(f"silence {silence} has ended", highlight=False)


@incidents_app.command("rules")
def incidents_rules(context: typer.Context, as_json: AsJson = False) -> None:
    """List the rules that hold here, and how each stands."""
    from sqlmodel import select

    from feedback.alert_tables import AlertState
    from loop.wiring import open_parts
    from monitoring.alerts.rules import load_rules

    with open_parts(settings_of(context)) as parts, parts.store.session() as session:
        rules = load_rules(parts.settings.alerts)
        states = list(session.exec(select(AlertState).order_by(AlertState.fingerprint)))
    if as_json:
        import msgspec

        found: dict[str, list[dict[str, object]]] = {rule.name: [] for rule in rules}
        for state in states:
            found.get(state.rule, []).append(state.model_dump(mode="json"))
        print_json([{**msgspec.to_builtins(r), "states": found[r.name]} for r in rules])
        return
    print_table(
        ("rule", "fires when", "for", "severity", "stands"),
        [
            (
                *(rule.name, f"{rule.metric} {rule.comparison} {rule.threshold:g}"),
                *(f"{rule.for_s:g} s", rule.severity),
                "\n".join(
                    f"{state.application or '(service)'}: {state.state}, {state.reason}"
                    for state in states
                    if state.rule == rule.name
                ),
            )
            for rule in rules
        ],
    )


@incidents_app.command("metrics")
def incidents_metrics(as_json: AsJson = False) -> None:
    """List the metrics that a rule may name."""
    from monitoring.alerts.metrics import METRICS

    if as_json:
        print_json({name: metric.meaning for name, metric in METRICS.items()})
        return
    print_table(
        ("metric", "meaning", "of"),
        [
            (name, metric.meaning, "the service" if metric.of_service else "each application")
            for name, metric in METRICS.items()
        ],
    )


def _require_known(name: str | None, known: set[str], option: str) -> None:
    if name is not None and name not in known:
        raise RequestError(
            f"no {option} {name!r}: there are {', '.join(sorted(known))}", field=option
        )


def _covered(silence: Silence) -> str:
    rule, application = silence.rule or "every rule", silence.application
    whose = "everything" if application is None else application or "the service"
    return f"{rule} of {whose} until {silence.ends_at:{MINUTE}} UTC"
