"""Archives of images: written again without what differs between builds, and put into one index."""

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import IO, Any

from scripts.build_steps import epoch

_INDEX = "application/vnd.oci.image.index.v1+json"
_LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


def normalise(built: Path, target: Path, names: list[str]) -> None:
    """Write a docker-archive again without the random names that its build left in it."""
    with tarfile.open(built) as source, tarfile.open(target, "w") as archive:
        (manifest,) = json.load(_member(source, "manifest.json"))
        config = json.load(_member(source, manifest["Config"]))
        for key in ("container", "parent", "container_config"):
            config.pop(key, None)
        config["config"]["Hostname"] = ""
        for step in config["history"]:
            step.pop("comment", None)
        text = json.dumps(config, sort_keys=True).encode()
        entry = {
            "Config": f"{hashlib.sha256(text).hexdigest()}.json",
            "RepoTags": names,
            "Layers": manifest["Layers"],
        }
        for layer in manifest["Layers"]:
            _add(archive, layer, source.getmember(layer).size, _member(source, layer))
        _add_text(archive, entry["Config"], text)
        _add_text(archive, "manifest.json", json.dumps([entry]).encode())


def repack(built: Path, target: Path) -> None:
    """Write an archive again, in the order of its names and without times and owners."""
    with tarfile.open(built) as source, tarfile.open(target, "w") as archive:
        for name in sorted(member.name for member in source if member.isfile()):
            _add(archive, name, source.getmember(name).size, _member(source, name))


def join(archives: dict[str, Path], target: Path, name: str) -> None:
    """Write one OCI archive with the images of others, by their architectures, below one name."""
    rows, blobs = [], dict[str, tuple[Path, int]]()
    for wanted, path in sorted(archives.items()):
        with tarfile.open(path) as source:
            (row,) = json.load(_member(source, "index.json"))["manifests"]
            kept = {key: row[key] for key in ("mediaType", "digest", "size")}
            rows.append({**kept, "platform": {"architecture": wanted, "os": "linux"}})
            files = [member for member in source if member.name.startswith("blobs/")]
            blobs |= {member.name: (path, member.size) for member in files if member.isfile()}
    index = _text({"schemaVersion": 2, "mediaType": _INDEX, "manifests": rows})
    digest = hashlib.sha256(index).hexdigest()
    entry = {
        "mediaType": _INDEX,
        "digest": f"sha256:{digest}",
        "size": len(index),
        "annotations": {"org.opencontainers.image.ref.name": name},
    }
    with tarfile.open(target, "w") as archive:
        _add_text(archive, f"blobs/sha256/{digest}", index)
        for blob, (path, size) in sorted(blobs.items()):
            with tarfile.open(path) as source:
                _add(archive, blob, size, _member(source, blob))
        _add_text(archive, "index.json", _text({"schemaVersion": 2, "manifests": [entry]}))
        _add_text(archive, "oci-layout", _LAYOUT)


def _text(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    assert file, f"{name} is a file"
    return file


def _add_text(archive: tarfile.TarFile, name: str, text: bytes) -> None:
    _add(archive, name, len(text), io.BytesIO(text))


def _add(archive: tarfile.TarFile, name: str, size: int, content: IO[bytes]) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = size, epoch()
    archive.addfile(entry, content)
