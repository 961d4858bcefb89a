"""Confusion matrices, what follows from them, and metrics in `fit`: against numbers that were counted by hand."""

import numpy as np
import pytest

from fastcnn import metrics
from fastcnn.metrics import METRICS, Report, confusion_matrix, top_k_accuracy
from tests.helpers.models import small

# Rows: what an image is; columns: what it was taken for. Class 3 never occurs, and class 2 is never predicted.
LABELS = [0, 0, 0, 1, 1, 2]
PREDICTED = [0, 0, 1, 1, 3, 0]
MATRIX = [[2, 1, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_confusion_matrix(dtype):
    labels, predicted = np.array(LABELS, dtype), np.array(PREDICTED, dtype)
    np.testing.assert_array_equal(confusion_matrix(labels, predicted, 4), MATRIX)
    np.testing.assert_array_equal(confusion_matrix(labels[:, None], predicted, 4), MATRIX)
    np.testing.assert_array_equal(confusion_matrix(LABELS, PREDICTED, 4), MATRIX)
    assert confusion_matrix([0], [16], 17).sum() == 1


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0, 4], [0, 0], 4), ValueError, r"confusion_matrix: `labels` must lie in 0 to 3 for 4 classes. Received"),
        (([0, 1], [0, -1], 4), ValueError, r"confusion_matrix: `predicted` must lie in 0 to 3.*predicted\[1\]=-1"),
        (
            ([0, 1], [0], 4),
            ValueError,
            r"`predicted` must have the shape \(2,\) or \(2, 1\).*Received the shape \(1,\)",
        ),
        (
            ([0, 1], np.eye(2, 4, dtype=int), 4),
            ValueError,
            r"predicted.argmax\(axis=1\) turns one-hot rows into labels",
        ),
        (([0.0], [0], 4), TypeError, "confusion_matrix: `labels` must hold integers"),
        (([[0, 1], [0]], [0, 0], 4), ValueError, "confusion_matrix: `labels` must be an array of numbers"),
        (([0], [0], 0), ValueError, "confusion_matrix: `classes` must be an integer of at least 1. Received classes=0"),
        ((3, [0], 4), ValueError, r"confusion_matrix: `labels` must have the shape .*Received the shape \(\)"),
        ((None, [0], 4), TypeError, "confusion_matrix: `labels` must hold real numbers. Received labels=None"),
    ],
)
def test_what_cannot_be_counted(arguments, error, message):
    with pytest.raises(error, match=message):
        confusion_matrix(*arguments)


def test_report():
    report = Report(np.array(MATRIX))
    assert report.accuracy == 3 / 6
    np.testing.assert_allclose(report.precision, [2 / 3, 1 / 2, 0, 0], rtol=1e-15)
    np.testing.assert_allclose(report.recall, [2 / 3, 1 / 2, 0, 0], rtol=1e-15)
    np.testing.assert_allclose(report.f1, [2 / 3, 1 / 2, 0, 0], rtol=1e-15)
    lopsided = Report(np.array([[1, 3], [0, 4]]))
    np.testing.assert_allclose(lopsided.precision, [1, 4 / 7], rtol=1e-15)
    np.testing.assert_allclose(lopsided.recall, [1 / 4, 1], rtol=1e-15)
    np.testing.assert_allclose(lopsided.f1, [2 / 5, 8 / 11], rtol=1e-15)
    assert lopsided.as_dict() == {
        "confusion_matrix": [[1, 3], [0, 4]],
        "precision": lopsided.precision.tolist(),
        "recall": [0.25, 1.0],
        "f1": lopsided.f1.tolist(),
    }


def test_report_of_nothing():
    empty = Report(np.zeros((2, 2), int))
    assert empty.accuracy == 0 and not empty.precision.any() and not empty.recall.any() and not empty.f1.any()
    assert str(empty).count("0.00%") == 9


def test_table():
    """Columns stand below their heads, with 100 % in them too."""
    text = str(Report(np.array([[1, 3], [0, 4]]), ["cat", "a long name"]))
    assert text.splitlines() == [
        "class               0   1  precision   recall       f1",
        "cat             0   1   3    100.00%   25.00%   40.00%",
        "a long name     1   0   4     57.14%  100.00%   72.73%",
        "mean                          78.57%   62.50%   56.36%",
    ]
    ends = {len(line) for line in str(Report(np.diag([123456, 1, 0]))).splitlines()}
    assert len(ends) == 1


@pytest.mark.parametrize("names", [(), ["one"], ["one", "two", "three"]])
def test_names_of_too_few_or_too_many_classes(names):
    """A number stands for a name that is missing."""
    lines = str(Report(np.eye(2, dtype=int), names)).splitlines()
    assert [line.split()[0] for line in lines[1:]] == [*(names[:2]), *"01"[len(names) :], "mean"]


PROBABILITIES = np.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.3, 0.2]])


@pytest.mark.parametrize(("k", "share"), [(1, 1 / 3), (2, 2 / 3), (3, 2 / 3), (4, 1)])
def test_top_k_accuracy(k, share):
    """Image 0 is right, image 1's class is the least likely, image 2's shares the second place."""
    metric = top_k_accuracy(k)
    assert metric(np.array([0, 0, 1]), PROBABILITIES) == pytest.approx(share)
    assert metric.__name__ == f"top_{k}_accuracy"


def test_metrics_by_name():
    labels = np.array([0, 3, 1])  # taken for 0, 3, 2
    got = {name: metric(labels, PROBABILITIES) for name, metric in METRICS.items()}
    wanted = {"precision": 2 / 4, "recall": 2 / 4, "f1": 2 / 4, "top_3_accuracy": 1, "top_5_accuracy": 1}
    assert got == pytest.approx(wanted) and all(type(value) is float for value in got.values())


def wrong(labels, probabilities):
    return np.count_nonzero(probabilities.argmax(axis=1) != labels)


def test_fit_measures_them_after_each_epoch(backend, data, digits, capsys):
    model, test = small(), (digits.test_images[:50] / 255, digits.test_labels[:50])
    wanted = ["f1", wrong, lambda labels, probabilities: probabilities.shape[1], top_k_accuracy(2)]
    history = model.fit(*data, 2, 20, validation_data=test, metrics=wanted)
    assert list(history)[4:8] == ["val_f1", "val_wrong", "val_metric_2", "val_top_2_accuracy"]
    assert history["val_metric_2"] == [10.0, 10.0] and all(type(value) is float for value in history["val_wrong"])
    assert history["val_wrong"][-1] == pytest.approx(50 * (1 - history["val_accuracy"][-1]))
    assert history["val_f1"][-1] == pytest.approx(model.report(*test).f1.mean())
    own = np.argsort(-model.predict(test[0]), axis=1, kind="stable")[:, :2] == test[1][:, None]
    assert history["val_top_2_accuracy"][-1] == pytest.approx(own.any(axis=1).mean())
    assert f"val_wrong {history['val_wrong'][-1]:.4f}" in capsys.readouterr().out.splitlines()[-1]
    named = small().fit(*data, 1, 20, validation_data=test, metrics={"errors": wrong}, verbose=False)
    assert "val_errors" in named


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (["best"], ValueError, r"fit: `metrics\[0\]` must be one of 'precision', 'recall', 'f1', 'top_3.*'best'"),
        (["f1", 3], ValueError, r"fit: `metrics\[1\]` must be one of .*, or a function \(labels, probabilities\)"),
        ("f1", TypeError, "fit: `metrics` must be a list of names and functions, or a dict of functions. Received"),
        (wrong, TypeError, "fit: `metrics` must be a list of names and functions, or a dict of functions. Received"),
        ({"f1": "f1"}, TypeError, r"fit: `metrics\['f1'\]` must be a function \(labels, probabilities\). Received"),
        ([wrong, wrong], ValueError, "fit: `metrics` must be metrics of different names, none of them loss or accu"),
        (["f1", "f1"], ValueError, "fit: `metrics` must be metrics of different names"),
        ({"loss": wrong}, ValueError, "fit: `metrics` must be metrics of different names, none of them loss or accu"),
    ],
)
def test_bad_metrics(data, value, error, message):
    with pytest.raises(error, match=message):
        small().fit(*data, validation_data=data, metrics=value, verbose=False)


@pytest.mark.parametrize("value", [None, np.zeros(3), "a"], ids=repr)
def test_a_metric_that_returns_no_number(data, value):
    with pytest.raises(TypeError, match=r"fit: `metrics\['own'\]` must be a function that returns a number. Received"):
        small().fit(*data, validation_data=data, metrics={"own": lambda *_: value}, verbose=False)


def test_metrics_need_validation_data(data):
    with pytest.raises(
        ValueError, match=r"fit: `metrics` must be empty without validation_data, of which they are. Rec"
    ):
        small().fit(*data, metrics=["f1"], verbose=False)


def test_report_of_a_model(backend, data):
    model = small()
    model.fit(*data, 2, 20, verbose=False)
    report = model.report(*data, batch_size=37)
    predicted = model.predict(data[0]).argmax(axis=1)
    for i in range(10):
        for j in range(10):
            assert report.matrix[i, j] == np.count_nonzero((data[1] == i) & (predicted == j))
    assert report.accuracy == model.evaluate(*data).accuracy
    assert str(report).splitlines()[3].startswith("2    ")
    model.metadata["class_names"] = [f"digit {i}" for i in range(10)]
    assert str(model.report(*data)).splitlines()[3].startswith("digit 2     2")
    with pytest.raises(ValueError, match=r"report: `x` must have the shape \(images, 28, 28, 1\)"):
        model.report(data[0][:, 0], data[1])
    with pytest.raises(ValueError, match="report: `batch_size` must be an integer of at least 1"):
        model.report(*data, batch_size=0)


def test_names_in_the_metadata_that_are_none(data):
    model = small()
    for names in (5, None, "ab"):
        model.metadata["class_names"] = names
        assert str(model.report(*data)).splitlines()[1].split()[0] == "0", names
    assert metrics.METRICS.keys() == {"precision", "recall", "f1", "top_3_accuracy", "top_5_accuracy"}


@pytest.mark.parametrize(
    ("labels", "probabilities", "message"),
    [
        ([0, 1], [1.0, 2.0], r"`probabilities` must have the shape \(images, classes\). Received the shape \(2,\)"),
        ([0, 1], np.zeros((2, 0)), r"`probabilities` must have the shape \(images, classes\)"),
        ([0, 2], np.eye(2), "`labels` must lie in 0 to 1"),
        ([0], np.eye(2), r"`labels` must have the shape \(2,\)"),
        ([0, 1], None, "`probabilities` must hold real numbers"),
    ],
)
def test_arguments_of_metrics(labels, probabilities, message):
    for name, metric in (("report", metrics.report), ("top_2_accuracy", top_k_accuracy(2))):
        with pytest.raises((TypeError, ValueError), match=f"{name}: {message}"):
            metric(labels, probabilities)
    assert top_k_accuracy(1)([0, 0], [[0.9, 0.1], [0.2, 0.8]]) == 0.5
