"""Tables of trials and of their metrics."""

from pathlib import Path

from app import sagemaker
from app.sagemaker.analytics import HyperparameterTuningJobAnalytics, TrainingJobAnalytics
from tests.support.object_store import ObjectStore
from tests.support.tuners import METRIC


def test_the_dataframe_has_a_row_for_each_trial(
    session: sagemaker.Session, ended: Path, tmp_path: Path
) -> None:
    analytics = HyperparameterTuningJobAnalytics("ended", session)
    frame = analytics.dataframe()
    assert list(frame.columns) == [
        *("lr", "batch-size", "TrainingJobName", "TrainingJobStatus", "FinalObjectiveValue"),
        *("TrainingStartTime", "TrainingEndTime", "TrainingElapsedTimeSeconds"),
    ]
    assert frame["batch-size"].tolist() == [32, 64, 64]
    assert frame["TrainingJobStatus"].tolist() == ["Completed", "Failed", "Stopped"]
    assert frame["FinalObjectiveValue"].isna().tolist() == [False, True, True]
    assert str(frame["TrainingStartTime"].dt.tz) == "UTC"
    analytics.export_csv(tmp_path / "trials.csv")
    assert len((tmp_path / "trials.csv").read_text().splitlines()) == 4
    assert [each["ObjectiveStatus"] for each in analytics.training_job_summaries()] == [
        *("Succeeded", "Failed", "Failed")
    ]
    assert analytics.tuning_ranges["lr"]["ScalingType"] == "Logarithmic"
    assert analytics.description()["HyperParameterTuningJobName"] == "ended"
    analytics.clear_cache()


def test_a_trials_curve_is_a_table(session: sagemaker.Session, ended: Path, tmp_path: Path) -> None:
    curve = TrainingJobAnalytics("ended-001", [METRIC], session)
    assert curve.dataframe().to_dict("list") == {
        "timestamp": [2.0],
        "metric_name": [METRIC],
        "value": [0.5],
    }
    curve.export_csv(tmp_path / "curve.csv")
    assert len(TrainingJobAnalytics("ended-001", ["other"], session).dataframe()) == 0
    assert (tmp_path / "curve.csv").exists()


def test_a_trials_curve_is_read_from_a_bucket(s3: ObjectStore, ended: Path) -> None:
    for file in ("experiment.json", "result.json", "journal.jsonl"):
        s3.write(f"curves/ended/{file}", (ended / file).read_bytes())
    there = sagemaker.Session(runs=s3.uri("curves"))
    assert TrainingJobAnalytics("ended-001", [METRIC], there).dataframe()["value"].tolist() == [0.5]
