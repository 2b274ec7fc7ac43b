"""A training script with switches, lists and dictionaries, whose metrics are many."""

import argparse
import ast
import json
import os
import sys
from pathlib import Path

from sagemaker_training import environment

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--augment", type=lambda text: text == "True", required=True)
    parser.add_argument("--layers", type=ast.literal_eval, required=True)
    parser.add_argument("--options", required=True)
    parser.add_argument("-d", type=float, required=True)
    args = parser.parse_args()
    env = environment.Environment()
    assert env.hyperparameters["layers"] == args.layers
    assert env["model_dir"] == os.environ["SM_MODEL_DIR"]
    print("validation loss=", args.d * len(args.layers), sep="")
    print("validation accuracy=", 0.5 + args.augment / 4, sep="", file=sys.stderr)
    channel = Path(os.environ["SM_CHANNEL_TRAINING"], "words.txt").read_text()
    Path(env.model_dir, "seen.json").write_text(json.dumps([args.options, channel, sys.argv[1:]]))
