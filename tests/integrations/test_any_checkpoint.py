"""Checkpoints of other projects, their networks and their data: one command, and the numbers of autograd."""

import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import own_network
import pytest
import scipy.sparse.linalg
import torch
from documented_examples import WITH_A_LIBRARY, run_code
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
OWN = Path(own_network.__file__)


def seeded(build):
    """A network with weights from a seed and batch-norm statistics that are not those of a fresh one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture
def pictures(tmp_path):
    """Ten classes in a folder, a picture each; returns inputs and targets as the folder's networks see them."""
    generator = np.random.default_rng(0)
    inputs, targets = [], []
    for label in range(10):
        folder = tmp_path / "pictures" / "train" / f"class{label}"
        folder.mkdir(parents=True)
        for index in range(1):
            pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{index}.png")
            inputs.append(torch.from_numpy(pixels).permute(2, 0, 1))
            targets.append(label)
    scaled = torch.stack(inputs).float() / 255
    return (scaled - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1), torch.tensor(targets)


def test_resnet20_saved_under_data_parallel_agrees_with_pyhessian(landscape, pictures, tmp_path):
    x, y = pictures
    model = seeded(own_network.resnet20)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(5):  # a gap in the spectrum, so that PyHessian's power iteration converges
        optimizer.zero_grad()
        cross_entropy(model(x), y).backward()
        optimizer.step()
    torch.save({"state_dict": nn.DataParallel(model).state_dict(), "epoch": 3}, tmp_path / "best.th")
    shutil.copy(OWN, tmp_path / "nets.py")
    result = landscape(
        "measure", "best.th", "-m", "./nets.py:resnet20", "-d", "imagefolder:pictures:normalize=imagenet",
        "-M", "hessian-trace", "-M", "dominant-eigenvalue:method=lanczos,tolerance=1e-4", "--format", "jsonl",
    )  # fmt: skip
    assert result.code == 0, result.err
    found = {r["measure"]: r for r in map(json.loads, result.out.splitlines())}
    assert found["hessian-trace"]["provenance"]["dimension"] == 269_722
    assert found["hessian-trace"]["provenance"]["code"] is not None

    from pyhessian import hessian

    with warnings.catch_warnings(), torch.random.fork_rng():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        for p in model.parameters():
            p.grad = None
        peer = hessian(model, nn.CrossEntropyLoss(), data=(x, y), cuda=False)
        (value,), _ = peer.eigenvalues(maxIter=40, tol=1e-4)
        samples = np.array(peer.trace(maxIter=12, tol=0.0))
    assert found["dominant-eigenvalue"]["value"] == pytest.approx(float(value), rel=1e-3)
    error = samples.std(ddof=1) / len(samples) ** 0.5
    ours = found["hessian-trace"]
    assert abs(ours["value"] - samples.mean()) < 4 * np.hypot(error, ours["standard_error"] or 0)


def test_a_vision_transformer_of_timm(agrees, pictures, tmp_path):
    import timm

    x, y = pictures
    options = {"img_size": 8, "patch_size": 4, "embed_dim": 12, "depth": 1, "num_heads": 2}
    model = seeded(lambda: timm.create_model("vit_tiny_patch16_224", num_classes=10, **options))
    torch.save({"model": model.state_dict()}, tmp_path / "vit.pth")
    name = "timm:vit_tiny_patch16_224:patch_size=4,embed_dim=12,depth=1,num_heads=2"
    result = agrees(
        "vit.pth", model, lambda m: cross_entropy(m(x.double()), y),
        "-m", name, "-d", "imagefolder:pictures:normalize=imagenet",
        model=name, data="imagefolder:pictures:normalize=imagenet",
    )  # fmt: skip
    assert "attention by matrix products: the fused kernels have no second derivative" in result.err


def test_a_network_of_torchvision_with_ten_classes(agrees, pictures, tmp_path):
    import torchvision

    x, y = pictures
    model = seeded(lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=10))
    torch.save(model.state_dict(), tmp_path / "shuffled.pt")
    agrees(
        "shuffled.pt", model, lambda m: cross_entropy(m(x.double()), y),
        "-m", "torchvision:shufflenet_v2_x0_5", "-d", "imagefolder:pictures:normalize=imagenet",
        model="torchvision:shufflenet_v2_x0_5", data="imagefolder:pictures:normalize=imagenet",
    )  # fmt: skip


def bert():
    import transformers

    sizes = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return transformers.BertForSequenceClassification(
        transformers.BertConfig(vocab_size=30, max_position_embeddings=8, num_labels=3, **sizes)
    )


@pytest.fixture
def texts(tmp_path):
    """Token numbers with padding and labels, saved by Hugging Face's ``datasets``; returns them as one batch."""
    import datasets

    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 30, (10, 6), generator=generator)
    mask = (torch.arange(6) < torch.randint(3, 7, (10, 1), generator=generator)).long()
    labels = torch.arange(10) % 3
    columns = {"input_ids": ids.tolist(), "attention_mask": mask.tolist(), "label": labels.tolist()}
    datasets.Dataset.from_dict(columns | {"text": ["…"] * 10}).save_to_disk(tmp_path / "texts")
    return {"input_ids": ids, "attention_mask": mask}, labels


@pytest.mark.parametrize("loss", ["cross-entropy", "model"])
def test_a_bert_of_transformers_with_dictionary_batches(agrees, texts, tmp_path, loss):
    inputs, labels = texts
    model = seeded(bert)
    model.save_pretrained(tmp_path / "bert")
    result = agrees(
        "bert/model.safetensors", model, lambda m: cross_entropy(m(**inputs).logits, labels),
        "-m", "hf:bert", "-d", "hf-datasets:texts", "--loss", loss,
        model="hf:bert", data="hf-datasets:texts", loss=loss,
    )  # fmt: skip
    accuracy = float((model(**inputs).logits.argmax(1) == labels).double().mean())
    assert f"accuracy {accuracy:.2%}" in result.err
    if loss == "cross-entropy":
        assert (
            "BertForSequenceClassification returns a SequenceClassifierOutput; the scores are 'logits'"
            in result.err
        )


def test_an_lstm_classifier_has_the_spectrum_that_eigsh_finds(agrees, landscape, tmp_path):
    model = seeded(own_network.LSTMClassifier)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randint(0, 20, (12, 5), generator=generator), torch.arange(12) % 3
    np.savez(tmp_path / "tokens.npz", inputs=x.numpy(), targets=y.numpy())
    torch.save(model.state_dict(), tmp_path / "lstm.pt")
    shutil.copy(OWN, tmp_path / "nets.py")
    named = {"model": "./nets.py:LSTMClassifier:hidden=8", "data": "npz:tokens.npz"}
    flags = ("-m", named["model"], "-d", named["data"])
    result = agrees("lstm.pt", model, lambda m: cross_entropy(m(x), y), *flags, **named)
    assert "LSTM as loops over time" in result.err

    parameters = list(model.parameters())
    gradient = torch.autograd.grad(cross_entropy(model(x), y), parameters, create_graph=True)
    flat = torch.cat([g.flatten() for g in gradient])

    def product(vector):
        parts = torch.autograd.grad(flat @ torch.from_numpy(vector).flatten(), parameters, retain_graph=True)
        return torch.cat([p.flatten() for p in parts]).numpy()

    operator = scipy.sparse.linalg.LinearOperator((len(flat),) * 2, matvec=product, dtype=np.float64)
    (value,) = scipy.sparse.linalg.eigsh(
        operator, k=1, which="LM", tol=1e-9, return_eigenvectors=False, v0=np.ones(len(flat))
    )
    result = landscape(
        "measure", "lstm.pt", *flags, "--dtype", "float64", "--format", "jsonl",
        "-M", "dominant-eigenvalue:method=lanczos,tolerance=1e-7",
    )  # fmt: skip
    assert json.loads(result.out)["value"] == pytest.approx(float(value), rel=1e-6)


def test_a_checkpoint_of_lightning(agrees, tmp_path):
    import lightning

    class Lit(lightning.LightningModule):
        def __init__(self, width):
            super().__init__()
            self.save_hyperparameters()
            self.net = seeded(lambda: nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, 3)))

        def training_step(self, batch, index):
            return cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters())

    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 4, generator=generator), torch.arange(12) % 3
    torch.save({}, tmp_path / "x")
    from safetensors.torch import save_file

    save_file({"train_inputs": x, "train_targets": y}, tmp_path / "points.safetensors")
    lit = Lit(width=5)
    trainer = lightning.Trainer(
        max_epochs=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, accelerator="cpu", default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(lit, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=4))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "def net(*, width, classes):\n"
        "    return nn.Sequential(nn.Linear(4, width), nn.Tanh(), nn.Linear(width, classes))\n"
    )
    named = {"model": "./nets.py:net:width=5", "data": "safetensors:points.safetensors"}
    agrees(
        "last.ckpt", lit.net, lambda m: cross_entropy(m(x.double()), y),
        "-m", named["model"], "-d", named["data"], **named,
    )  # fmt: skip


def test_the_state_dict_of_a_compiled_model(agrees, tmp_path):
    model = seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 2)))
    torch.save(torch.compile(model).state_dict(), tmp_path / "compiled.pt")
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "mine.py").write_text(
        "import torch\n"
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 2))\n"
        "def data(n=9):\n"
        "    x = torch.linspace(-1, 1, 4 * n).reshape(n, 4)\n"
        "    return torch.utils.data.TensorDataset(x, (torch.arange(n) // 2) % 2)\n"
    )
    x, y = torch.linspace(-1, 1, 32).reshape(8, 4).double(), (torch.arange(8) // 2) % 2
    named = {"model": "my_package.mine:net", "data": "./my_package/mine.py:data:n=8"}
    agrees(
        "compiled.pt",
        model,
        lambda m: cross_entropy(m(x), y),
        "-m",
        named["model"],
        "-d",
        named["data"],
        **named,
    )


MEASURED = [example for example in WITH_A_LIBRARY if "landscape.measure(" in example]


@pytest.mark.parametrize("code", MEASURED, ids=range(len(MEASURED)))
def test_an_example_of_readme_runs(code):
    assert "objective" in run_code(code)
