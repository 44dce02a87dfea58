"""A pickle's instructions carried out on inert stand-ins: nothing is imported, called or built but numbers, texts, lists and notes of tensors.

Knows the opcodes that PyTorch's own restricted reader knows, and refuses the rest. Python's unpickler is not used even with a guarded `find_class`: a
few bytes make it reserve gigabytes (a large memo index) or overrun its stack (the hash of a deeply nested tuple).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NoReturn

from webui.backend.formats.contract import AGAIN, UNFINISHED

DTYPES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "short": "I16", "uint16": "U16", "int32": "I32", "int": "I32", "uint32": "U32",
    "int64": "I64", "long": "I64", "uint64": "U64", "float16": "F16", "half": "F16", "bfloat16": "BF16", "float32": "F32", "float": "F32",
    "float64": "F64", "double": "F64", "complex64": "C64", "complex128": "C128", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
    "float8_e8m0fnu": "F8_E8M0",
}
"""torch's names of dtypes → ours."""

STORAGES = {
    "BoolStorage": "BOOL", "ByteStorage": "U8", "CharStorage": "I8", "ShortStorage": "I16", "IntStorage": "I32", "LongStorage": "I64",
    "HalfStorage": "F16", "BFloat16Storage": "BF16", "FloatStorage": "F32", "DoubleStorage": "F64", "ComplexFloatStorage": "C64",
    "ComplexDoubleStorage": "C128", "UntypedStorage": "U8",
}
"""torch's classes of storages → the dtype of their elements; an untyped one counts bytes."""

BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4, "U32": 4, "F32": 4,
    "I64": 8, "U64": 8, "F64": 8, "C64": 8, "C128": 16,
}
INERT_PACKAGES = ("pytorch_lightning", "lightning", "lightning_fabric", "omegaconf")
INERT_NAMES = (
    "numpy.core.multiarray.scalar", "numpy.core.multiarray._reconstruct", "numpy._core.multiarray.scalar", "numpy._core.multiarray._reconstruct",
    "numpy.dtype", "numpy.ndarray", "torch.nn.modules.container.ParameterDict", "argparse.Namespace", "collections.defaultdict", "typing.Any",
)
"""What training programs leave in their files beside the weights. It is read as `Inert`, by us and by torch."""

PLAIN_NAMES = (
    "_codecs.encode", "builtins.set", "__builtin__.set", "builtins.bytearray", "__builtin__.bytearray", "builtins.complex", "__builtin__.complex",
    "collections.Counter", "torch.device", "torch.serialization._get_layout",
)
"""What torch's restricted reader builds itself; here it is as inert as the rest."""

_NESTING = 1000
_KEYS = {str, int, float, bool, bytes, type(None)}


class Refused(Exception):
    """The pickle cannot be read, or wants what a model does not need: `what` ("asks for os.system") and a way out."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint


class Ended(Refused):
    """The bytes end before the pickle does."""


class Inert:
    """Stands for any object of a foreign class: takes every argument, keeps its state as `state`, does nothing."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


@dataclass(frozen=True, eq=False, slots=True)
class Name:
    """A global that the pickle names, and what we make of it when it is called: None for `Inert`."""

    name: str
    build: Callable[..., Any] | None


@dataclass(slots=True)
class Storage:
    """A piece of memory kept outside the pickle: `count` elements of `dtype`."""

    key: str
    dtype: str
    count: int


@dataclass(slots=True)
class TensorNote:
    """What the pickle says of one tensor."""

    shape: tuple[int, ...]
    dtype: str


@dataclass
class Machine:
    """Runs the pickles in `data` one after another from `position`. `storages` and `inert` collect what all of them named."""

    data: bytes
    position: int = 0
    storages: dict[str, Storage] = field(default_factory=dict)
    inert: dict[str, None] = field(default_factory=dict)

    def load(self) -> Any:
        """The next pickle's value. Raises `Refused`, or `Ended` when the bytes end within it."""
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._pairs = len(self.data)
        data, table, end = self.data, _OPERATIONS, len(self.data)
        try:
            while self.position < end:
                operation = data[self.position]
                self.position += 1
                if operation == 46:  # STOP
                    return self._stack.pop()
                table[operation](self)
        except (IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError, struct.error) as error:
            if self.position >= end or isinstance(error, struct.error):
                raise _ended() from error
            raise _damaged() from error
        raise _ended()

    def _bytes(self, count: int) -> bytes:
        start = self.position
        if start + count > len(self.data):
            raise _ended()
        self.position = start + count
        return self.data[start:start + count]

    def _number(self, form: struct.Struct) -> Any:
        (value,) = form.unpack_from(self.data, self.position)
        self.position += form.size
        return value

    def _line(self) -> str:
        end = self.data.find(b"\n", self.position, self.position + 1000)
        if end < 0:
            raise _ended()
        text = self.data[self.position:end].decode()
        self.position = end + 1
        return text

    def _pop_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._marks.pop()
        return items

    # Operations, by the names in Python's pickle.py

    def _mark(self) -> None:
        if len(self._marks) > _NESTING:
            raise _damaged()
        self._marks.append(self._stack)
        self._stack = []

    def _proto(self) -> None:
        version = self._number(_U8)
        if version > 2:
            raise Refused(f"is written in version {version} of pickle, which PyTorch's safe reader does not know", _OTHER)

    def _binput(self) -> None:
        self._memo[self.data[self.position]] = self._stack[-1]
        self.position += 1

    def _long_binput(self) -> None:
        self._memo[_U32.unpack_from(self.data, self.position)[0]] = self._stack[-1]
        self.position += 4

    def _binget(self) -> None:
        found = _TENSOR.match(self.data, self.position - 1)
        if found is not None and len(self._marks) < _NESTING and self._whole_tensor(*found.groups()):
            self.position = found.end()
            return
        self._stack.append(self._memo[self.data[self.position]])
        self.position += 1

    def _whole_tensor(self, *parts: bytes) -> bool:
        """Thirty instructions in one step: a file has thousands of tensors, all written so. What they do singly is done here in their order, by the
        same functions; False, and nothing done, when they are not those after all."""
        rebuild, word, kind, length, key, put, device, count, view, put_2, offset, size, put_3, stride, put_4, hooks, *puts = parts
        if length[0] != len(key):
            return False
        memo, name = self._memo, key.decode()
        identity = (memo[word[0]], memo[kind[0]], name, memo[device[0]], _constant_of(count), *((None,) if view else ()))
        sides, steps = _constant_of(size), _constant_of(stride)
        arguments = (self._storage(identity), _constant_of(offset), sides, steps, False, self._call(memo[hooks[0]], ()))
        tensor = self._call(memo[rebuild[0]], arguments)
        a, b, c, d, e, f, g = _PUTS.unpack(b"".join((put, put_2, put_3, put_4, *puts)))
        memo[a], memo[b], memo[c], memo[d], memo[e], memo[f], memo[g] = name, identity, sides, steps, arguments[-1], arguments, tensor
        self._stack.append(tensor)
        return True

    def _long_binget(self) -> None:
        self._stack.append(self._memo[self._number(_U32)])

    def _binint1(self) -> None:
        self._stack.append(self.data[self.position])
        self.position += 1

    def _long1(self) -> None:
        self._stack.append(int.from_bytes(self._bytes(self._number(_U8)), "little", signed=True))

    def _binunicode(self) -> None:
        start = self.position + 4
        self.position = end = start + _U32.unpack_from(self.data, self.position)[0]
        if end > len(self.data):
            raise _ended()
        self._stack.append(self.data[start:end].decode())

    def _short_binstring(self) -> None:
        self._stack.append(self._bytes(self._number(_U8)).decode("latin-1"))

    def _tuple(self) -> None:
        items = self._pop_mark()
        self._stack.append(tuple(items))

    def _tuple1(self) -> None:
        self._stack[-1] = (self._stack[-1],)

    def _tuple2(self) -> None:
        self._stack[-2:] = [(self._stack[-2], self._stack[-1])]

    def _tuple3(self) -> None:
        self._stack[-3:] = [(self._stack[-3], self._stack[-2], self._stack[-1])]

    def _append(self) -> None:
        value = self._stack.pop()
        _expect(self._stack[-1], list).append(value)

    def _appends(self) -> None:
        items = self._pop_mark()
        _expect(self._stack[-1], list).extend(items)

    def _setitem(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        _expect(self._stack[-1], dict)[_key(key)] = value

    def _setitems(self) -> None:
        items = self._pop_mark()
        table = _expect(self._stack[-1], dict)
        for place in range(0, len(items), 2):
            table[_key(items[place])] = items[place + 1]

    def _global(self) -> None:
        module, name = self._line(), self._line()
        self._stack.append(self._named(module, name))

    def _named(self, module: str, name: str) -> Name:
        """The name itself when a model may contain it. Raises `Refused` for everything else: here a pickle would begin to run foreign code."""
        full = f"{module}.{name}"
        if module.partition(".")[0] in INERT_PACKAGES or full in INERT_NAMES:
            self.inert[full] = None
        elif not (full in _BUILDERS or full in PLAIN_NAMES or (module in ("torch", "torch.storage") and (name in DTYPES or name in STORAGES))):
            raise Refused(f"is a pickle that asks for “{full[:120]}”, which no model needs; nothing of it was run", _DISTRUST)
        return Name(name, _BUILDERS.get(full))

    def _reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        self._stack.append(self._call(function, arguments))

    def _call(self, function: Any, arguments: Any) -> Any:
        if type(function) is not Name or type(arguments) is not tuple:
            raise _damaged()
        return function.build(self, *arguments) if function.build else Inert()

    def _newobj(self) -> None:
        self._stack.pop()
        _expect(self._stack.pop(), Name)
        self._stack.append(Inert())

    def _build(self) -> None:
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, Inert):
            target.state = state

    def _binpersid(self) -> None:
        self._stack.append(self._storage(self._stack.pop()))

    def _storage(self, identity: Any) -> Storage:
        """Of torch's `("storage", class, key, location, count[, view])`."""
        what, kind, key, _, count = _expect(identity, tuple)[:5]
        if what != "storage" or type(kind) is not Name or type(key) is not str or type(count) is not int or count < 0:
            raise _damaged()
        storage = self.storages[key] = Storage(key, STORAGES[kind.name], count)
        return storage

    def _unknown(self) -> NoReturn:
        raise _damaged()


def _ordered(machine: Machine, items: Sequence[Any] = ()) -> dict[Any, Any]:
    """An OrderedDict. One list may be named again and again, so what is copied altogether is limited."""
    machine._pairs -= len(items)
    if machine._pairs < 0:
        raise _damaged()
    return {_key(key): value for key, value in items}


def _tensor(machine: Machine, storage: Storage, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *rest: Any) -> TensorNote:
    """`torch._utils._rebuild_tensor` and its successors; version 3 gives the dtype at the end. Checks that the tensor lies within its storage."""
    dtype, count = storage.dtype, storage.count
    if len(rest) >= 3 and isinstance(rest[2], Name):
        dtype = DTYPES[rest[2].name]
        count = count * BYTES[storage.dtype] // BYTES[dtype]
    if type(offset) is not int or type(size) is not tuple or type(stride) is not tuple or len(size) != len(stride):
        raise _damaged()
    last = offset
    for side, step in zip(size, stride):  # noqa: B905
        if type(side) is not int or type(step) is not int or side < 0 or step < 0:
            raise _damaged()
        last += (side - 1) * step
    if offset < 0 or (last >= count and 0 not in size):
        raise _damaged()
    return TensorNote(size, dtype)


def _parameter(machine: Machine, tensor: TensorNote, *rest: Any) -> TensorNote:
    return _expect(tensor, TensorNote)


def _size(machine: Machine, sides: Sequence[int] = ()) -> tuple[int, ...]:
    return _expect(sides, tuple)


_BUILDERS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered, "torch.Size": _size, "torch._utils._rebuild_tensor": _tensor, "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor, "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
}
_OTHER = "Look for the same model as .safetensors."
_DISTRUST = "Do not trust this file. Look for the same model as .safetensors."
_U8, _U16, _U32, _I32, _F64 = (struct.Struct(form) for form in ("<B", "<H", "<I", "<i", ">d"))


def _expect(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise _damaged()
    return value


def _key(value: Any) -> Any:
    if type(value) is not Name and type(value) not in _KEYS:
        raise _damaged()
    return value


@lru_cache(maxsize=1024)
def _constant_of(code: bytes) -> Any:
    """What these instructions leave on the stack: numbers, or tuples of them, of which a model has many alike."""
    return Machine(code + b".").load()


def _ended() -> Ended:
    return Ended("is cut short", UNFINISHED)


def _damaged() -> Refused:
    return Refused("is a damaged PyTorch pickle, or an unusual one", AGAIN)


def _constant(value: Any) -> Callable[[Machine], None]:
    return lambda machine: machine._stack.append(value)


def _fresh(kind: type) -> Callable[[Machine], None]:
    return lambda machine: machine._stack.append(kind())


def _number(form: struct.Struct) -> Callable[[Machine], None]:
    return lambda machine: machine._stack.append(machine._number(form))


_BY_CODE: dict[bytes, Callable[[Machine], None]] = {
    b"(": Machine._mark, b"\x80": Machine._proto, b"q": Machine._binput, b"r": Machine._long_binput,
    b"h": Machine._binget, b"j": Machine._long_binget, b"K": Machine._binint1, b"\x8a": Machine._long1,
    b"t": Machine._tuple, b"\x85": Machine._tuple1, b"\x86": Machine._tuple2, b"\x87": Machine._tuple3, b"a": Machine._append,
    b"e": Machine._appends, b"s": Machine._setitem, b"u": Machine._setitems, b"c": Machine._global,
    b"R": Machine._reduce, b"\x81": Machine._newobj, b"b": Machine._build, b"Q": Machine._binpersid,
    b"N": _constant(None), b"\x88": _constant(True), b"\x89": _constant(False), b")": _constant(()), b"]": _fresh(list), b"}": _fresh(dict),
    b"\x8f": _fresh(Inert), b"M": _number(_U16), b"J": _number(_I32), b"G": _number(_F64), b"X": Machine._binunicode, b"U": Machine._short_binstring,
}
_NUMBER, _PUT = rb"(?:K.|M..|J....)", rb"r(?!.\0\0\0)(....)"
_SIDES = rb"(%b\x85|%b{2}\x86|%b{3}\x87|\(%b{4,8}t)" % ((_NUMBER,) * 4) + _PUT
_STORAGE = rb"\(h(.)h(.)X(.)\0\0\0([0-9]{1,20})%bh(.)(%b)(N?)t%bQ" % (_PUT, _NUMBER, _PUT)
_TENSOR = re.compile(rb"h(.)\(%b(%b)%b%b\x89h(.)\)R%bt%bR%b" % (_STORAGE, _NUMBER, _SIDES, _SIDES, _PUT, _PUT, _PUT), re.DOTALL)
"""`rebuild(storage(class, key, device, count), offset, size, stride, False, hooks())` as torch writes it: the names were said before and are in the
memo's first 256 places, each value is put into a later one."""

_PUTS = struct.Struct("<7I")
_OPERATIONS = [_BY_CODE.get(bytes([code]), Machine._unknown) for code in range(256)]
