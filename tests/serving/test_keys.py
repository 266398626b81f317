"""Who may ask, who may change, and where the server listens."""

import httpx
import pytest

from tests.serving.conftest import READ, WRITE
from xtrkit.errors import InputError, XtrkitWarning
from xtrkit.serving.keys import Keys, check_address
from xtrkit.serving.settings import Settings

SEARCH = {"query": "bread", "index": "small"}


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    "headers",
    [bearer(READ), {"X-API-Key": READ}, bearer(WRITE), {"X-API-Key": WRITE}, {"Authorization": f"bearer {READ}"}],
)
def test_a_key_opens(keyed, headers):
    assert httpx.post(f"{keyed.url}/v1/search", json=SEARCH, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("wrong"),
        bearer(READ[:-1]),
        bearer(READ + "x"),
        {"Authorization": "Bearer"},
        {"X-API-Key": ""},
        {"X-API-Key": "ключ".encode()},
        {"Authorization": READ},
        {"Authorization": f"Basic {READ}"},
    ],
)
def test_no_key_opens_nothing(keyed, headers):
    for method, path in (
        ("POST", "/v1/search"),
        ("GET", "/v1/indexes"),
        ("GET", "/metrics"),
        ("DELETE", "/v1/documents/d/1"),
    ):
        response = httpx.request(method, f"{keyed.url}{path}", headers=headers, json=SEARCH, timeout=30)
        assert response.status_code == 401, path
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert response.json()["error"]["type"] == "unauthorized"


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/health", "/openapi.json"])
def test_what_tells_nothing_is_open(keyed, path):
    assert httpx.get(f"{keyed.url}{path}").status_code == 200


def test_the_read_key_changes_nothing(reader):
    for response in (
        reader.post("/v1/documents", json={"documents": ["a"], "index": "changing"}),
        reader.request("DELETE", "/v1/documents", json={"ids": ["d/1"], "index": "changing"}),
        reader.delete("/v1/documents/d/1", params={"index": "changing"}),
    ):
        assert response.status_code == 403
        assert response.json()["error"] == {
            "type": "forbidden",
            "message": "This key is for reading: adding and deleting need the write key.",
            "details": None,
        }


def test_without_a_write_key_nothing_changes(client):
    for response in (
        client.post("/v1/documents", json={"documents": ["a"]}),
        client.request("DELETE", "/v1/documents", json={"ids": ["d/1"]}),
        client.delete("/v1/documents/d/1", headers={"X-API-Key": "any"}),
    ):
        assert response.status_code == 403
        assert "--write-key-file" in response.json()["error"]["message"]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "localhost.evil.example", "[::1].evil.example"])
def test_without_a_key_foreign_names_are_refused(client, host):
    response = client.get("/v1/indexes", headers={"Host": host})
    assert response.status_code == 421
    assert "--allow-host" in response.json()["error"]["message"]


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1", "[::1]:8000", "10.1.2.3", "a.localhost"])
def test_names_that_no_other_site_can_have(client, host):
    assert client.get("/v1/indexes", headers={"Host": host}).status_code == 200


def test_with_a_key_any_name_will_do(keyed):
    response = httpx.get(f"{keyed.url}/v1/indexes", headers={"Host": "search.example", **bearer(READ)})
    assert response.status_code == 200


def settings(**more):
    return Settings(indexes=("some/index",), **more)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ("", "an empty file"),
        (" \n", "an empty file"),
        ("a b", "spaces"),
        ("a\nb\n", "several lines"),
        ("ключ", "ASCII"),
    ],
)
def test_key_files_that_hold_no_key(tmp_path, content, part):
    file = tmp_path / "key"
    file.write_text(content)
    with pytest.raises(InputError, match=part):
        Keys.of(settings(read_key_file=str(file)))
    with pytest.raises(InputError, match="can't be read"):
        Keys.of(settings(write_key_file=str(tmp_path / "missing")))


def test_a_key_file_that_everybody_can_read(tmp_path):
    file = tmp_path / "key"
    file.write_text("secret\n")
    file.chmod(0o644)
    with pytest.warns(XtrkitWarning, match="chmod 600"):
        assert Keys.of(settings(read_key_file=str(file))) == Keys(b"secret", None)
    file.chmod(0o640)
    assert Keys.of(settings(write_key_file=str(file))) == Keys(None, b"secret")
    with pytest.raises(InputError, match="the same"):
        Keys.of(settings(read_key_file=str(file), write_key_file=str(file)))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.0.4", "example.org"])
def test_a_public_address_needs_a_key(host):
    with pytest.raises(InputError, match="--read-key-file"):
        check_address(settings(host=host))
    with pytest.raises(InputError, match="--allow-public"):
        check_address(settings(host=host, write_key_file="key"))
    check_address(settings(host=host, allow_public=True))
    check_address(settings(host=host, read_key_file="key"))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_an_address_of_this_machine_needs_none(host):
    check_address(settings(host=host))


def test_the_command_refuses_before_it_listens(here, made_index, tmp_path):
    assert "--read-key-file" in here("serve", made_index, "--host", "0.0.0.0").stderr
    assert "nothing at" in here("serve", tmp_path / "missing").stderr
    assert "rename one" in here("serve", made_index, tmp_path / "small").stderr
    assert "an empty file" in here("serve", made_index, "--write-key-file", _empty(tmp_path)).stderr
    assert "no address" in here("serve", made_index, "--host", "nowhere.invalid", "--allow-public").stderr


def test_a_port_that_is_taken(here, server, made_index):
    told = here("serve", made_index, "--port", server.port).stderr
    assert f"Port {server.port} of 127.0.0.1 can't be listened on" in told


def _empty(directory):
    file = directory / "empty"
    file.touch()
    return file
