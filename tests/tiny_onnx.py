"""A face-recognition network as an ONNX file, written byte by byte: the means of 16 fields of each colour."""


def _varint(value: int) -> bytes:
    more, low = value >> 7, value & 0x7F
    return bytes([low | 0x80]) + _varint(more) if more else bytes([low])


def _field(number: int, value: int | str | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _ints(name: str, *values: int) -> bytes:
    return _field(5, _field(1, name) + b"".join(_field(8, value) for value in values) + _field(20, 7))


def _node(kind: str, source: str, target: str, attributes: bytes) -> bytes:
    return _field(1, _field(1, source) + _field(2, target) + _field(4, kind) + attributes)


def _tensor(number: int, name: str, *shape: int) -> bytes:
    sizes = _field(2, b"".join(_field(1, _field(1, size)) for size in shape))
    return _field(number, _field(1, name) + _field(2, _field(1, _field(1, 1) + sizes)))


def colour_means() -> bytes:
    """A network that takes (1, 3, 112, 112) and gives (1, 48)."""
    pool = _node("AveragePool", "data", "pooled", _ints("kernel_shape", 28, 28) + _ints("strides", 28, 28))
    flat = _node("Flatten", "pooled", "fc1", _field(5, _field(1, "axis") + _field(3, 1) + _field(20, 2)))
    graph = pool + flat + _field(2, "means") + _tensor(11, "data", 1, 3, 112, 112) + _tensor(12, "fc1", 1, 48)
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))
