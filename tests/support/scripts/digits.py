"""A training script of the kind that SageMaker's PyTorch notebook tunes, on points it draws itself.

Flags, log lines and the handler are those that such a script has; it needs `SM_*` variables and
`sagemaker_containers`, as it does in a container.
"""

import argparse
import json
import logging
import os
import sys
from pathlib import Path

import sagemaker_containers
import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

logger = logging.getLogger(__name__)
logger.setLevel(logging.DEBUG)
logger.addHandler(logging.StreamHandler(sys.stdout))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.log_softmax(self.fc(x), dim=1)


def points(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(400, 8, generator=generator)
    return x, (x[:, 0] > 0).long() + 2 * (x[:, 1] > 0).long()


def _average_gradients(model: nn.Module) -> None:
    size = float(dist.get_world_size())
    for param in model.parameters():
        dist.all_reduce(param.grad.data, op=dist.reduce_op.SUM, group=0)  # type: ignore
        param.grad.data /= size  # type: ignore[union-attr]


def train(args: argparse.Namespace) -> None:
    is_distributed = len(args.hosts) > 1 and args.backend is not None
    logger.debug("Distributed training - %s", is_distributed)
    logger.debug("Number of gpus available - %d", args.num_gpus)
    if is_distributed:
        world_size = len(args.hosts)
        os.environ["WORLD_SIZE"] = str(world_size)
        rank = args.hosts.index(args.current_host)
        dist.init_process_group(backend=args.backend, rank=rank, world_size=world_size)
        logger.info(
            "Initialized the distributed environment: '%s' backend on %d nodes. Current host rank"
            " is %d. Number of gpus: %d",
            *(args.backend, dist.get_world_size(), dist.get_rank(), args.num_gpus),
        )
    torch.manual_seed(args.seed)
    model = nn.DataParallel(Net())
    optimizer = torch.optim.SGD(model.parameters(), lr=args.lr, momentum=args.momentum)
    data, test = TensorDataset(*points(1)), points(2)
    sampler: DistributedSampler[object] | None = (
        DistributedSampler(data) if is_distributed else None
    )
    loader = DataLoader(data, args.batch_size, shuffle=sampler is None, sampler=sampler)
    for epoch in range(1, args.epochs + 1):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            loss = functional.nll_loss(model(x), y)
            loss.backward()
            if is_distributed:
                _average_gradients(model)
            optimizer.step()
        logger.info("Train Epoch: %d [400/400 (100%%)] Loss: %.6f", epoch, loss.item())
        evaluate(model, *test)
    save_model(model, args.model_dir)


def evaluate(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> None:
    model.eval()
    with torch.no_grad():
        output = model(x)
    loss = functional.nll_loss(output, y).item()
    right = int((output.argmax(1) == y).sum())
    logger.info(f"Test set: Average loss: {loss:.4f}, Accuracy: {right}/400 ({right / 4:.0f}%)\n")


def model_fn(model_dir: str) -> nn.Module:
    model = nn.DataParallel(Net())
    model.load_state_dict(torch.load(Path(model_dir, "model.pth")))
    return model


def save_model(model: nn.Module, model_dir: str) -> None:
    logger.info("Saving the model.")
    torch.save(model.cpu().state_dict(), Path(model_dir, "model.pth"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--test-batch-size", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--momentum", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log-interval", type=int, default=100)
    parser.add_argument("--backend", type=str, default=None)
    parser.add_argument("--hosts", type=list, default=json.loads(os.environ["SM_HOSTS"]))
    parser.add_argument("--current-host", type=str, default=os.environ["SM_CURRENT_HOST"])
    parser.add_argument("--model-dir", type=str, default=os.environ["SM_MODEL_DIR"])
    parser.add_argument("--data-dir", type=str, default=os.environ["SM_CHANNEL_TRAINING"])
    parser.add_argument("--num-gpus", type=int, default=os.environ["SM_NUM_GPUS"])
    arguments = parser.parse_args()
    assert sagemaker_containers.training_env()["hosts"] == arguments.hosts
    train(arguments)
