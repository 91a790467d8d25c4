"""Probes and hashes of the starter definitions."""

import hashlib

import pytest

from mailward import starter
from tests.starter.compiled import StarterScanner
from tests.starter.samples.parts import attachment

_HASHES = {line.split(":")[2]: line.split(":") for line in starter.hashes()}


@pytest.mark.parametrize("probe", starter.probes(), ids=lambda probe: probe.expect)
def test_every_probe_is_found_by_the_signature_that_it_names(
    scanner: StarterScanner, probe: starter.Probe
) -> None:
    if probe.expect in _HASHES:
        digest, size, _ = _HASHES[probe.expect]
        assert digest == hashlib.sha256(probe.content).hexdigest()
        assert size == str(len(probe.content))
    else:
        assert probe.expect in scanner.names(attachment(probe.name, probe.content))


def test_the_test_file_is_probed_for_rules_and_hashes() -> None:
    expected = {probe.expect for probe in starter.probes()}
    assert {"Mailward.Test.EICAR", "Mailward.Test.EICAR.SHA256"} <= expected


def test_the_test_file_is_the_one_that_everybody_knows() -> None:
    assert len(starter.eicar()) == 68
    # As published by its owner
    assert hashlib.md5(starter.eicar()).hexdigest() == "44d88612fea8a8f36de82e1278abb02f"


def test_rules_come_one_namespace_a_file_in_order() -> None:
    namespaces = [namespace for namespace, _ in starter.rules()]
    assert namespaces == sorted(set(namespaces))
    assert "starter.pdf" in namespaces
