"""Runs every signature of a SavedModel with TensorFlow's C API, and no Python of TensorFlow.

    python run_with_c_api.py <version> <names.json> <inputs.npz> <outputs.npz>

`names.json` has the graph's name of every input and output of every signature:
`{signature: {"inputs": {name: "operation:index"}, "outputs": ...}}`. The names in the archives are
`<case>/<signature>/<tensor>`.
"""

import ctypes
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
from run_without_tfvae import grouped

DTYPES = {1: np.float32, 9: np.int64, 6: np.int8}
NUMBERS = {np.dtype(dtype): number for number, dtype in DTYPES.items()}


class Output(ctypes.Structure):
    _fields_ = [("operation", ctypes.c_void_p), ("index", ctypes.c_int)]


class Library:
    """The functions of the C API in the libraries of TensorFlow's wheel."""

    def __init__(self):
        (folder,) = importlib.util.find_spec("tensorflow").submodule_search_locations
        self.libraries = [
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
            for name in ("libtensorflow_framework.so.2", "libtensorflow_cc.so.2")
            if (path := Path(folder) / name).exists()
        ]

    def __getattr__(self, name):
        function = getattr(self.libraries[-1], name)
        function.restype = ctypes.c_void_p
        return function


class Model:
    def __init__(self, path):
        self.library = library = Library()
        self.status = library.TF_NewStatus()
        self.graph = library.TF_NewGraph()
        self.session = library.TF_LoadSessionFromSavedModel(
            ctypes.c_void_p(library.TF_NewSessionOptions()),
            None,
            path.encode(),
            (ctypes.c_char_p * 1)(b"serve"),
            1,
            ctypes.c_void_p(self.graph),
            None,
            ctypes.c_void_p(self.status),
        )
        self.check()

    def check(self):
        library = self.library
        if library.TF_GetCode(ctypes.c_void_p(self.status)):
            message = library.TF_Message(ctypes.c_void_p(self.status))
            raise RuntimeError(ctypes.string_at(message).decode())

    def output(self, name):
        operation, index = name.split(":")
        found = self.library.TF_GraphOperationByName(
            ctypes.c_void_p(self.graph), operation.encode()
        )
        assert found, name
        return Output(found, int(index))

    def tensor(self, array):
        shape = (ctypes.c_int64 * array.ndim)(*array.shape)
        tensor = self.library.TF_AllocateTensor(
            NUMBERS[array.dtype], shape, array.ndim, ctypes.c_size_t(array.nbytes)
        )
        data = self.library.TF_TensorData(ctypes.c_void_p(tensor))
        if array.nbytes:
            ctypes.memmove(data, array.tobytes(), array.nbytes)
        return tensor

    def array(self, tensor):
        tensor, library = ctypes.c_void_p(tensor), self.library
        library.TF_Dim.restype = ctypes.c_int64
        dims = library.TF_Dim
        dims.restype = ctypes.c_int64
        count = library.TF_NumDims
        count.restype = ctypes.c_int
        shape = [dims(tensor, index) for index in range(count(tensor))]
        kind = library.TF_TensorType
        kind.restype = ctypes.c_int
        size = library.TF_TensorByteSize
        size.restype = ctypes.c_size_t
        data = library.TF_TensorData(tensor)
        values = ctypes.string_at(data, size(tensor)) if size(tensor) else b""
        return np.frombuffer(values, DTYPES[kind(tensor)]).reshape(shape)

    def run(self, inputs, outputs):
        """Arrays by the graph's names of tensors, to those of the names asked for."""
        values = (ctypes.c_void_p * len(outputs))()
        self.library.TF_SessionRun(
            ctypes.c_void_p(self.session),
            None,
            (Output * len(inputs))(*map(self.output, inputs)),
            (ctypes.c_void_p * len(inputs))(*map(self.tensor, inputs.values())),
            len(inputs),
            (Output * len(outputs))(*map(self.output, outputs)),
            values,
            len(outputs),
            None,
            0,
            None,
            ctypes.c_void_p(self.status),
        )
        self.check()
        return [self.array(value) for value in values]


def main(path, names_path, inputs_path, outputs_path):
    model = Model(path)
    signatures = json.loads(Path(names_path).read_text())
    outputs = {}
    with np.load(inputs_path) as archive:
        for (case, signature), inputs in grouped(archive).items():
            names = signatures[signature]
            results = model.run(
                {names["inputs"][name]: value for name, value in inputs.items()},
                list(names["outputs"].values()),
            )
            for name, result in zip(names["outputs"], results, strict=True):
                outputs[f"{case}/{signature}/{name}"] = result
    np.savez(outputs_path, **outputs)
    assert "tensorflow" not in sys.modules


if __name__ == "__main__":
    main(*sys.argv[1:])
