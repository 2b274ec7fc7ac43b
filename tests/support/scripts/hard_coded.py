"""A training script that was written for a container, and knows no other folders than its."""

import argparse
import json
from pathlib import Path

ROOT = "/opt/ml/"

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--lacks", action="store_true")
    parser.add_argument("--lr", type=float)
    parser.parse_known_args()
    asked = json.loads(Path(ROOT + "input/config/hyperparameters.json").read_text())
    assert Path(ROOT + "input/data/training").is_dir()
    state = Path(ROOT, "checkpoints/state")
    before = state.read_text() if state.exists() else ""
    state.write_text(f"{before}{asked['lr']} ")
    if "lacks" in asked:
        Path(ROOT + "input/data/validation/part-0").read_text()
    print(f"loss={asked['lr']}")
    Path(ROOT, "model/model.json").write_text(
        json.dumps([before, sorted(each.name for each in Path(ROOT).iterdir())])
    )
