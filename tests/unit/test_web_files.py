"""What browsers load from the gateway: the component for everyone, the chat page where it is on."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from core.settings import GatewaySettings, Settings
from feedback.widget import MAX_AGE_S, THUMBS_FILE
from serving.chat_page import FOLDER, chat_routes
from tests.unit.gateway_world import ORIGIN, World, open_world

ROOT = Path(__file__).resolve().parents[2]
THUMBS = "/v1/feedback/thumbs.js"
MAX_THUMBS_BYTES = 11_000  # the design: a small web component; how small is our choice


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("web")) as opened:
        yield opened


@pytest.mark.parametrize("origin", [None, ORIGIN, "https://elsewhere.example"])
def test_any_page_may_load_the_component(world: World, origin: str | None) -> None:
    """A module script is fetched with CORS: allowed with and without a right to post."""
    headers = {"origin": origin} if origin else {}
    answer = httpx.get(world.url + THUMBS, headers=headers)
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers.get_list("access-control-allow-origin") in (["*"], [origin])
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"
    assert answer.content == THUMBS_FILE.read_bytes()


def test_the_component_is_small_and_brings_nothing(world: World) -> None:
    """No import, no other host: one file of at most 11 KB."""
    script = httpx.get(world.url + THUMBS).text
    assert len(script.encode()) < MAX_THUMBS_BYTES
    assert "import " not in script
    assert "innerHTML =" not in script


@pytest.mark.parametrize(
    ("path", "caching"),
    [
        (THUMBS, f"public, max-age={MAX_AGE_S}"),
        ("/chat", "no-cache"),
        ("/chat/chat.js", "no-cache"),
    ],
)
def test_a_browser_that_has_a_file_gets_no_second_copy(
    world: World, path: str, caching: str
) -> None:
    """The ETag, strong or made weak by a proxy, is answered with 304; another one is not."""
    first = httpx.get(world.url + path)
    assert first.headers["cache-control"] == caching
    etag = first.headers["etag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = httpx.get(world.url + path, headers={"if-none-match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
    changed = httpx.get(world.url + path, headers={"if-none-match": '"other"'})
    assert (changed.status_code, changed.content) == (200, first.content)


@pytest.mark.parametrize("name", [path.name for path in FOLDER.iterdir()])
def test_every_file_of_the_page_is_under_its_policy(world: World, name: str) -> None:
    """Also what somebody opens alone."""
    answer = httpx.get(f"{world.url}/chat/{name}")
    assert answer.status_code == 200
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["missing.js", "..%2Fgateway.py", "%2e%2e/gateway.py"])
def test_there_is_no_other_file(world: World, name: str) -> None:
    """Names are looked up among what was loaded at the start, not on the disk."""
    answer = httpx.get(f"{world.url}/chat/{name}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("host", "chat", "shown"),
    [
        ("127.0.0.1", None, True),
        ("localhost", None, True),
        ("0.0.0.0", None, False),
        ("10.0.0.7", None, False),
        ("0.0.0.0", True, True),
        ("127.0.0.1", False, False),
    ],
)
def test_the_page_is_on_where_only_this_machine_sees_it(
    host: str, chat: bool | None, shown: bool
) -> None:
    """Elsewhere it takes a decision: `gateway.chat = true`."""
    settings = Settings(gateway=GatewaySettings(host=host, chat=chat))
    assert bool(chat_routes(settings)) is shown


def test_the_files_travel_with_the_packages() -> None:
    """An installed gateway has them too."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]
    assert "web/*" in data["feedback"]
    assert "web/*" in data["serving"]
