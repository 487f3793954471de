"""Operations on artifacts: create one, upload its manifest and its files, and commit it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.wandb_server.operations import operation
from tests.wandb_server.store import ENTITY, Artifact, Store


@operation("ArtifactType")
def artifact_type(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    """The type of an artifact that the client is about to write. A new one has none."""
    key = (variables.get("entity") or ENTITY, variables["project"], variables["name"].partition(":")[0])
    found = next((one for one in store.artifacts.values() if (one.entity, one.project, one.name) == key), None)
    return {"project": {"artifact": {"artifactType": {"name": found.type}} if found else None}}


@operation("CreateArtifact")
def create(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    given = variables["input"]
    made = Artifact(
        given["entityName"], given["projectName"], given["runName"], given["artifactCollectionName"],
        given["artifactTypeName"], store.new_id("Artifact"),
    )  # fmt: skip
    store.artifacts[made.id] = made
    sequence = {"id": store.new_id("Sequence"), "latestArtifact": None}
    return {"createArtifact": {"artifact": {"id": made.id, "state": "PENDING", "artifactSequence": sequence}}}


@operation("CreateArtifactManifest", "UpdateArtifactManifest")
def manifest(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    artifact = variables.get("artifactID") or variables["artifactManifestID"]
    name = "createArtifactManifest" if "artifactID" in variables else "updateArtifactManifest"
    file = _file(store, artifact, "wandb_manifest.json") if variables.get("includeUpload", True) else None
    return {name: {"artifactManifest": {"id": artifact, "file": file}}}


@operation("CreateArtifactFiles")
def create_files(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    wanted = variables["input"]["artifactFiles"] if "input" in variables else variables["artifactFiles"]
    nodes = [_file(store, one["artifactID"], one["name"]) for one in wanted]
    return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}


@operation("CommitArtifact")
def commit(store: Store, variables: Mapping[str, Any], document: str) -> dict[str, Any]:
    store.artifacts[variables["artifactID"]].committed = True
    return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": ""}}}


def _file(store: Store, artifact: str, name: str) -> dict[str, Any]:
    url = f"{store.address}/upload-artifact/{artifact}/{name}"
    return {
        "id": f"{artifact}/{name}", "name": name, "displayName": name, "uploadUrl": url, "uploadHeaders": [],
        "storagePath": name, "uploadMultipartUrls": None, "artifact": {"id": artifact},
    }  # fmt: skip
