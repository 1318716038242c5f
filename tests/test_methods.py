"""Finding a method by its name, and its weights by theirs."""

import hashlib

import pytest

from bokehlib import methods, study
from bokehlib.io.errors import InputError


def test_a_method_is_ready_once_its_weights_are_found(tmp_path, monkeypatch):
    monkeypatch.setenv("BOKEHLIB_WEIGHTS", str(tmp_path))
    method = study.Method("X", "x", "bokehlib.baselines.identity:load", ("a.bin", "b.bin"))
    monkeypatch.setitem(study.METHODS, "x", method)
    (tmp_path / "a.bin").write_bytes(b"1")
    assert "b.bin" in methods.lacks("x")
    assert "a.bin" not in methods.lacks("x")
    with pytest.raises(InputError, match=r"method: found x.*b\.bin.*accepted: .*scatter"):
        methods.load("x", "cpu")
    with pytest.raises(InputError, match=r"b\.bin"):
        methods.weights_hash("x")
    (tmp_path / "b.bin").write_bytes(b"2")
    assert methods.lacks("x") == ""
    assert methods.find_weights("b.bin") == tmp_path / "b.bin"
    assert methods.weights_hash("x") == hashlib.sha256(b"12").hexdigest()
    assert methods.load("x", "cpu")(1, 2, 3) == 1


def test_a_method_without_weights_has_no_hash():
    assert methods.weights_hash("scatter") == ""
