"""Devices: a name that cannot work here is answered at once, with what can."""

import subprocess
import sys

import pytest
import torch

from sensorium import devices
from sensorium.errors import UserError


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many GPUs of each kind, as torch would tell."""

    def has(cuda=0, mps=False, built="12.8"):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: cuda)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
        monkeypatch.setattr(torch.version, "cuda", built)

    return has


def test_what_a_machine_has(machine):
    machine()
    assert devices.available() == ["cpu"]
    machine(cuda=2)
    assert devices.available() == ["cpu", "cuda", "cuda:0", "cuda:1"]
    machine(mps=True)
    assert devices.available() == ["cpu", "mps"]


def test_a_device_that_is_here_is_given_back(machine):
    machine(cuda=2, mps=True)
    for name in ("cpu", "cuda", "cuda:0", "cuda:1", "mps"):
        assert devices.check(name) == name


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("gpu", "cuda"),
        ("GPU", "cuda"),
        ("gpu:1", "cuda"),
        ("nvidia", "cuda"),
        ("metal", "mps"),
        ("Apple", "mps"),
        ("cdua", "cuda"),
        ("CPU", "cpu"),
        ("tpu9000", None),
        ("", None),
    ],
)
def test_no_such_name_names_the_nearest(name, near):
    with pytest.raises(UserError) as caught:
        devices.check(name)
    assert caught.value.field == "device"
    assert caught.value.nearest == near
    assert caught.value.expected == "cpu, cuda, cuda:1 or mps"


@pytest.mark.parametrize("name", ["cpu\n", "cuda:", "cuda:-1", "cuda:12345", "cpu:0", " cpu"])
def test_names_are_exact(machine, name):
    machine(cuda=1)
    with pytest.raises(UserError, match="expected cpu, cuda, cuda:1 or mps"):
        devices.check(name)


def test_not_on_this_machine_says_what_is(machine):
    machine(cuda=1)
    with pytest.raises(UserError) as caught:
        devices.check("cuda:1")
    assert caught.value.expected == "one that this machine has: cpu, cuda, cuda:0"
    assert caught.value.found == "cuda:1"
    with pytest.raises(UserError, match="found mps"):
        devices.check("mps")


def test_advice_where_this_torch_is_built_without_cuda(machine):
    machine(built=None)
    with pytest.raises(UserError) as caught:
        devices.check("cuda")
    assert "without CUDA" in caught.value.see
    with pytest.raises(UserError) as caught:
        devices.check("mps")
    assert caught.value.see is None
    machine(built="12.8")  # built with CUDA, but no GPU: another torch would not help
    with pytest.raises(UserError) as caught:
        devices.check("cuda")
    assert caught.value.see is None


def test_cpu_and_misspelt_names_need_no_torch():
    code = (
        "import sys\n"
        "from sensorium import devices\n"
        "devices.check('cpu')\n"
        "try: devices.check('gpu')\n"
        "except Exception: pass\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
