"""One bill of materials: models, data, software and device as CycloneDX 1.6 JSON (ECMA-424).

Written by hand, for no library writes model cards of CycloneDX yet; a test validates it against
the schema. It says what a run is made of and measured at, in numbers of the evidence alone.
"""

import re
import uuid
from collections.abc import Mapping
from importlib import metadata
from pathlib import PurePath, PureWindowsPath
from typing import Any

from domainlm import __version__
from domainlm.evaluation.evidence import Evidence, Interval, Model
from domainlm.report import provenance, view
from domainlm.report.provenance import Facts, declared

RUN, DATA = "run", "data:corpus"
SEAL, MERKLE = "domainlm:records_sha256", "domainlm:merkle_root"
LIMITS = (
    "Continues text; answers no questions and knows no facts for sure.",
    "Measured on held-out text of one corpus, not on anybody's work.",
)


def bill(evidence: Evidence, facts: Facts) -> dict[str, Any]:
    """`report/bom.cdx.json`: the same for the same evidence and facts, byte for byte."""
    models = [
        _model(evidence, facts, name) for name in evidence.models if _is_network(evidence, name)
    ]
    libraries = [_library(name, version) for name, version in facts.software.items()]
    parts = [*models, _data(evidence, facts), *libraries, *_device(facts)]
    head: dict[str, Any] = {
        "tools": {"components": [_named("application", "domainlm", version=__version__)]},
        "component": {**_named("application", evidence.name), "bom-ref": RUN},
        "properties": _properties({SEAL: facts.seal, MERKLE: facts.merkle_root}),
    }
    if "evaluation" in facts.times:
        head["timestamp"] = facts.times["evaluation"][1]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, facts.seal)}",
        "version": 1,
        "metadata": head,
        "components": parts,
        "dependencies": [
            {"ref": RUN, "dependsOn": [part["bom-ref"] for part in parts]},
            *(
                {"ref": f"model:{arm}", "dependsOn": _made_from(evidence, arm)}
                for arm in view.arms(evidence)
            ),
        ],
        "compositions": [{"aggregate": "incomplete", "assemblies": [RUN]}],  # no Python, no system
    }


def sealed(bom: Mapping[str, Any], name: str) -> str | None:
    """A property of the bill's head, such as `SEAL`; None where it has none."""
    rows = bom.get("metadata", {}).get("properties", [])
    return next((row.get("value") for row in rows if row.get("name") == name), None)


def public(source: str) -> str:
    """A source without folders of this machine: the last part of a path that is absolute."""
    if source.startswith(("/", "~", ".")):
        return PurePath(source).name
    return PureWindowsPath(source).name if re.match(r"[A-Za-z]:[\\/]", source) else source


def _is_network(evidence: Evidence, name: str) -> bool:
    return evidence.models[name].role != "baseline"


def _named(kind: str, name: str, **more: Any) -> dict[str, Any]:
    return {"type": kind, "name": view.one_line(name) or "unnamed", **more}


def _properties(values: Mapping[str, Any]) -> list[dict[str, str]]:
    return [{"name": n, "value": str(v)} for n, v in values.items() if v is not None]


def _hashes(sha256: str | None) -> dict[str, Any]:
    if not sha256 or not re.fullmatch("[0-9a-f]{64}", sha256):
        return {}
    return {"hashes": [{"alg": "SHA-256", "content": sha256}]}


def _licences(text: str) -> dict[str, Any]:
    """As the user or the package says it: a name, since nobody checked that it is an SPDX id."""
    return (
        {"licenses": [{"license": {"name": text, "acknowledgement": "declared"}}]} if text else {}
    )


def _made_from(evidence: Evidence, arm: str) -> list[str]:
    from_stock = view.from_stock(evidence, arm) and "stock" in evidence.models
    return [DATA, *(["model:stock"] if from_stock else [])]


def _model(evidence: Evidence, facts: Facts, name: str) -> dict[str, Any]:
    model, trained = evidence.models[name], name in view.arms(evidence)
    parameters: dict[str, Any] = {"task": "text-generation", "architectureFamily": "transformer"}
    parameters |= {"inputs": [{"format": "text"}], "outputs": [{"format": "text"}]}
    if trained:
        parameters |= {"approach": {"type": "self-supervised"}, "datasets": [{"ref": DATA}]}
    if name in facts.architectures:
        parameters["modelArchitecture"] = facts.architectures[name]
    limits = [*LIMITS, *model.notes, *(provenance.leak_lines(evidence, name) if trained else ())]
    card = {
        "modelParameters": parameters,
        "quantitativeAnalysis": {"performanceMetrics": _metrics(evidence, name)},
        "considerations": {"technicalLimitations": limits},
    }
    found = {
        **_named("machine-learning-model", name if trained else model.title),
        "bom-ref": f"model:{name}",
        "description": model.title if trained else f"compared with; from {public(model.source)}",
        **_hashes(model.sha256),
        **(_licences(declared(evidence).model_licence) if trained else {}),
        "modelCard": card,
        "properties": _properties(_about(evidence, facts, name)),
    }
    ancestor = _ancestor(evidence, name)
    if trained and ancestor:
        found["pedigree"] = {"ancestors": [ancestor]}
    return found


def _about(evidence: Evidence, facts: Facts, name: str) -> dict[str, Any]:
    model, cost = evidence.models[name], view.cost(evidence, name)
    told: dict[str, Any] = {f: getattr(model, f) for f in ("role", "parameters", "vocabulary")}
    if cost:
        told |= cost.model_dump(include={"tokens", "epochs", "flops", "seconds", "kwh"})
        told["kwh_method"] = cost.kwh_method
    settings = facts.training.get(name, {})
    keys = ("optimizer", "learning_rate", "embedding_rate", "batch_tokens", "context", "precision",
            "seed", "device")  # fmt: skip
    told |= {key: settings.get(key) for key in keys}
    return {f"domainlm:{key}": value for key, value in told.items()}


def _ancestor(evidence: Evidence, arm: str) -> dict[str, Any] | None:
    """What an arm was trained on from: the stock model, or what the recipe names."""
    if view.from_stock(evidence, arm) and "stock" in evidence.models:
        stock: Model = evidence.models["stock"]
        return _named("machine-learning-model", stock.title) | _hashes(stock.sha256)
    tables = provenance.recipe_of(evidence).get("train")
    rows = [t for t in tables if isinstance(t, dict)] if isinstance(tables, list) else []
    init = next((t.get("init") for t in rows if t.get("name") == arm), None)
    return _named("machine-learning-model", public(str(init))) if init else None


def _interval(ci95: Interval | None) -> dict[str, Any]:
    if ci95 is None:
        return {}
    low, high = (f"{end:.6f}" for end in ci95)
    return {"confidenceInterval": {"lowerBound": low, "upperBound": high}}


def _metrics(evidence: Evidence, name: str) -> list[dict[str, Any]]:
    return [
        {
            "type": "bits per byte",
            "value": f"{row.bits_per_byte:.6f}",
            "slice": row.split,
            **_interval(row.ci95),
        }
        for row in evidence.loss
        if row.model == name
    ]


def _data(evidence: Evidence, facts: Facts) -> dict[str, Any]:
    c, said = evidence.corpus, declared(evidence)
    told = {
        "domainlm:merkle_root": c.merkle_root,
        "domainlm:held_out_sha256": evidence.held_out_sha256,
        **{
            f"domainlm:{n}": getattr(c, n) for n in ("files", "bytes", "documents", "groups", "cut")
        },
        "domainlm:terms_declared": said.terms or None,
        "domainlm:accessed_declared": said.accessed or None,
        "domainlm:attested_not_checked": said.attestation or None,
    }
    found = c.privacy.found if c.privacy else {}
    dataset = {
        "type": "dataset",
        "name": c.source,
        "description": " ".join(provenance.data_lines(evidence, facts)),
        "contents": {"properties": _properties(told)},
        "sensitiveData": [f"{n} {kind}" for kind, n in sorted(found.items())],
    }
    licence = _licences(said.licence)
    return {**_named("data", c.source), "bom-ref": DATA, **licence, "data": [dataset]}


def _library(name: str, version: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{name}@{version.replace('+', '%2B')}"
    return {**_named("library", name, version=version), "bom-ref": purl, "purl": purl} | _said(
        name, version
    )


def _said(name: str, version: str) -> dict[str, Any]:
    """A package's licence as it says itself, where this very version is installed."""
    try:
        about = metadata.metadata(name).json
    except metadata.PackageNotFoundError:
        return {}
    if about.get("version") != version:
        return {}
    if expression := about.get("license_expression"):
        return {"licenses": [{"expression": expression, "acknowledgement": "declared"}]}
    classes = [c for c in about.get("classifier", []) if c.startswith("License ::")]
    text = classes[0].rpartition(" :: ")[2] if classes else str(about.get("license") or "")
    return _licences(view.one_line(text)[:100])


def _device(facts: Facts) -> list[dict[str, Any]]:
    """The machine that trained, by what it is and by hashes of what names it."""
    known = facts.environment
    devices = {str(t["device"]) for t in facts.training.values() if t.get("device")}
    name = ", ".join(sorted(devices)) or known.get("processor")
    if not name:
        return []
    keys = ("host_sha256", "gpu", "gpu_sha256", "driver", "system", "cores")
    told = _properties({f"domainlm:{key}": known.get(key) for key in keys})
    return [{**_named("device", name), "bom-ref": "device", "properties": told}]
