"""Models of single trials, the run's best or not."""

import json
import shlex
from pathlib import Path

import trainables
from app import runs
from app.engine.attempt import begin
from app.engine.closing import closing_lines
from app.experiment import loading

FAILS = "MemoryError: does not fit (mine.py, line 3, in step)\nTraceback"

FRAGILE = """
import json
from pathlib import Path
import torch
from ray import tune

class Fragile(tune.Trainable):
    def setup(self, config):
        self.x, self.network = config["x"], torch.nn.Linear(1, 1)

    def step(self):
        torch.nn.init.constant_(self.network.weight, self.x)
        return {"loss": self.x + 1 / (self.iteration + 1)}

    def save_checkpoint(self, folder):
        torch.save(self.network.state_dict(), Path(folder, "network"))

    def load_checkpoint(self, folder):
        self.network.load_state_dict(torch.load(Path(folder, "network")))

    def model(self):
        return self.network

    def example_input(self):
        return torch.ones(2, 1)
"""


def test_what_a_failed_trial_had_can_be_exported(tmp_path: Path) -> None:
    (tmp_path / "fragile.py").write_text(FRAGILE)
    (tmp_path / "fragile.toml").write_text(
        'name = "q"\ntrainable = "fragile.py:Fragile"\nmetric = "loss"\nmode = "min"\nepochs = 4\n'
        'space.x = { type = "continuous", low = 0.0, high = 1.0 }\n'
    )
    asked = loading.load(tmp_path / "fragile.toml", {})
    folder = tmp_path / "my runs/q"
    journal = begin(folder, asked, {"data": {}})
    for name, x, epochs, status in (("001", 0.25, 2, "failed"), ("002", 0.75, 4, "completed")):
        journal.append("trial", trial_id=name, config={"x": x}, leg=1)
        trial = trainables.resolve(asked.trainable, tmp_path)(config={"x": x})
        for epoch in range(1, epochs + 1):
            kept = f"tune/{name}/checkpoint_{epoch}"
            fields = {"metrics": {"loss": trial.train()["loss"]}, "checkpoint": kept}
            (folder / kept).mkdir(parents=True)
            trial.save_checkpoint(str(folder / kept))
            journal.append("epoch", trial_id=name, epoch=epoch, seconds=1.0, **fields)
        journal.append("end", trial_id=name, status=status, error=FAILS)
    journal.append("status", status="completed", reason=None)
    journal.close()
    result = json.loads((folder / "result.json").read_text())
    command = f"export q --runs '{tmp_path}/my runs' --trial 001"
    assert (
        "trial 001 failed in epoch 3 after the best value of all, 0.75 in epoch 2:"
        f" python -m app.runs {command}"
    ) in closing_lines(result, folder)
    assert "1 of 2 trials failed: MemoryError (x 0.25)" in closing_lines(result, folder)
    assert result["trials"][0]["metrics"] == {"loss": 0.75}
    runs.main(shlex.split(command))
    exported = json.loads((folder / "model/model.json").read_text())
    assert (exported["trial_id"], exported["epoch"]) == ("001", 2)
