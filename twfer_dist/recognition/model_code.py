"""The code of a logged recogniser: MLflow copies this file into the model, and runs it when the model is loaded.

It uses the installed package or, where there is none, the copy that the model carries.
"""

import sys
import tempfile
import warnings
import zipfile
from importlib.util import find_spec
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel, PythonModelContext

with warnings.catch_warnings(record=True):  # MLflow's, that it does not check the input: an image has several forms

    class ExpressionModel(PythonModel):
        """Images to expressions, see `portable.PortableRecogniser.answer`. params: find_faces, true or false."""

        def load_context(self, context: PythonModelContext) -> None:
            if find_spec("twfer_dist") is None:
                folder = tempfile.mkdtemp()  # as long as the process: weights are read from it later
                with zipfile.ZipFile(context.artifacts["package"]) as package:
                    package.extractall(folder)
                sys.path.append(folder)
            from twfer_dist.recognition.portable import PortableRecogniser

            self.recogniser = PortableRecogniser(context.artifacts["recogniser"])

        def predict(
            self, context: PythonModelContext, model_input: list[Any], params: dict[str, Any] | None = None
        ) -> pd.DataFrame:
            return self.recogniser.answer(model_input, find_faces=bool((params or {}).get("find_faces")))


set_model(ExpressionModel())
