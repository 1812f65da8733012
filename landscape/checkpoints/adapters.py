"""LoRA adapters as PEFT saves them: small matrices beside the layers of a base network whose weights lie elsewhere.

A folder of ``save_pretrained`` holds ``adapter_model.safetensors`` and ``adapter_config.json``. Of the latter only
numbers and names are used: PEFT would import modules that it names, and match its regular expressions.
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from landscape.checkpoints.fitting import fit
from landscape.checkpoints.reading import Contents, read_checkpoint
from landscape.errors import InputError, UsageError
from landscape.isolation.randomness import private_randomness
from landscape.isolation.switches import no_warnings
from landscape.registry.extras import install
from landscape.registry.names import Specification, split
from landscape.registry.user_code import names_code

_OWN = "put the adapter around its base yourself, and name the function that returns it: -m ./file.py:factory"
# Of the settings, those that say what the adapted network computes, and those that do not once it is trained.
_USED = (
    *("r", "lora_alpha", "alpha_pattern", "use_rslora", "use_dora", "fan_in_fan_out", "lora_bias"),
    *("modules_to_save", "bias"),
)
_WITHOUT_EFFECT = (
    *("task_type", "peft_type", "auto_mapping", "peft_version", "base_model_name_or_path", "revision"),
    *(
        "inference_mode",
        "lora_dropout",
        "megatron_core",
        "runtime_config",
        "eva_config",
        "ensure_weight_tying",
    ),
    *("qalora_group_size", "init_lora_weights"),
    # The names of the tensors say these.
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "rank_pattern"),
)
# Ways to begin that leave the base as it is; others split its weights, so that the saved ones are of another base.
_BEGINNINGS = (None, True, False, "gaussian", "orthogonal", "eva")
_NAME = re.compile(r"[\w.^$\\-]{1,500}")
_MATRIX = re.compile(r"base_model\.model\.(.+)\.lora_(?:embedding_)?A(?:\.weight)?")


def base_name(contents: Contents) -> str | None:
    """The base network that an adapter says it is for; a name, from which nothing is loaded."""
    name = (contents.adapter or {}).get("base_model_name_or_path")
    return name if isinstance(name, str) and name.isprintable() and 0 < len(name) < 500 else None


def loaded_base(base: nn.Module, network: object, contents: Contents) -> tuple[str, ...]:
    """Puts the weights of the base network into it, in place, where ``network`` is a name that has some.

    Returns:
        What was done, for the reader.

    Raises:
        UsageError: The network of that name has no weights of its own.
    """
    if not isinstance(network, (str, Specification)):
        return ()
    name = str(network)
    if names_code(network):
        return (f"the base network has the weights that {name} gives it",)
    if not split(name).name.startswith(("hf:", "timm:")):
        raise UsageError(
            f"{contents.path} is an adapter, and '{name}' is a network without weights: name one that has them, "
            "-m hf:FOLDER, or -m ./file.py:factory"
        )
    of_base = read_checkpoint(name)
    notes = fit(base, of_base.state, source=str(of_base.path), name=name)
    return (f"the base network has the weights of {of_base.path}", *of_base.notes, *notes)


def adapted(base: nn.Module, contents: Contents, name: str) -> tuple[nn.Module, str]:
    """The base network, which is changed, with the adapter of a checkpoint, whose weights alone require a gradient.

    Returns:
        The network, and its name: the adapter's with a hash of the base's weights and of the settings, which are no
        part of the adapter's own file.

    Raises:
        InputError: The adapter is of another kind, or does not fit the network.
        UsageError: PEFT is not installed.
    """
    try:
        import peft
    except ImportError:
        raise UsageError(
            f"{contents.path} is an adapter of PEFT, which is not installed; {install('peft')} adds it"
        ) from None
    if hasattr(base, "peft_config"):  # the user's function has put one of this form there
        load_adapter(base, contents)
        return base, name
    settings, ranks = _settings(contents), _ranks(contents)
    usual = Counter(ranks.values()).most_common(1)[0][0]
    digest = hashlib.sha256(json.dumps([settings, ranks], sort_keys=True).encode())
    for key, tensor in base.state_dict().items():
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    config = peft.LoraConfig(
        **{**settings, "r": usual, "target_modules": list(ranks), "lora_dropout": 0.0},
        # Longest names first, as each is also tried at the end of longer ones.
        rank_pattern={
            re.escape(n): ranks[n] for n in sorted(ranks, key=len, reverse=True) if ranks[n] != usual
        },
    )
    try:
        with private_randomness(seed=0), no_warnings:
            network = peft.PeftModel(base, config)
    except (ValueError, KeyError, TypeError, AttributeError) as failure:
        raise InputError(
            f"{contents.path} does not fit {type(base).__name__}: {' '.join(str(failure).split())[:200]}; is "
            f"{name} its base{_of(contents)}?"
        ) from failure
    load_adapter(network, contents)
    return network, f"LoRA on {name} ({digest.hexdigest()[:12]})"


def load_adapter(network: Any, contents: Contents) -> None:
    """Puts the weights of an adapter into a network with one of that form, in place.

    Raises:
        InputError: It is of another form.
    """
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    if contents.adapter is None:
        raise InputError(
            f"{contents.path} is not an adapter, and the network is one with an adapter; name the folder that "
            "save_pretrained() of PEFT has written"
        )
    expected: Mapping[str, Tensor] = get_peft_model_state_dict(network, save_embedding_layers=False)
    missing = [key for key in expected if key not in contents.state]
    beyond = [key for key in contents.state if key not in expected]
    unlike = [
        key for key in expected if key not in missing and expected[key].shape != contents.state[key].shape
    ]
    for keys, what in ((missing, "lacks"), (beyond, "holds"), (unlike, "has another shape of")):
        if keys:
            raise InputError(
                f"{contents.path} does not fit this network: it {what} {keys[0]} ({len(keys)} such tensors of "
                f"{len(expected)}); name the base that it was trained on{_of(contents)} with -m"
            )
    if any(tensor.dtype == torch.float64 for tensor in contents.state.values()):
        network.double()
    with no_warnings:
        set_peft_model_state_dict(network, dict(contents.state))


def require_same_form(contents: Contents, other: Contents) -> None:
    """Raises an :class:`InputError` unless two adapters differ in nothing but their weights."""
    if (contents.adapter is None) != (other.adapter is None) or (
        contents.adapter is not None and _settings(contents) != _settings(other)
    ):
        raise InputError(
            f"{other.path} and {contents.path} are not adapters with the same settings (such as lora_alpha), so that "
            "no plane goes through both; measure them one by one"
        )


def _of(contents: Contents) -> str:
    name = base_name(contents)
    return f", {name}," if name else ""


def _settings(contents: Contents) -> dict[str, Any]:
    """The settings of an adapter by which its network is built, each checked."""
    content, path = contents.adapter or {}, contents.path
    if content.get("peft_type") != "LORA":
        raise InputError(
            f"{path} is an adapter of kind {content.get('peft_type')!r}, and only LORA is loaded; {_OWN}"
        )
    if content.get("init_lora_weights") not in _BEGINNINGS:
        raise InputError(
            f"{path} began with init_lora_weights={content['init_lora_weights']!r}, which changes the base network: "
            "save it with path_initial_model_for_weight_conversion, which makes a plain LoRA adapter"
        )
    for key, value in content.items():
        if key not in (*_USED, *_WITHOUT_EFFECT) and value not in (None, False, {}, []):
            raise InputError(f"{path}: its adapter_config.json sets {key}, which is not supported; {_OWN}")
    settings = {key: content[key] for key in _USED if content.get(key) not in (None, False, {}, [])}
    alphas, saved = settings.get("alpha_pattern", {}), settings.get("modules_to_save", [])
    is_formed = isinstance(alphas, Mapping) and isinstance(saved, list)
    numbers = [settings.get("r", 8), settings.get("lora_alpha", 8), *(alphas.values() if is_formed else ())]
    names = [*alphas, *saved] if is_formed else []
    if (
        not is_formed
        or not all(type(n) in (int, float) and math.isfinite(n) for n in numbers)
        or not all(isinstance(n, str) and _NAME.fullmatch(n) for n in names)
        or settings.get("bias", "none") not in ("none", "all", "lora_only")
    ):
        raise InputError(
            f"{path}: the settings in its adapter_config.json are not those of a LoRA adapter; {_OWN}"
        )
    return settings


def _ranks(contents: Contents) -> dict[str, int]:
    """The rank of the adapter of every layer that has one, by the layer's name."""
    matches = ((_MATRIX.fullmatch(key), tensor) for key, tensor in contents.state.items())
    ranks = {match[1]: len(tensor) for match, tensor in matches if match and tensor.ndim > 0}
    if not ranks:
        raise InputError(
            f"{contents.path} holds no matrices lora_A and lora_B, but {next(iter(contents.state), 'nothing')}: it is "
            "no LoRA adapter as save_pretrained() writes it"
        )
    return ranks
