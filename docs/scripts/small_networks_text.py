"""The text of docs/networks.md, training.md and discrimination.md; what stands in braces is measured."""

NETWORKS = """\
<!-- Written by docs/scripts/small_networks.py; do not edit. -->
# Small networks compared

Zhou et al. (TPAMI 2018, sections 3.3 to 3.8, Fig. 12 to 17 and 24) compare networks by their unique detectors: by
architecture, task, initial weights, dropout, batch normalisation and width. Here the networks are small, 64x64 pixels,
and trained by [`python -m dissect.tiny.train_small`](../dissect/tiny/train_small.py) for minutes, all alike but for one
thing. Their weights are not shipped; what their units detect is, by `dissect.experiments.small_dissections`.
"plain" is five convolutions and two fully connected layers; "wide" has no hidden
fully connected layer, and three times the units in its last convolution (AlexNet-GAP-Wide); "residual" has batch
normalisation, as published. Tasks without labels: which of four ways an image is turned ("rotation"), in which order
its quarters stand ("puzzle"), the color of each cell of a grey image ("color").

{trained}
Accuracy is that of each task, on 860 held-out scenes. None of them was trained to the end of what it can do: the
shipped VGG names 93 % of the scenes, after twenty times as many images.

## Unique detectors

The last convolutional layer after its ReLU, the default preset. Columns 3 to 5 below are means over {samples} samples
of {each} validation scenes that share none (`dissect.dissection.replicated`); what follows is one dissection with
{images} others, whose decoys say how many hardly come by chance: fewer scenes give more detectors by chance.
The interval is over images, of this one training. How much another seed makes, it cannot say: there is one training
each, but for the scenes, which have two.

{said}{table}
![Unique detectors by category]({pictures}/concepts.png)

## By category

Means over the same samples with their intervals (`dissect.dissection.replicated_by_category`), unique detectors:

{unique}
<details><summary>detectors, all units that detect any</summary>

{detectors}
</details>

Not trained here: captioning (3.5; `dissect.compare` takes the dissections of any network, so a captioning network's
encoder is compared as any other), context, ego-motion, tracking, video and audio, and wider networks than three times.
"""

TRAINING = """\
<!-- Written by docs/scripts/small_networks.py; do not edit. -->
# Trainings watched

`dissect.Watch` dissects a network from within the loop that trains it, and `dissect.monitor` checkpoints afterwards
(TPAMI 2018, sections 3.6 and 3.7, Fig. 18 to 23):

```python
with dissect.Watch(model, "features.relu5", scenes, every=2_000, out="watched/") as watch:
    for images, answers in loader:
        ...
        optimizer.step()
        watch.step()
grown = watch.history()
grown.plot("categories"), grown.plot("histories"), grown.kept(), grown.changes()
```

{cost}
{parts}## Units that keep their concept

In the paper 139 of 256 units (it prints 54.4 %) keep theirs from ImageNet to Places, and 135 (52.7 %) back.
"By chance" is the share if the last concepts were dealt out among the units. Intervals take units to be independent.
Fine-tuning sees half as many images as a training from scratch, by the same rates, or a tenth of them ("slowly").

{kept}
{verdicts}
The paper's people sorted the other units by what both concepts share: shape, texture, color, object, or nothing clear.
Of 117 from ImageNet to Places 109 share something. `likenesses` is a proxy for that: the categories of labels on which
a unit still fires as before, more than 95 % of the other units do. With six categories up to 5 % in each are alike by
chance, so that it says something only beyond the column "permuted", where each unit became what any unit of the layer
became. In any category: {likely}. It knows no shape, and no person has rated these; so it does not test the paper's
share of 93 %.
"""

WATCHED = """\
## {name}

{begins}; `{layer}`, {scenes} validation scenes.

{table}
![Unique detectors by category]({pictures}/{name}-categories.png)

![What six units detect, step by step; bold where they are detectors]({pictures}/{name}-histories.png)

{changed} units end with another concept than they began with. How many still fire on what is alike (`Comparison.alike`;
"permuted": the mean, fewest and most of {permutations} permutations; p: how often as many):

{alike}
"""

DISCRIMINATION = """\
<!-- Written by docs/scripts/small_networks.py; do not edit. -->
# Discrimination against interpretability

Do networks whose units detect more objects have better features for another task? Zhou et al. (TPAMI 2018, section 3.9,
Fig. 25 and 26) teach a linear support vector machine (C = 0.001) by the last convolutional layer's activations, and set
its class-averaged accuracy against the number of unique object detectors. They find a positive correlation, and print
no coefficient.

```python
found = dissect.experiments.discrimination(networks, dissections, train, test)
found.rows(), found.correlations(), found.plot()
```

`dissect experiment discrimination` does it with the embedded world's networks. Here {count} of them
([how they were trained](networks.md)), of which {untrained} are untrained
and some are repeats with another seed; no checkpoint counts as a network. Each was dissected with {images}
validation scenes; the classifier learns from {train} training scenes and is tried on {test} validation scenes.
Intervals of accuracies are over test images drawn again (they lean upwards, since a rare class that a draw lacks says
nothing), those of r by Fisher's z over networks, which takes them to be independent: repeats and fine-tuned networks
are not quite. A wide layer has more units to detect with, and more features.

{parts}The published rule (of maps with fewer cells here, to take less time) depends on the features' scale, of
which the paper says nothing: with C = 0.001 small features are hardly used. So the second rule stands beside it. Its C
was chosen among two: with 0.001 on scaled features classifiers reached 2 to 9 %.
"""

RULE = """\
{title}: {told}.

![Accuracy over unique object detectors]({pictures}/{file}.png)

{every}; {others};
{trained}. {agrees}

<details><summary>every network</summary>

{table}
</details>

"""
