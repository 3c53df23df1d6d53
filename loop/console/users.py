"""The people who may sign in to the console: added, changed, removed, found.

Rows of ConsoleUser in the caller's session; the caller commits. Every change leaves an audit entry
beside it. Called by `ratchet console user`, the page of users and the sign-in; knows nothing of
sessions or pages.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sqlmodel import Session, col, select

from core.clock import utc_now
from core.console_settings import Role
from core.errors import (
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
    RequestError,
    StateError,
)
from feedback.audit import KEY_ID, HumanAct, record
from feedback.console_tables import ConsoleUser
from loop.console.passwords import hash_password, is_right
from loop.console.visitors import ROLES

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,99}")


def add_user(session: Session, name: str, role: str, password: str, *, by: str) -> ConsoleUser:
    """Add somebody who signs in with a password.

    Raises: RequestError for a name, role or password that cannot be; ConflictError when there is
    somebody of that name.
    """
    _check_name(name)
    if session.get(ConsoleUser, name) is not None:
        raise ConflictError(f"there is a user {name!r} already: change their role or password")
    user = ConsoleUser(name=name, role=_role(role), password=hash_password(password))
    session.add(user)
    record(session, HumanAct(by, "user_added", "user", name, details={"role": role}))
    return user


def remove_user(session: Session, name: str, reason: str = "", *, by: str) -> None:
    """Remove somebody: their sessions end at once. Raises: NotFoundError."""
    session.delete(find_user(session, name))
    record(session, HumanAct(by, "user_removed", "user", name, reason=reason))


def set_password(session: Session, name: str, password: str, *, by: str) -> ConsoleUser:
    """Change a password: their sessions end at once.

    Raises: NotFoundError; RequestError for a password that cannot be, or who has none here.
    """
    user = find_user(session, name)
    if user.oidc_subject is not None:
        raise RequestError(f"{name} signs in by OpenID Connect and has no password here")
    user.password, user.changed_at = hash_password(password), utc_now()
    session.add(user)
    record(session, HumanAct(by, "user_password_changed", "user", name))
    return user


def set_role(session: Session, name: str, role: str, *, by: str) -> ConsoleUser:
    """Change a role.

    Raises: NotFoundError; RequestError for a role that there is not, or that a provider says.
    """
    user = find_user(session, name)
    if user.oidc_subject is not None:
        raise RequestError(
            f"{name} signs in by OpenID Connect, which says their role at each sign-in: change it "
            "there, or disable them here",
            field="role",
        )
    before, user.role, user.changed_at = user.role, _role(role), utc_now()
    session.add(user)
    details = {"role": role, "before": before}
    record(session, HumanAct(by, "user_role_changed", "user", name, details=details))
    return user


def disable_user(session: Session, name: str, reason: str, *, by: str) -> ConsoleUser:
    """Keep somebody out, whatever they sign in by; their sessions end, their name stays theirs.

    Raises: NotFoundError; StateError when they are kept out already.
    """
    user = find_user(session, name)
    if user.disabled_at is not None:
        raise StateError(f"{name} is disabled already")
    user.disabled_at = user.changed_at = utc_now()
    session.add(user)
    record(session, HumanAct(by, "user_disabled", "user", name, reason=reason))
    return user


def enable_user(session: Session, name: str, reason: str, *, by: str) -> ConsoleUser:
    """Let somebody in again. Raises: NotFoundError; StateError when they are not kept out."""
    user = find_user(session, name)
    if user.disabled_at is None:
        raise StateError(f"{name} is not disabled")
    user.disabled_at, user.changed_at = None, utc_now()
    session.add(user)
    record(session, HumanAct(by, "user_enabled", "user", name, reason=reason))
    return user


def list_users(session: Session) -> Sequence[ConsoleUser]:
    """Return all, by name."""
    return session.exec(select(ConsoleUser).order_by(col(ConsoleUser.name))).all()


def find_user(session: Session, name: str) -> ConsoleUser:
    """Return somebody. Raises: NotFoundError."""
    user = session.get(ConsoleUser, name)
    if user is None:
        raise NotFoundError(f"no user {name!r}: `ratchet console user list` lists them")
    return user


def check_password(session: Session, name: str, password: str) -> ConsoleUser | None:
    """Return whose name and password these are, or None, after the same time in every case."""
    user = session.get(ConsoleUser, name) if NAME.fullmatch(name) else None
    kept = None if user is None or user.disabled_at is not None else user.password
    return user if is_right(password, kept) else None


def enter_by_oidc(session: Session, name: str, subject: str, role: Role) -> ConsoleUser:
    """Return the row of who a provider vouches for, made or brought up to date.

    Raises: RequestError for a name that cannot be; PermissionDeniedError when somebody else has it.
    """
    _check_name(name)
    user = session.exec(select(ConsoleUser).where(ConsoleUser.oidc_subject == subject)).first()
    if user is None and session.get(ConsoleUser, name) is not None:
        raise PermissionDeniedError(
            f"{name} is somebody else's name here: an admin must remove that user first"
        )
    if user is None:
        user = ConsoleUser(name=name, role=role, oidc_subject=subject)
        record(session, HumanAct(name, "user_entered", "user", name, details={"role": role}))
    elif user.disabled_at is not None:
        raise PermissionDeniedError(f"{user.name} is disabled here: an admin can change that")
    elif user.role != role:
        details = {"role": role, "before": user.role}
        record(session, HumanAct(user.name, "user_role_changed", "user", name, details=details))
        user.role, user.changed_at = role, utc_now()
    session.add(user)
    return user


def _check_name(name: str) -> None:
    if NAME.fullmatch(name) is None or KEY_ID.fullmatch(name):
        raise RequestError(
            f"{name!r} cannot be a user's name: letters, digits and ._@+-, at most 100, "
            "and not 12 hexadecimal digits, which is what keys are called",
            field="name",
        )


def _role(role: str) -> Role:
    for known in ROLES:
        if known == role:
            return known
    raise RequestError(f"no role {role!r}: there are {', '.join(ROLES)}", field="role")
