"""Pickles that try to run code, each in another way. ``{canary}`` is a file that appears if one of them succeeds."""

import io
import pickle
import struct
import subprocess
import tarfile
import zipfile

import torch

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)


class Call:
    """Pickles to a call."""

    def __init__(self, function, *arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


def raw(name, *texts):
    """Protocol 2 by hand: a global called with texts."""
    module, _, attribute = name.rpartition(".")
    body = b"".join(b"X" + struct.pack("<I", len(t)) + t for t in (text.encode() for text in texts))
    return b"\x80\x02c" + f"{module}\n{attribute}\n".encode() + b"(" + body + b"tR."


def archive(path, pickled, *, folder="archive", parts=()):
    """A zip file as torch.save writes it, around any pickle."""
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr(f"{folder}/data.pkl", pickled)
        opened.writestr(f"{folder}/byteorder", "little")
        opened.writestr(f"{folder}/version", "3\n")
        for name in parts:
            opened.writestr(f"{folder}/{name}", parts[name])


def system(path, canary):
    archive(path, raw("os.system", f"touch {canary}"))


def posix(path, canary):
    archive(path, raw("posix.system", f"touch {canary}"))


def evaluated(path, canary):
    torch.save({"state_dict": Call(eval, f"open({str(canary)!r}, 'w')")}, path)


def executed(path, canary):
    legacy = {"state_dict": Call(exec, f"open({str(canary)!r}, 'w')")}
    torch.save(legacy, path, _use_new_zipfile_serialization=False)


def started(path, canary):
    path.write_bytes(pickle.dumps(Call(subprocess.Popen, ["touch", str(canary)])))


def attribute_chain(path, canary):
    """getattr(getattr(importlib, "import_module")("os"), "system")(…)"""
    command = f"touch {canary}".encode()
    inner = b"cbuiltins\ngetattr\n(cimportlib\nimport_module\n(X\x02\x00\x00\x00ostRX\x06\x00\x00\x00systemtR"
    archive(path, b"\x80\x02" + inner + b"(X" + struct.pack("<I", len(command)) + command + b"tR.")


def imported(path, canary):
    archive(path, raw("importlib.import_module", "antigravity"))


def reconstructed(path, canary):
    archive(path, b"\x80\x02ccopy_reg\n_reconstructor\n(cos\n_wrap_close\nc__builtin__\nobject\nNtR.")


def extended(path, canary):
    """The extension registry of copyreg, whose codes stand for globals."""
    archive(path, b"\x80\x02\x82\x01)R.")


def inner_load(path, canary):
    """Torch's own way to open tensors inside a pickle: it would open the inner file without restrictions."""
    inner = io.BytesIO()
    torch.save(Call(eval, f"open({str(canary)!r}, 'w')"), inner, _use_new_zipfile_serialization=False)
    path.write_bytes(pickle.dumps(Call(torch.storage._load_from_bytes, inner.getvalue()), protocol=2))


def torch_load(path, canary):
    archive(path, raw("torch.serialization.load", "other.pt"))


def hub(path, canary):
    archive(path, raw("torch.hub.load", "none/none", "none"))


def jit(path, canary):
    archive(path, raw("torch.jit._serialization.load", "other.pt"))


def persistent(path, canary):
    """The container of old files, whose source torch compares and for which it writes a patch."""
    pid = b"(X\x06\x00\x00\x00modulectorch.nn.modules.linear\nLinear\nX\x01\x00\x00\x00aX\x01\x00\x00\x00btQ."
    body = b"\x80\x02" + pid
    path.write_bytes(MAGIC + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + body + pickle.dumps([], 2))


def persistent_object(path, canary):
    """A persistent id that is itself made by a call."""
    archive(path, raw("os.system", f"touch {canary}")[:-1] + b"Q.")


def old_tar(path, canary):
    content = raw("os.system", f"touch {canary}")
    with tarfile.open(path, "w") as opened:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            opened.addfile(member, io.BytesIO(content))


def script_run(path, canary):
    archive(path, raw("runpy.run_path", "evil.py"))


def numpy_object(path, canary):
    """A NumPy scalar of objects, whose bytes are a pickle again."""
    evil = pickle.dumps(Call(eval, f"open({str(canary)!r}, 'w')"), protocol=2).decode("latin1").encode()
    dtype = b"cnumpy\ndtype\n(X\x02\x00\x00\x00O8K\x00K\x01tR"
    text = b"c_codecs\nencode\n(X" + struct.pack("<I", len(evil)) + evil + b"X\x06\x00\x00\x00latin1tR"
    archive(path, b"\x80\x02cnumpy.core.multiarray\nscalar\n(" + dtype + text + b"tR.")


def namespace_class(path, canary):
    """Settings that try to become another class, and to hide a call in an attribute."""
    state = b"}(X\x09\x00\x00\x00__class__cargparse\nNamespace\nX\x0a\x00\x00\x00__reduce__cbuiltins\neval\nu"
    archive(path, b"\x80\x02cargparse\nNamespace\n)\x81" + state + b"b.")


def hidden_by_protocol(path, canary):
    """Newer instructions, which torch's careful reader does not know."""
    torch.save({"a": Call(eval, f"open({str(canary)!r}, 'w')")}, path, pickle_protocol=4)


def second_pickle(path, canary):
    """Harmless at first; the call is in the second data.pkl of the same archive."""
    torch.save({"w": torch.ones(2)}, path)
    with zipfile.ZipFile(path, "a") as opened:
        opened.writestr("again/data.pkl", raw("os.system", f"touch {canary}"))


RUN_CODE = {
    function.__name__: function
    for function in (
        system,
        posix,
        evaluated,
        executed,
        started,
        attribute_chain,
        imported,
        reconstructed,
        extended,
        inner_load,
        torch_load,
        hub,
        jit,
        persistent,
        persistent_object,
        old_tar,
        script_run,
        numpy_object,
        namespace_class,
        hidden_by_protocol,
        second_pickle,
    )
}
