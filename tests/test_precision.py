"""Products in full precision and deterministic kernels: switched on inside, and every setting afterwards as it was."""

import itertools
import threading
import warnings

import pytest
import torch
from torch import nn

from landscape.errors import Remark
from landscape.isolation.precision import float32_settings, full_precision
from landscape.linalg import dense, lanczos
from landscape.objective import Objective

C = torch._C
SCOPES = ("generic", "all"), ("cuda", "all"), ("mkldnn", "all")
PRODUCTS = tuple(itertools.product(("cuda", "mkldnn"), ("matmul", "conv", "rnn")))
NEW = pytest.mark.skipif(not hasattr(C, "_get_fp32_precision_getter"), reason="torch < 2.9 has one API")


@pytest.fixture(autouse=True)
def as_at_the_start():
    """Afterwards the settings are those of a new process, except that TF32 in convolutions is no longer inherited."""
    reduction = torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction
    yield
    torch.set_float32_matmul_precision("highest")
    if hasattr(C, "_set_fp32_precision_setter"):
        for place in (*SCOPES, *PRODUCTS):
            if place[0] == "mkldnn" or place[1] in ("all", "matmul"):
                C._set_fp32_precision_setter(*place, "none")
    if {C._get_fp32_precision_getter("cuda", kind) for kind in ("conv", "rnn")} != {"tf32"}:
        torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = reduction
    torch.backends.cuda.matmul.allow_fp16_accumulation = torch.backends.cudnn.benchmark = False


@pytest.fixture
def gpu(monkeypatch):
    """A machine that says it has a GPU."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)


def settings():
    """All that may be read, by name; settings that disagree raise, which is kept."""

    def read(getter, *arguments):
        try:
            return getter(*arguments)
        except RuntimeError:
            return "raises"

    names = "cublas_allow_fp16_reduced_precision_reduction cublas_allow_bf16_reduced_precision_reduction "
    names += "cublas_allow_fp16_accumulation math_sdp_allow_fp16_bf16_reduction float32_matmul_precision "
    names += (
        "cublas_allow_tf32 cudnn_allow_tf32 cudnn_deterministic cudnn_benchmark deterministic_algorithms "
    )
    names += "deterministic_algorithms_warn_only deterministic_fill_uninitialized_memory"
    getters = {name: getattr(C, f"_get_{name}") for name in names.split() if hasattr(C, f"_get_{name}")}
    values = {name: read(getter) for name, getter in getters.items()}
    if hasattr(C, "_get_fp32_precision_getter"):
        values |= {place: C._get_fp32_precision_getter(*place) for place in SCOPES + PRODUCTS}
    return values | {"filters": list(warnings.filters)}


def own():
    """What each product has of its own: read with one value above it and then with another, which it may inherit."""
    get, put = C._get_fp32_precision_getter, C._set_fp32_precision_setter
    before = [get(*SCOPES[0])]
    seen = []
    for value in ("ieee", "tf32"):
        put(*SCOPES[0], value)
        seen.append({place: get(*place) for place in SCOPES[1:] + PRODUCTS})
    put(*SCOPES[0], before[0])
    return seen


def legacy_high():
    torch.set_float32_matmul_precision("high")


def legacy_medium():
    torch.set_float32_matmul_precision("medium")


def legacy_flags():
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True


def legacy_split():
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = True


def everything():
    torch.backends.fp32_precision = "tf32"


def one_backend():
    C._set_fp32_precision_setter("cuda", "all", "tf32")
    C._set_fp32_precision_setter("mkldnn", "all", "bf16")


def one_kind():
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.mkldnn.conv.fp32_precision = "bf16"


def both_apis():
    torch.set_float32_matmul_precision("high")
    torch.backends.cuda.matmul.fp32_precision = "none"
    torch.backends.mkldnn.matmul.fp32_precision = "bf16"
    torch.backends.fp32_precision = "ieee"


def nothing():
    pass


def reductions():
    torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction = (False, False)
    torch.backends.cuda.matmul.allow_fp16_accumulation = True
    torch.backends.cudnn.benchmark = True


@NEW
@pytest.mark.parametrize(
    "user",
    [
        nothing,
        legacy_high,
        legacy_medium,
        everything,
        one_backend,
        both_apis,
        reductions,
        one_kind,
        legacy_flags,
        legacy_split,
    ],
)
def test_reduced_precision_is_off_inside_and_every_setting_is_afterwards_what_it_was(gpu, user):
    user()
    before = settings(), own()
    with full_precision():
        inside = settings()
        with full_precision():
            assert settings() == inside
    assert (settings(), own()) == before
    assert {inside[place] for place in PRODUCTS} <= {"ieee", "none"}
    assert inside["float32_matmul_precision"] == "highest"
    assert inside["cublas_allow_tf32"] is False
    assert inside["cublas_allow_fp16_reduced_precision_reduction"][0] is False
    assert inside["cublas_allow_bf16_reduced_precision_reduction"][0] is False
    assert inside["cublas_allow_fp16_accumulation"] is False
    assert (inside["cudnn_deterministic"], inside["cudnn_benchmark"]) == (True, False)


@NEW
@pytest.mark.parametrize("user", [nothing, everything, legacy_flags])
def test_a_network_that_switches_cudnn_off_meanwhile_can_be_measured_and_allows_no_reduced_precision(
    gpu, user
):
    user()
    before = settings(), own()
    with full_precision():
        with torch.backends.cudnn.flags(enabled=False):
            assert not torch.backends.cudnn.enabled
            assert {C._get_fp32_precision_getter(*place) for place in PRODUCTS} == {"ieee"}
        torch.backends.cudnn.allow_tf32 = True
        assert not torch.backends.cudnn.allow_tf32
        assert {C._get_fp32_precision_getter(*place) for place in PRODUCTS} == {"ieee"}
    assert (settings(), own()) == before


def test_the_settings_are_restored_after_an_error(gpu):
    torch.set_float32_matmul_precision("medium")
    before = settings()
    with pytest.raises(ZeroDivisionError), full_precision():
        raise ZeroDivisionError
    assert settings() == before


def test_a_thread_that_leaves_first_turns_nothing_back(gpu):
    torch.set_float32_matmul_precision("high")
    before = settings()
    inside = []

    def other():
        with full_precision():
            pass
        inside.append(settings())

    with full_precision():
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert inside[0]["float32_matmul_precision"] == "highest"
    assert settings() == before


def test_without_a_gpu_nothing_is_switched_that_has_no_effect():
    torch.backends.cudnn.benchmark = True
    before = settings()
    with full_precision():
        assert settings() == before


def test_products_on_the_cpu_are_full_where_its_kernels_could_use_bfloat16():
    """Where the processor has them: on others, the numbers are equal in any case."""
    torch.manual_seed(0)
    a, b = torch.randn(2, 256, 256).unbind()
    exact = a @ b
    torch.set_float32_matmul_precision("medium")
    with full_precision():
        assert torch.equal(a @ b, exact)
    assert torch.get_float32_matmul_precision() == "medium"


@pytest.mark.parametrize("name", ["loss", "gradient", "product"])
def test_autocast_around_a_measurement_changes_no_number(name):
    torch.manual_seed(0)
    x, y = torch.randn(16, 8), torch.randint(0, 3, (16,))
    network = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 3))

    def number():
        here = Objective(network, nn.CrossEntropyLoss(), (x, y))
        numbers = {
            "loss": lambda: torch.tensor(here.loss),
            "gradient": lambda: here.gradient,
            "product": lambda: here.hessian_product(torch.ones(here.dimension)),
        }
        return numbers[name]()

    before = number()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(number(), before)
        assert torch.is_autocast_enabled("cpu")


def test_autocast_around_a_solver_changes_no_number():
    matrix = torch.randn(30, 30, generator=torch.Generator().manual_seed(0))
    a = dense(matrix + matrix.T)

    def value():
        return lanczos(a, count=2, tolerance=1e-6, generator=torch.Generator().manual_seed(1)).values

    before = value()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(value(), before)


def test_an_operation_without_a_deterministic_kernel_is_computed_and_said_once(gpu):
    values = torch.zeros(3)

    def computed():
        with full_precision():
            assert torch.are_deterministic_algorithms_enabled()
            values.put_(torch.tensor([0, 1]), torch.ones(2))

    before = settings()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        computed()
        computed()
    assert values.tolist() == [1, 1, 0]
    assert [warning.category for warning in seen] == [Remark]
    assert "put_: torch has no deterministic kernel" in str(seen[0].message)
    assert settings() == before


def test_warnings_of_the_users_own_are_heard_and_new_memory_is_not_filled(gpu):
    texts = "Deterministic behavior was enabled, but CUBLAS_WORKSPACE_CONFIG is not set", "of the user's own"
    with warnings.catch_warnings(record=True, action="always") as heard, full_precision():
        for text in texts:
            warnings.warn(text, stacklevel=1)
        assert not C._get_deterministic_fill_uninitialized_memory()
    assert [str(each.message) for each in heard] == ["of the user's own"]
    assert C._get_deterministic_fill_uninitialized_memory()


@NEW
def test_a_setting_of_one_backend_alone_is_found():
    place = "mkldnn", "matmul"
    C._set_fp32_precision_setter(*place, "bf16")
    with full_precision():
        assert C._get_fp32_precision_getter(*place) == "ieee"
    assert C._get_fp32_precision_getter(*place) == "bf16"


@NEW
def test_a_report_says_how_each_kind_of_product_is_computed():
    C._set_fp32_precision_setter("cuda", "matmul", "tf32")
    assert "cuda matmul tf32, cuda conv " in float32_settings()


def test_deterministic_algorithms_of_the_users_own_stay_strict(gpu):
    C._set_deterministic_algorithms(True, warn_only=False)  # the public function imports torch's compiler
    try:
        with full_precision(), pytest.raises(RuntimeError, match="put_ does not have a deterministic"):
            torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        C._set_deterministic_algorithms(False, warn_only=False)
