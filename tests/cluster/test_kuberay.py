"""The example for Kubernetes: as far as it can be looked at without one."""

import shlex

import pytest
import typer

from tests.conftest import ROOT
from tests.pages import blocks

yaml = pytest.importorskip("yaml")
FILE = ROOT / "examples" / "kuberay.yaml"


@pytest.fixture(scope="module")
def objects():
    return {(one["kind"], one["metadata"]["name"]): one for one in yaml.safe_load_all(FILE.read_text())}


def test_its_objects_fit_together(objects):
    assert [kind for kind, _ in objects] == ["PersistentVolumeClaim", "RayCluster", "RayJob", "RayJob"]
    assert all(one["apiVersion"] == ("v1" if kind[0] == "P" else "ray.io/v1") for (kind, _), one in objects.items())
    spec = objects["RayCluster", "xtrkit"]["spec"]
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    assert len(groups) == 2
    for group in groups:
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == set(volumes)
        assert volumes["data"]["persistentVolumeClaim"]["claimName"] == "xtrkit-data"
        assert container["volumeMounts"][0]["mountPath"] == "/data"
        assert container["resources"]["limits"] == container["resources"]["requests"]
    for name in ("xtrkit-build", "xtrkit-serve"):
        assert objects["RayJob", name]["spec"]["clusterSelector"] == {"ray.io/cluster": "xtrkit"}


@pytest.mark.parametrize(("name", "command"), [("xtrkit-build", "build"), ("xtrkit-serve", "serve")])
def test_its_commands_are_ours(objects, name, command):
    from xtrkit.cli.app import app

    program, group, given, *words = shlex.split(objects["RayJob", name]["spec"]["entrypoint"])
    assert (program, group, given) == ("xtrkit", "cluster", command)
    parser = typer.main.get_command(app).commands["cluster"].commands[command]
    parsed = parser.make_context(command, words).params
    assert parsed["address"] == "auto"
    assert "/data/shards" in map(str, [parsed.get("cluster"), *(parsed.get("directories") or [])])
    with pytest.raises(Exception, match="No such option"):
        parser.make_context(command, [*words, "--shard"] if command == "serve" else [*words, "--sharded", "3"])


def test_it_is_for_the_ray_that_is_needed(objects):
    ray_shards = pytest.importorskip("xtrkit.cluster.ray_session")
    version = objects["RayCluster", "xtrkit"]["spec"]["rayVersion"]
    assert tuple(map(int, version.split(".")[:2])) >= ray_shards.OLDEST_RAY
    assert f"ray[default]=={version}" in FILE.read_text()
    assert any("kuberay.yaml" in block.code for block in blocks("docs/scale.md"))
