"""Who looks at the console and what they may do: a person with a role, or the holder of a key.

Pure values: a role or a key's scopes go in, a `Visitor` with its rights comes out, and pages ask
only for rights. A person may look after every application, a key after its own alone. Knows nothing
of cookies, passwords or tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from core.console_settings import Role
from core.errors import PermissionDeniedError
from feedback.api_keys import Caller

Right = Literal["view", "review", "operate", "administer"]

ROLES: tuple[Role, ...] = get_args(Role)  # each may what those before it may
EVERYTHING: frozenset[Right] = frozenset(get_args(Right))
RIGHTS_OF_ROLE: Mapping[str, frozenset[Right]] = {
    "viewer": frozenset({"view"}),
    "reviewer": frozenset({"view", "review"}),
    "operator": frozenset({"view", "review", "operate"}),
    "admin": EVERYTHING,
}
RIGHTS_OF_SCOPE: Mapping[str, frozenset[Right]] = {
    "review": frozenset({"review"}),  # an outside reviewer's key shows nothing else
    "ops": frozenset({"view", "review", "operate"}),
    "admin": EVERYTHING,
}
NEEDS: Mapping[Right, str] = {  # in words, for who lacks it
    "view": "viewers (keys: scope ops)",
    "review": "reviewers (keys: scope review)",
    "operate": "operators (keys: scope ops)",
    "administer": "admins (keys: scope admin)",
}


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is signed in; `application` is the one whose pages they see now."""

    name: str  # of a person, or the key's id: reviews are kept under it
    title: str  # what they are, for people: a role, or a key's scopes
    rights: frozenset[Right]
    application: str
    applications: tuple[str, ...]  # those they may change to
    is_person: bool = True

    @property
    def key_id(self) -> str:
        """The name under which reviews are kept."""
        return self.name

    @property
    def actor(self) -> str:
        """The name under which what they do is kept."""
        return self.name if self.is_person else f"key {self.name}"

    def may(self, right: Right) -> bool:
        """Return whether they have this right."""
        return right in self.rights

    def require(self, right: Right) -> None:
        """Return if they have this right. Raises: PermissionDeniedError."""
        if right not in self.rights:
            raise PermissionDeniedError(
                f"{self.actor} is {self.title}: this is for {NEEDS[right]}", field="role"
            )


def visitor_of_key(caller: Caller) -> Visitor | None:
    """Return the holder of a key, or None if its scopes are not for the console."""
    rights = frozenset[Right]().union(*(RIGHTS_OF_SCOPE.get(s, frozenset()) for s in caller.scopes))
    if not rights:
        return None
    title = f"a key with the scope {', '.join(sorted(caller.scopes))}"
    own = caller.application
    return Visitor(caller.key_id, title, rights, own, (own,), is_person=False)


def visitor_of_user(
    name: str, role: str, applications: Iterable[str], chosen: str | None
) -> Visitor:
    """Return a person with a role, at the application that they chose or the first."""
    known = tuple(applications)
    here = chosen if chosen in known else next(iter(known), "")
    return Visitor(name, role, RIGHTS_OF_ROLE.get(role, frozenset()), here or "", known)


def highest(roles: Iterable[Role]) -> Role | None:
    """Return the role that may most, or None of none."""
    return max(roles, key=ROLES.index, default=None)
