"""The users that a running console remembers, while several threads look them up at once."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from sqlalchemy import event

from loop.console.user_ring import UserRing
from loop.console.users import add_user, remove_user
from tests.ready_store import ready_store


def test_an_older_look_does_not_bring_back_whom_a_later_one_missed(tmp_path: Path) -> None:
    """The store answers one thread, which is then slow; somebody is removed, another one looks."""
    store = ready_store(f"sqlite:///{tmp_path}/ratchet.db")
    with store.session() as session:
        add_user(session, "ann", "admin", "a good password", by="a test")
        session.commit()
    ring, answered, go_on = UserRing(store), threading.Event(), threading.Event()
    slow = threading.Thread(target=ring.refresh)

    def hold(*_: Any) -> None:
        if threading.current_thread() is slow:
            answered.set()
            go_on.wait(10.0)

    event.listen(store.engine, "after_cursor_execute", hold)
    slow.start()
    assert answered.wait(10.0)
    with store.session() as session:
        remove_user(session, "ann", by="a test")
        session.commit()
    later = threading.Thread(target=ring.refresh)
    later.start()
    later.join(0.3)  # it would be done by now, if it did not wait for the slow one
    go_on.set()
    slow.join(10.0)
    later.join(10.0)
    assert ring.find("ann") is None
    store.close()
