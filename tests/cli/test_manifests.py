"""The command `manifests`, and what its files promise: users, grace periods, no secrets."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from getstream.plugins.gemini import cli
from getstream.plugins.gemini._cli.manifests import manifest_names, read_manifest

COMPOSE = yaml.safe_load(read_manifest("compose.yaml"))
KUBERAY = list(yaml.safe_load_all(read_manifest("kuberay.yaml")))
DOCKERFILE = read_manifest("Dockerfile")

KUBERNETES = "1.31"
"""An old version of Kubernetes: what it takes, later ones take."""

KUBERAY_CRD = "KUBERAY_CRD"
"""Environment variable: the path of KubeRay's `ray.io_rayclusters.yaml`, to check against it."""


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Return the name and the spec of each pod of the Kubernetes manifest."""
    for document in KUBERAY:
        name, spec = document["metadata"]["name"], document["spec"]
        if document["kind"] == "RayCluster":
            groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
            yield from ((name, group["template"]["spec"]) for group in groups)
        elif document["kind"] in ("Deployment", "StatefulSet"):
            yield name, spec["template"]["spec"]


def containers() -> Iterator[dict[str, Any]]:
    for _, pod in pods():
        yield from pod["containers"]


def nested(value: Any) -> Iterator[dict[str, Any]]:
    """Return all mappings inside of a document."""
    if isinstance(value, dict):
        yield value
        for each in value.values():
            yield from nested(each)
    elif isinstance(value, list):
        for each in value:
            yield from nested(each)


def commands() -> Iterator[list[str]]:
    """Return the arguments of each call of the package's command line, in all files."""
    for line in re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.M):
        yield json.loads(line)
    for service in COMPOSE["services"].values():
        yield service.get("command", [])
    for mapping in nested(KUBERAY):
        command = mapping.get("command")
        if isinstance(command, list):
            yield shlex.split(command[-1]) if command[:2] == ["sh", "-c"] else command


def own_commands() -> list[list[str]]:
    found = []
    for command in commands():
        words = command[command.index("getstream-gemini") + 1 :] if (
            "getstream-gemini" in command
        ) else []  # fmt: skip
        if words:
            found.append(words)
    return found


def test_the_files_are_listed_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["manifests"]) == 0
    listed = capsys.readouterr().out
    for name in manifest_names():
        assert name in listed
        assert cli.main(["manifests", name]) == 0
        assert capsys.readouterr().out == read_manifest(name)


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["manifests", "helm"]) == 1
    assert "there is Dockerfile, compose.yaml, kuberay.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("words", own_commands(), ids=" ".join)
def test_every_command_is_one_of_the_command_line(words: list[str]) -> None:
    cli._parser().parse_args(words)


def test_all_commands_were_found() -> None:
    assert sorted(words[0] for words in own_commands()) == ["drain", "serve", "serve", "serve"]


def test_nothing_runs_as_root() -> None:
    assert re.search(r"^USER \d+$", DOCKERFILE, re.M)
    for name, pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] > 0, name
    for container in containers():
        assert container["securityContext"]["allowPrivilegeEscalation"] is False, container["name"]


def test_images_and_the_package_are_pinned() -> None:
    images = [container["image"] for container in containers()]
    images += [s["image"] for s in COMPOSE["services"].values() if "image" in s]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    for image in images:
        assert re.fullmatch(r"[\w./-]+:[\w.-]*\d[\w.-]*", image), image
    pinned = re.search(r'getstream-plugins-gemini\[[\w,]+\]==([\d.]+)"', DOCKERFILE)
    assert pinned is not None
    assert pinned[1] == version("getstream-plugins-gemini")


def test_no_secret_is_written_down() -> None:
    for container in containers():
        for variable in container.get("env", []):
            if re.search(r"KEY|SECRET|PASSWORD|TOKEN", variable["name"]):
                assert "secretKeyRef" in variable["valueFrom"], variable
    for service in COMPOSE["services"].values():
        assert "environment" not in service
    assert not re.search(r"^(ENV|ARG) .*(KEY|SECRET|PASSWORD|TOKEN)", DOCKERFILE, re.M)


def test_calls_have_the_time_to_come_to_rest() -> None:
    for _, pod in pods():
        for container in pod["containers"]:
            hook = container.get("lifecycle", {}).get("preStop")
            if hook is not None and "getstream-gemini" in hook["exec"]["command"]:
                options = cli._parser().parse_args(hook["exec"]["command"][1:])
                assert options.wait < pod["terminationGracePeriodSeconds"]
    service = COMPOSE["services"]["fleet"]
    grace_s = cli._parser().parse_args(service["command"][1:]).grace
    assert grace_s < float(service["stop_grace_period"].removesuffix("s"))


def test_no_container_is_throttled() -> None:
    for container in containers():
        assert "memory" in container["resources"]["limits"], container["name"]
        assert "cpu" not in container["resources"]["limits"], container["name"]


def test_services_and_budgets_select_pods_that_exist() -> None:
    labels = []
    for document in KUBERAY:
        for mapping in nested(document["spec"]):
            template = mapping.get("template")
            if template is not None and "labels" in template.get("metadata", {}):
                labels.append(template["metadata"]["labels"])
    for document in KUBERAY:
        if document["kind"] in ("Service", "PodDisruptionBudget"):
            selector = document["spec"]["selector"]
            selector = selector.get("matchLabels", selector)
            assert selector in labels, document["metadata"]["name"]


def test_the_ray_of_the_image_is_that_of_the_cluster() -> None:
    pinned = re.search(r"ray\[default\]==([\d.]+)", DOCKERFILE)
    assert pinned is not None
    assert pinned[1] == KUBERAY[0]["spec"]["rayVersion"]


def test_a_full_cluster_has_a_cpu_to_replace_a_worker() -> None:
    group = KUBERAY[0]["spec"]["workerGroupSpecs"][0]
    requests = group["template"]["spec"]["containers"][0]["resources"]["requests"]
    serving = [words for words in own_commands() if "--max-workers" in words]
    options = cli._parser().parse_args(serving[0])
    assert options.max_workers == group["maxReplicas"] * int(requests["cpu"]) - 1


# -- published schemas -----------------------------------------------------------------------------


@pytest.mark.parametrize("document", KUBERAY, ids=lambda each: f"{each['kind']}")
def test_the_objects_of_kubernetes_are_valid(document: dict[str, Any]) -> None:
    if document["kind"] != "RayCluster":
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
        return
    for name, spec in pods():
        if name == document["metadata"]["name"]:
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
            kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def test_the_ray_cluster_is_valid() -> None:
    path = os.environ.get(KUBERAY_CRD)
    if not path:
        pytest.skip(f"NOT CHECKED AGAINST KUBERAY: {KUBERAY_CRD} names no ray.io_rayclusters.yaml")
    crd = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    schemas = {v["name"]: v["schema"]["openAPIV3Schema"] for v in crd["spec"]["versions"]}
    schema = _without_unknown(schemas["v1"])
    jsonschema.validate(KUBERAY[0], schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**KUBERAY[0], "spec": {**KUBERAY[0]["spec"], "typo": 1}}, schema)


def _without_unknown(schema: Any) -> Any:
    """Return a schema of a CRD as JSON schema in which an unknown property is an error."""
    if isinstance(schema, list):
        return [_without_unknown(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    strict = {name: _without_unknown(value) for name, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "type" in schema:
        strict.setdefault("additionalProperties", False)
    return strict


def test_the_compose_file_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "compose.yaml"
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    text = read_manifest("compose.yaml")
    for content, code in ((text, 0), (text.replace("restart:", "restarts:", 1), 1)):
        path.write_text(content, encoding="utf-8")
        assert subprocess.run([*check, path], capture_output=True, check=False).returncode == code
