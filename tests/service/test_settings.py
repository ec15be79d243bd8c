"""Where settings come from, and which of two wins."""

import pytest

from models.errors import InvalidConfig
from service.settings import read_settings


@pytest.fixture
def file(tmp_path, monkeypatch):
    for name in ("LATENTD_PORT", "LATENTD_HOST", "LATENTD_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "latentd.toml"
    path.write_text('port = 1001\nhost = "1.1.1.1"\nbatch_rows = 3\n[limits]\nrows = 7\n')
    return path


def test_flags_win_over_variables_and_those_over_the_file(file, monkeypatch):
    monkeypatch.setenv("LATENTD_CONFIG", str(file))
    assert read_settings().port == 1001
    monkeypatch.setenv("LATENTD_PORT", "1002")
    assert read_settings().port == 1002
    assert read_settings(port=1003, host=None).port == 1003
    assert (read_settings().host, read_settings().limits.rows) == ("1.1.1.1", 7)


def test_a_limit_can_be_set_by_a_variable(file, monkeypatch):
    monkeypatch.setenv("LATENTD_LIMITS__ROWS", "5")
    settings = read_settings(config=file)
    assert settings.limits.rows == 5
    assert settings.batch_rows == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "unknown setting 'prot'; did you mean 'port'"),
        ("[limits]\nrow = 1", "unknown setting 'row'; did you mean 'rows'"),
        ("port = 70000", "port"),
        ("port = 'x'", "port"),
        ("determinism = 'slow'", "determinism: Input should be 'strict' or 'fast'"),
        ("port =", "is not TOML"),
        ("limits = 3", "limits"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_the_key(file, text, message):
    file.write_text(text)
    with pytest.raises(InvalidConfig, match=message):
        read_settings(config=file)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(InvalidConfig, match="cannot read"):
        read_settings(config=tmp_path / "none.toml")
