"""What the included reader answers, why, and how sure it is."""

from pathlib import Path

import numpy as np
import pytest

from twfer_dist.core.errors import UserError
from twfer_dist.core.prototypes import prototype
from twfer_dist.core.taxonomy import ACTION_UNITS, EXPRESSIONS, NEUTRAL
from twfer_dist.reading.reader import SHIPPED, Reader, open_reader, to_bytes

PRECISE = np.full(len(ACTION_UNITS), 0.4, np.float32)
EXPRESSIVE = [name for name in EXPRESSIONS if name != "neutral"]


@pytest.fixture(scope="module")
def reader() -> Reader:
    return open_reader()


def units(**values: float) -> np.ndarray:
    return np.array([values.get(name, 0.0) for name in ACTION_UNITS], np.float32)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_each_prototype_is_read_as_its_expression(reader: Reader, expression: str) -> None:
    reading = reader.read(prototype(expression), PRECISE)
    assert EXPRESSIONS[reading.probabilities.argmax()] == expression
    assert reading.probabilities.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("expression", EXPRESSIVE)
def test_a_stronger_expression_has_a_higher_intensity(reader: Reader, expression: str) -> None:
    weak, strong = (reader.read(s * prototype(expression), PRECISE).intensities for s in (0.4, 1.0))
    assert strong[EXPRESSIONS.index(expression)] > weak[EXPRESSIONS.index(expression)]


def test_what_people_show_at_rest_is_read_as_neutral(reader: Reader) -> None:
    assert reader.read(units(AU04=0.9, AU05=1.0, AU17=0.8, AU23=0.7), PRECISE).probabilities.argmax() == NEUTRAL - 1


def test_an_uncertain_measurement_gives_a_less_certain_answer(reader: Reader) -> None:
    smile = units(AU06=3, AU12=3.5, AU25=2)
    precise, vague = (reader.read(smile, k * PRECISE).probabilities.max() for k in (1, 6))
    assert vague < precise - 0.1


def test_the_reason_names_the_units_that_decided(reader: Reader) -> None:
    reason = reader.read(units(AU04=4.2, AU23=3.6, AU07=3.0, AU01=0.2), PRECISE).reason
    assert "AU04 brows lowered 4.2 ± 0.4" in reason and "AU23" in reason and "AU01" not in reason
    assert "±" not in reader.read(units(AU12=4), None).reason  # units of OpenFace have no interval


def test_a_smile_of_all_faces_is_none_relative_to_them(reader: Reader) -> None:
    archaic = units(AU12=2.8, AU06=1.5)
    assert EXPRESSIONS[reader.read(archaic, PRECISE).probabilities.argmax()] == "happiness"
    assert EXPRESSIONS[reader.relative(archaic, PRECISE, archaic).probabilities.argmax()] == "neutral"


def test_a_reader_survives_its_file(reader: Reader, tmp_path: Path) -> None:
    (tmp_path / "reader.safetensors").write_bytes(to_bytes(reader, recipe="0"))
    again = open_reader(str(tmp_path / "reader.safetensors"))
    one, other = (r.read(prototype("anger"), PRECISE) for r in (reader, again))
    assert (one.probabilities == other.probabilities).all() and again.held_out == reader.held_out


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    faces = str(Path(SHIPPED).with_name("faces.safetensors"))
    with pytest.raises(UserError, match="faces.safetensors holds the weights of another model: name the weights of a"):
        open_reader(faces)
    with pytest.raises(UserError, match="does not exist"):
        open_reader(str(tmp_path / "none.safetensors"))
