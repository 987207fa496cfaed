"""Layouts of the scenes in the town. Each paints one scene from back to front and returns its light in 256ths."""

from __future__ import annotations

from dissect.tiny import objects_built as built
from dissect.tiny import objects_moving as moving
from dissect.tiny import objects_nature as nature
from dissect.tiny.canvas import UNITS, Canvas, Color, Surface
from dissect.tiny.placing import airplane_above, backdrop, scaled, scatter
from dissect.tiny.rng import Rng


def street(canvas: Canvas, rng: Rng) -> Color:
    """A row of houses behind a sidewalk and a road."""
    horizon = rng.between(480, 560)
    light = nature.sky(canvas, rng, horizon)
    if rng.chance(30):
        built.church(canvas, rng, rng.below(UNITS), horizon - 40, rng.between(330, 420))
    nature.ground(canvas, rng, horizon - 60, UNITS, rng.pick(("grass", "sidewalk")))
    walk, curb = horizon + 80, horizon + rng.between(150, 190)
    x = rng.between(-120, 0)
    while x < UNITS:
        width = rng.between(200, 330)
        built.house(canvas, rng, x + width // 2, walk, width - rng.between(4, 30))
        x += width
    canvas.pen("sidewalk", rng).rect(0, walk, UNITS, curb, Surface((170, 164, 156), "concrete", "tiled"))
    for _ in range(rng.between(0, 3)):
        rng.pick((nature.tree, built.streetlight, nature.tree))(
            canvas, rng, rng.below(UNITS), curb - 20, rng.between(330, 440)
        )
    for _ in range(rng.between(0, 3)):
        moving.person(canvas, rng, rng.below(UNITS), curb - rng.between(0, 30), rng.between(160, 190))
    built.cross_road(canvas, rng, curb, UNITS if rng.chance(50) else 970)
    if rng.chance(85):
        moving.car(canvas, rng, rng.between(100, 924), curb + rng.between(80, 120), rng.between(270, 340))
    if rng.chance(60):
        moving.car(canvas, rng, rng.between(50, 974), rng.between(930, 1000), rng.between(350, 430))
    return light


def downtown(canvas: Canvas, rng: Rng) -> Color:
    """Tower blocks, close together, over a road."""
    horizon = rng.between(580, 700)
    light = nature.sky(canvas, rng, horizon)
    for row, (low, high) in enumerate(((300, 520), (200, 460))):
        x = rng.between(-100, 0)
        while x < UNITS + 40:
            width = rng.between(90, 150 + 60 * row)
            built.skyscraper(canvas, rng, x + width // 2, horizon + 20, width, rng.between(low, high))
            x += width + rng.between(-20, 50)
    nature.ground(canvas, rng, horizon, UNITS, rng.pick(("sidewalk", "sidewalk", "water")))
    top = horizon + rng.between(60, 110)
    scatter(
        canvas,
        rng,
        horizon,
        rng.between(0, 3),
        horizon + 40,
        top,
        [(nature.tree, 500), (built.streetlight, 560), (moving.person, 300)],
    )
    built.cross_road(canvas, rng, top, rng.pick((top + 200, UNITS)))
    for lane in range(rng.between(0, 3)):
        moving.car(canvas, rng, rng.below(UNITS), top + 70 + 55 * lane, rng.between(210, 270))
    airplane_above(canvas, rng, 12)
    return light


def harbor(canvas: Canvas, rng: Rng) -> Color:
    """Boats at piers, and houses or towers along the quay."""
    horizon = rng.between(400, 480)
    light = nature.sky(canvas, rng, horizon)
    backdrop(canvas, rng, horizon)
    nature.ground(canvas, rng, horizon, UNITS, "water")
    quay = horizon + rng.between(60, 100)
    canvas.pen("sidewalk", rng).rect(
        0, horizon + 10, UNITS, quay, Surface(rng.jitter((150, 144, 136)), "stone", "bricked")
    )
    if rng.chance(80):
        for _ in range(rng.between(2, 4)):
            built.house(canvas, rng, rng.below(UNITS), horizon + 26, rng.between(150, 240))
    if rng.chance(40):
        moving.car(canvas, rng, rng.below(UNITS), quay - 14, 150)
    pier = rng.between(650, 760)
    for base in sorted(rng.between(quay + 70, pier) for _ in range(rng.between(2, 4))):
        moving.boat(canvas, rng, rng.below(UNITS), base, scaled(base, horizon, rng.between(380, 520)))
    if rng.chance(75):
        start = rng.between(-200, 300)
        built.pier(canvas, rng, start, start + rng.between(400, 800), pier + 30, 50)
    for base in sorted(rng.between(pier + 80, 980) for _ in range(rng.between(1, 3))):
        moving.boat(canvas, rng, rng.below(UNITS), base, scaled(base, horizon, rng.between(360, 480)))
    return light


def church_green(canvas: Canvas, rng: Rng) -> Color:
    """A church on a green."""
    horizon = rng.between(520, 620)
    light = nature.sky(canvas, rng, horizon)
    backdrop(canvas, rng, horizon)
    nature.ground(canvas, rng, horizon, UNITS, rng.pick(("grass", "grass", "grass", "snow", "sidewalk")))
    if rng.chance(35):
        built.house(canvas, rng, rng.pick((110, 914)), horizon + 60, rng.between(170, 240))
    if rng.chance(70):
        nature.earth_path(canvas, rng, horizon + 60)
    base = horizon + rng.between(110, 190)
    for x in (rng.between(40, 260), rng.between(764, 980)):
        if rng.chance(60):
            rng.pick((nature.tree, nature.conifer))(canvas, rng, x, base - 40, rng.between(300, 420))
    built.church(canvas, rng, rng.between(420, 604), base, rng.between(560, 690))
    scatter(
        canvas,
        rng,
        horizon,
        rng.between(0, 4),
        base + 60,
        1000,
        [(nature.bush, 110), (moving.person, 280), (nature.tree, 600), (built.bench, 260)],
    )
    if rng.chance(25):
        built.fence(canvas, rng, 0, UNITS, 1000, 100)
    return light


def playground(canvas: Canvas, rng: Rng) -> Color:
    """Swings and slides on grass or sand."""
    horizon = rng.between(380, 480)
    light = nature.sky(canvas, rng, horizon)
    if rng.chance(50):
        nature.treeline(canvas, rng, horizon)
    nature.ground(canvas, rng, horizon, UNITS, rng.pick(("grass", "grass", "sand")))
    for _ in range(rng.between(0, 2)):
        rng.pick((built.house, nature.tree, nature.tree))(
            canvas, rng, rng.below(UNITS), horizon + 70, rng.between(220, 330)
        )
    if rng.chance(55):
        built.fence(canvas, rng, 0, UNITS, horizon + 130, rng.between(70, 100))
    if rng.chance(45):
        canvas.pen("sand", rng).ellipse(
            512, 850, rng.between(330, 480), 130, Surface((216, 190, 138), "sand", "speckled"), light=0
        )
    first, second = rng.pick(
        ((built.swing, built.slide), (built.slide, built.swing), (built.slide, built.slide), (built.swing, built.slide))
    )
    first(canvas, rng, rng.between(220, 360), rng.between(740, 880), rng.between(350, 450))
    second(canvas, rng, rng.between(650, 800), rng.between(800, 930), rng.between(370, 480))
    scatter(
        canvas,
        rng,
        horizon,
        rng.between(1, 4),
        760,
        1000,
        [(moving.person, 240), (moving.person, 240), (built.bench, 280), (nature.bush, 90), (built.umbrella, 280)],
    )
    return light


def park(canvas: Canvas, rng: Rng) -> Color:
    """A path through lawns with trees, benches and lamps."""
    horizon = rng.between(380, 480)
    light = nature.sky(canvas, rng, horizon)
    backdrop(canvas, rng, horizon)
    nature.ground(canvas, rng, horizon, UNITS, "grass")
    if rng.chance(40):
        x, y = rng.between(150, 874), rng.between(600, 700)
        canvas.pen("water", rng).ellipse(
            x, y, rng.between(160, 280), rng.between(40, 70), Surface((92, 140, 170), "water", "wavy"), light=0
        )
    nature.earth_path(canvas, rng, horizon)
    autumn = rng.chance(30)
    for base in sorted(rng.between(horizon + 40, 820) for _ in range(rng.between(3, 6))):
        nature.tree(canvas, rng, rng.below(UNITS), base, scaled(base, horizon, rng.between(680, 880)), autumn)
    things = [
        (built.bench, 320),
        (built.bench, 320),
        (built.streetlight, 560),
        (moving.person, 300),
        (nature.bush, 130),
    ]
    built.bench(canvas, rng, rng.between(150, 874), 760, rng.between(180, 230))
    scatter(canvas, rng, horizon, rng.between(2, 5), 770, 1000, things)
    chance = rng.below(100)
    if chance < 20:
        rng.pick((built.slide, built.swing))(canvas, rng, rng.between(150, 874), 820, 250)
    elif chance < 30:
        built.umbrella(canvas, rng, rng.between(150, 874), 860, 250)
    return light


def airfield(canvas: Canvas, rng: Rng) -> Color:
    """An airliner on a runway."""
    horizon = rng.between(430, 540)
    light = nature.sky(canvas, rng, horizon)
    backdrop(canvas, rng, horizon)
    nature.ground(canvas, rng, horizon, UNITS, rng.pick(("grass", "grass", "sand", "sidewalk")))
    if rng.chance(60):
        built.barn(canvas, rng, rng.below(UNITS), horizon + 60, rng.between(200, 280))
    if rng.chance(40):
        built.skyscraper(canvas, rng, rng.below(UNITS), horizon + 60, 60, rng.between(180, 260))
    top = horizon + rng.between(110, 170)
    built.cross_road(canvas, rng, top, rng.between(900, 1000))
    if rng.chance(40):
        moving.airplane(canvas, rng, rng.below(UNITS), top - 36, rng.between(260, 330), True)
    airplane_above(canvas, rng, 20)
    moving.airplane(canvas, rng, rng.between(350, 674), rng.between(top + 60, top + 170), rng.between(560, 760), True)
    if rng.chance(45):
        moving.car(canvas, rng, rng.below(UNITS), rng.between(890, 980), rng.between(190, 250))
    if rng.chance(35):
        moving.person(canvas, rng, rng.below(UNITS), rng.between(900, 990), 190)
    return light
