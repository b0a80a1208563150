"""Run by every rank under horovodrun: N ranks compute what one process computes on all showers."""

import sys
from pathlib import Path

import numpy as np
from tiny import make_tiny_architecture

from gan3d.config import (
    Data,
    Geometry,
    Horovod,
    LossWeights,
    Model,
    Node,
    Optimizer,
    Training,
)
from gan3d.data import ShowerLoader, survey_files, whole
from gan3d.runtime import SingleProcess, apply_node, connect

# Three ranks on two cores are among what is tested.
apply_node(Node(intra_op_threads=1, inter_op_threads=1, oversubscribe=True))
communicator = connect(Horovod())

import keras  # noqa: E402 - after apply_node, as in the package

from gan3d.models.registry import with_options  # noqa: E402
from gan3d.training.checkpoint import Position, save_checkpoint, state_variables  # noqa: E402
from gan3d.training.response import Response  # noqa: E402
from gan3d.training.step import AdversarialStep  # noqa: E402

folder = Path(sys.argv[1])
rank, size = communicator.rank, communicator.size
assert size == int(sys.argv[2])
data = Data(files=[str(folder / "train.h5")], geometry=Geometry(shape=(4, 4, 3)))
part = whole(survey_files(data).files)
response = Response(
    coefficients=(0.0, 2.0), energy_scale_gev=100.0, energy_range_gev=(10.0, 100.0), showers=48,
    gev_coefficients=(0.0, 2.0), layer_coefficients=((1 / 3,),) * 3,
)  # fmt: skip
architecture = make_tiny_architecture()


# Plain gradients: an optimiser that scales them makes a step of the last bit of a sum.
PLAIN = Optimizer(name="sgd", learning_rate=1e-4)


def make_step(model, batch_size, horovod, communicator, optimizer=PLAIN):
    keras.utils.set_random_seed(5)
    chosen = with_options(architecture, model)
    step = AdversarialStep(
        chosen,
        chosen.build_generator(model),
        chosen.build_discriminator(model),
        Training(
            batch_size=batch_size,
            optimizer=optimizer,
            label_smoothing=0.1,
            loss_weights=LossWeights(response=2.0),  # a mean over showers, whoever has them
        ),
        response,
        communicator,
        1,
        horovod,
    )
    step.join(communicator, synchronized=model.synchronized_batch_norm)
    return step


def batches(rank, batch_size, epoch):
    loader = ShowerLoader(part, data, batch_size=batch_size, rank=rank, size=size, seed=3)
    yield from loader.epoch(epoch)
    loader.close()


def weights(step):
    return [np.asarray(v.numpy(), np.float64) for v in state_variables(step) if v.dtype.is_floating]


rng = np.random.default_rng(11)
for case in range(int(sys.argv[3])):
    batch_size, passes = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    batch_norm = bool(rng.integers(2)) and passes == 1
    model = Model(dropout=0.0, batch_norm=batch_norm, synchronized_batch_norm=batch_norm)
    compression = str(rng.choice(["none", "fp16"]))
    said = f"case {case}: batch {batch_size} x {passes}, batch norm {batch_norm}, {compression}"
    horovod = Horovod(backward_passes_per_step=passes, compression=compression)
    ours = make_step(model, batch_size, horovod, connect(horovod))
    # All build it: Horovod's names of gradients have those of layers in them, which are counted.
    alone = make_step(model, batch_size * passes * size, Horovod(), SingleProcess())
    before = weights(alone)
    shares = [batches(r, batch_size * passes, case) for r in range(size)]
    seen = []
    for number, together in enumerate(zip(*shares, strict=True)):
        seen += [energy for showers in together for energy in showers.energy_n.tolist()]
        settings = {"step": number, "learning_rate": 1e-4, "average_decay": 0.0}
        mine = together[rank]
        losses = ours(
            mine.images_nxyz,
            mine.energy_n[:, None] / np.float32(100),
            **settings,
            flags=(rank == 0, rank == size - 1, False),
        )
        assert ours.flagged == [True, True, False]
        mean = communicator.sum(np.array(list(losses.values()))) / size
        if rank > 0:
            continue  # the first compares; the others have the same bits as it has, see below
        images_nxyz = np.concatenate([showers.images_nxyz for showers in together])
        energy_n = np.concatenate([showers.energy_n for showers in together])
        expected = alone(images_nxyz, energy_n[:, None] / np.float32(100), **settings)
        # GPU-free float32 sums in another order; half precision has three digits.
        tolerance = 3e-3 if compression == "fp16" else 1e-5
        np.testing.assert_allclose(mean, list(expected.values()), rtol=tolerance, err_msg=said)
    assert len(seen) == len(set(seen)), f"{said}: a shower came twice"
    assert len(seen) == 48 - 48 % (batch_size * passes * size), said
    if rank == 0:
        for found, wanted, start in zip(weights(ours), weights(alone), before, strict=True):
            moved = np.abs(wanted - start).max()
            allowed = (2e-2 if compression == "fp16" else 1e-4) * moved + 1e-7
            off = np.abs(found - wanted).max()
            assert off <= allowed, f"{said}: {off}"
        pairs = zip(weights(alone), before, strict=True)
        assert sum(np.abs(wanted - start).max() > 1e-6 for wanted, start in pairs) > 4
    # Ranks stay identical to the last bit.
    flat = np.concatenate([values.ravel() for values in weights(ours)])
    everyone = communicator.gather(flat[None])
    assert (everyone == everyone[0]).all(), f"{said}: ranks have drifted apart"

# The published recipe. With statistics of its own batches, each rank's moving averages differ,
# until they are averaged.
ours = make_step(Model(spectral_norm=1.0), 4, Horovod(), communicator, Optimizer())
for number, showers in enumerate(batches(rank, 4, 0)):
    ours(
        showers.images_nxyz,
        showers.energy_n[:, None] / np.float32(100),
        step=number,
        learning_rate=1e-4,
        average_decay=0.0,
    )
# In the published recipe too, what is exchanged keeps all ranks at the same bits over an epoch.
exchanged = [
    *ours.generator.trainable_variables,
    *ours.discriminator.trainable_variables,
    *ours.generator_optimizer.variables,
    *ours.discriminator_optimizer.variables,
    # Of spectral norms: never exchanged, but the same from the same kernels.
    *(v for v in ours.discriminator.non_trainable_variables if v.name == "u"),
]
flat = np.concatenate([np.asarray(v.numpy(), np.float64).ravel() for v in exchanged])
everyone = communicator.gather(flat[None])
assert (everyone == everyone[0]).all(), "ranks have drifted apart"
statistics = np.concatenate([variable.numpy().ravel() for variable in ours.local_statistics()])
everyone = communicator.gather(statistics[None].astype(np.float64))
if size > 1:
    assert (everyone != everyone[0]).any(), "the ranks' statistics do not differ"
ours.average_statistics()
# Every rank saves: the test compares the files.
save_checkpoint(folder / f"rank-{rank}", ours, Position(global_step=12), keep=1)
averaged = np.concatenate([variable.numpy().ravel() for variable in ours.local_statistics()])
np.testing.assert_allclose(averaged, everyone.mean(axis=0), rtol=1e-6)
communicator.shutdown()
(folder / f"done-{rank}").touch()
