import pytest
from needs import program, require


def test_what_is_missing_skips_a_test_and_fails_it_in_ci(monkeypatch):
    require(True, "all is there")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no sshd"):
        require(False, "no sshd")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no sshd, and in CI no test may be skipped"):
        require(False, "no sshd")


def test_a_program_is_found_or_named(monkeypatch):
    assert program("sh").endswith("/sh")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no-such-program is not installed"):
        program("no-such-program")
