"""The folder of open records as an RO-Crate 1.1, a format for the description of research data.

`ro-crate-metadata.json` lists the files of the folder with their size and SHA-256. Licence, authors and the paper come
from CITATION.cff. The folder also gets descriptions of the generated data sets (`analysis.publication.croissant`).

Source: RO-Crate Metadata Specification 1.1 (https://w3id.org/ro/crate/1.1).
"""

from __future__ import annotations

import datetime
import hashlib
import json
import mimetypes
import os
import re
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from analysis import numbers
from analysis.publication import croissant
from analysis.sources.archive import is_archive
from analysis.sources.collection import Collection
from analysis.sweep import overview
from analysis.table import slug
from lightning_xvol.errors import UserError, first_line
from lightning_xvol.ledger import files

METADATA = "ro-crate-metadata.json"
SPECIFICATION = "https://w3id.org/ro/crate/1.1"
CONTEXT = [f"{SPECIFICATION}/context", {"sha256": "https://schema.org/sha256"}]
"""The context of version 1.1 has no term for a SHA-256."""
_SPDX = re.compile(r"[A-Za-z0-9.+-]+")
_FORMATS = {".jsonl.gz": "application/gzip", ".jsonl": "application/jsonl", ".md": "text/markdown"}


@dataclass(frozen=True)
class Citation:
    """What a description takes from CITATION.cff.

    Attributes:
        title, version: The name and the version of the software.
        license: The SPDX name of its licence.
        authors: The name of each author, and whether it is a person.
        papers: The references: title, year, the names of the authors, and their address.
    """

    title: str
    version: str
    license: str
    authors: tuple[tuple[str, bool], ...]
    papers: tuple[Mapping[str, Any], ...]

    @property
    def license_address(self) -> str:
        return f"https://spdx.org/licenses/{self.license}"

    @property
    def author_entities(self) -> list[dict[str, str]]:
        return [
            {"@id": f"#{slug(name)}", "@type": "Person" if is_person else "Organization", "name": name}
            for name, is_person in self.authors
        ]


def read_citation(path: Path) -> Citation:
    """The citation in the file at `path`.

    Raises:
        UserError: for a file that cannot be read, or that lacks a title, a version, a licence or authors.
    """
    try:
        content = yaml.safe_load(files.read_text(path))
        authors = tuple(_name(author) for author in content["authors"])
        papers = tuple(_paper(reference) for reference in content.get("references", ()))
        license = str(content["license"])
        if not authors or not _SPDX.fullmatch(license):
            raise ValueError(f"license {license!r} must be a name of SPDX, such as MIT" if authors else "no author")
        return Citation(str(content["title"]), str(content["version"]), license, authors, papers)
    except OSError as error:
        raise UserError(f"cannot read {str(path)!r} ({error.strerror}); name the file with --citation") from error
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise UserError(f"{str(path)!r} is no CITATION.cff that this command can use ({first_line(error)})") from error


def _name(author: Mapping[str, Any]) -> tuple[str, bool]:
    if "name" in author:
        return str(author["name"]), False
    return f"{author['given-names']} {author['family-names']}", True


def _paper(reference: Mapping[str, Any]) -> dict[str, Any]:
    arxiv = [each["value"] for each in reference.get("identifiers", ()) if str(each["value"]).startswith("arXiv:")]
    url = reference.get("url")
    if not isinstance(url, str | None):
        raise TypeError(f"url {url!r} must be a text")
    address = url or (f"https://arxiv.org/abs/{arxiv[0].removeprefix('arXiv:')}" if arxiv else None)
    return {
        "@id": address or f"#{slug(str(reference['title']))}",
        "@type": "ScholarlyArticle",
        "name": str(reference["title"]),
        "author": [_name(author)[0] for author in reference["authors"]],
        "datePublished": str(reference["year"]),
    }


def descriptions(folder: Path, citation: Citation, date: str | None = None) -> tuple[dict[Path, str], list[str]]:
    """The text of each descriptive file of `folder`, and a sentence for each file or sweep that they leave out.

    The descriptive files are the Croissant files and the RO-Crate metadata, which list the Croissant files too.

    Args:
        folder: The folder of the records.
        citation: What CITATION.cff says.
        date: The date of publication, `YYYY-MM-DD`. By default it is the date in the existing metadata, else today.

    Raises:
        UserError: for a `date` of another form, a folder without records, or an archive that cannot be read.
    """
    if not folder.is_dir():
        raise UserError(f"no folder {str(folder)!r}; python -m analysis archive writes records into one")
    if date is not None and not _is_date(date):
        raise UserError(f"--date {date!r} must be a date such as 2026-11-29")
    date = date or _date_of(folder) or datetime.date.today().isoformat()
    texts = {
        folder / f"{name}.croissant.json": _json(croissant.description(name, folder, citation, date))
        for name in croissant.SETS
    }
    found = {path for path in folder.rglob("*") if path.is_file() and not _is_hidden(path.relative_to(folder))}
    present = {path for path in found if path.resolve().is_relative_to(folder.resolve())}
    left_out = [f"{path} is a link to a file outside {str(folder)!r}" for path in sorted(found - present)]
    parts = []
    for path in sorted({*present, *texts} - {folder / METADATA}):
        part, without = _file(path, folder, texts.get(path))
        parts.append(part)
        left_out += without
    if not any(is_archive(path) for path in present):
        raise UserError(f"no records (.jsonl.gz) in {str(folder)!r}; python -m analysis archive writes them")
    texts[folder / METADATA] = _json({"@context": CONTEXT, "@graph": list(_graph(citation, date, parts))})
    return texts, left_out


def _graph(citation: Citation, date: str, parts: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield {
        "@id": METADATA,
        "@type": "CreativeWork",
        "conformsTo": {"@id": SPECIFICATION},
        "about": {"@id": "./"},
    }
    yield {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Records of {citation.title}",
        "description": (
            "A line of JSON for each finished run: its configuration, metrics, learning curve and environment. "
            "`python -m analysis tables --source FILE` makes tables of them, and `python -m analysis verify` runs some "
            "of them again."
        ),
        "datePublished": date,
        "version": citation.version,
        "license": {"@id": citation.license_address},
        "author": [{"@id": author["@id"]} for author in citation.author_entities],
        "citation": [{"@id": paper["@id"]} for paper in citation.papers],
        "hasPart": [{"@id": part["@id"]} for part in parts],
    }
    yield {"@id": citation.license_address, "@type": "CreativeWork", "name": citation.license}
    yield from citation.author_entities
    yield from map(dict, citation.papers)
    yield from parts


def _file(path: Path, folder: Path, text: str | None) -> tuple[dict[str, Any], list[str]]:
    """The entity of a file, and a sentence for each sweep in it that is left out.

    `text` is the content of the file if it is not written yet.
    """
    content = files.read_bytes(path) if text is None else files.text_bytes(text)
    name = os.fsencode(path.relative_to(folder).as_posix())  # it need not be UTF-8
    entity: dict[str, Any] = {
        "@id": urllib.parse.quote(name),
        "@type": "File",
        "name": os.fsencode(path.name).decode(errors="replace"),
        "contentSize": str(len(content)),
        "encodingFormat": _format(path.name),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    if text is not None:
        entity |= {
            "description": "A Croissant description of a data set that code generates.",
            "conformsTo": {"@id": croissant.SPECIFICATION},
        }
    elif is_archive(path):
        entity["description"], left_out = _records(path)
        return entity, left_out
    return entity, []


def _records(path: Path) -> tuple[str, list[str]]:
    """What an archive holds, and a sentence for each sweep that cannot be read.

    The text is such as `45 runs on recipe match_small, sweeps: kernel_size; commits: 0123456789`.
    """
    sources = Collection([path])
    if sources.losses:
        raise UserError(f"{sources.losses[0]}; the records to describe must be whole")
    found, _ = overview.overviews(sources)
    runs = overview.all_runs(found)
    done = runs[runs["state"].isin(["finished", "diverged"])]
    recipes = ", ".join(dict.fromkeys(item.layout.recipe for item in found))
    sweeps = ", ".join(dict.fromkeys(item.layout.name for item in found))
    commits = ", ".join(sorted(set(done["commit"].map(numbers.short_commit))))
    text = f"{numbers.counted(len(done), 'run')} on recipe {recipes}; sweeps: {sweeps}; commits: {commits}."
    return text, [f"{path}: {error}" for error in sources.left_out()]


def _format(name: str) -> str:
    own = (kind for suffix, kind in _FORMATS.items() if name.endswith(suffix))
    return next(own, mimetypes.guess_type(name)[0] or "application/octet-stream")


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _date_of(folder: Path) -> str | None:
    """The date in the existing metadata; None where there is none of this form."""
    content = files.read_json(folder / METADATA)
    graph = content.get("@graph") if isinstance(content, dict) else None
    entities = graph if isinstance(graph, list) else []
    dates = (each.get("datePublished") for each in entities if isinstance(each, dict) and each.get("@id") == "./")
    return next((date for date in dates if isinstance(date, str) and _is_date(date)), None)


def _is_date(text: str) -> bool:
    """Whether `text` is a date `YYYY-MM-DD`."""
    try:
        return datetime.date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _json(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
