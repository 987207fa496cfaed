"""Layouts of the scenes in the country. Each paints one scene from back to front and returns its light in 256ths."""

from __future__ import annotations

from dissect.tiny import objects_built as built
from dissect.tiny import objects_moving as moving
from dissect.tiny import objects_nature as nature
from dissect.tiny.canvas import UNITS, Canvas, Color, Surface
from dissect.tiny.placing import airplane_above, backdrop, scaled, scatter
from dissect.tiny.rng import Rng


def boathouse(canvas: Canvas, rng: Rng) -> Color:
    """A house on the water, with a pier."""
    horizon = rng.between(380, 480)
    light = nature.sky(canvas, rng, horizon)
    backdrop(canvas, rng, horizon)
    nature.ground(canvas, rng, horizon, UNITS, "water")
    base, x, width = rng.between(640, 760), rng.between(280, 740), rng.between(300, 430)
    side = rng.pick((-1, 1))
    if rng.chance(70):
        moving.boat(canvas, rng, rng.below(UNITS), horizon + rng.between(60, 120), rng.between(110, 190))
    built.pier(canvas, rng, x - width * 7 // 10, x + width * 7 // 10, base - 6, 70)
    built.house(canvas, rng, x, base - 20, width)
    end = x + side * width
    built.pier(canvas, rng, min(x + side * width // 2, end), max(x + side * width // 2, end), base + 20, 50)
    if rng.chance(50):
        moving.person(canvas, rng, end - side * 60, base + 16, rng.between(110, 140))
    if rng.chance(85):
        moving.boat(canvas, rng, x - side * rng.between(60, 320), rng.between(870, 960), rng.between(260, 360))
    return light


def farm(canvas: Canvas, rng: Rng) -> Color:
    """A farmhouse and a barn by a field behind a fence."""
    horizon = rng.between(360, 470)
    light = nature.sky(canvas, rng, horizon)
    backdrop(canvas, rng, horizon)
    kind = rng.pick(("field", "field", "grass"))
    nature.ground(canvas, rng, horizon, UNITS, kind)
    if kind == "field":
        nature.furrows(canvas, rng, horizon)
    side, yard = rng.pick((-1, 1)), horizon + rng.between(110, 170)
    if rng.chance(30):
        nature.tree(canvas, rng, 512 + side * 480, yard, 280)
    built.barn(canvas, rng, 512 + side * rng.between(170, 330), yard, rng.between(280, 370))
    if rng.chance(75):
        built.house(canvas, rng, 512 - side * rng.between(150, 340), yard - 10, rng.between(170, 250))
    scatter(canvas, rng, horizon, rng.between(0, 2), yard, yard + 60, [(nature.tree, 800), (nature.bush, 150)])
    if rng.chance(65):
        scatter(canvas, rng, horizon, rng.between(1, 3), yard + 90, 930, [(moving.cow, 300)])
    if rng.chance(80):
        built.fence(canvas, rng, 0, UNITS, rng.pick((yard + 60, 950, 1000)), rng.between(90, 130))
    chance = rng.below(100)
    if chance < 30:
        moving.person(canvas, rng, rng.below(UNITS), 960, 250)
    elif chance < 38:
        built.swing(canvas, rng, rng.between(200, 824), yard + 80, 190)
    return light


def ski_slope(canvas: Canvas, rng: Rng) -> Color:
    """Snow that falls off to one side, firs, and people on skis."""
    horizon = rng.between(400, 500)
    light = nature.sky(canvas, rng, horizon)
    nature.mountains(canvas, rng, horizon, rng.between(240, 380), rng.chance(85))
    nature.ground(canvas, rng, horizon, UNITS, "snow")
    pen, side = canvas.pen("snow", rng), rng.pick((-1, 1))
    slope = Surface((238, 242, 250), "snow", "speckled")
    high, low = horizon - rng.between(60, 160), horizon + rng.between(120, 240)
    left, right = (high, low) if side > 0 else (low, high)
    pen.polygon([(0, left), (UNITS, right), (UNITS, UNITS), (0, UNITS)], slope)
    track = slope.shaded(-26)
    for _ in range(rng.between(1, 3)):
        x = rng.below(UNITS)
        pen.line(x, low, x + side * rng.between(100, 400), UNITS, 14, track)
    snowy = rng.chance(60)
    if rng.chance(55):
        built.house(canvas, rng, 512 + side * rng.between(160, 380), low + 40, rng.between(170, 260), True)
    for base in sorted(rng.between(low, 990) for _ in range(rng.between(3, 7))):
        nature.conifer(canvas, rng, rng.below(UNITS), base, scaled(base, horizon, rng.between(420, 600)), snowy)
    for _ in range(rng.between(1, 3)):
        base = rng.between(low + 80, 960)
        moving.person(canvas, rng, rng.between(100, 920), base, scaled(base, horizon, 330), True)
    if rng.chance(35):
        canvas.sprinkle(rng, 120, (250, 250, 255), 8)
    return light


def forest_road(canvas: Canvas, rng: Rng) -> Color:
    """A road that vanishes between rows of trees."""
    horizon = rng.between(380, 500)
    light = nature.sky(canvas, rng, horizon)
    autumn, firs = rng.chance(30), rng.pick((0, 50, 100))
    nature.treeline(canvas, rng, horizon)
    nature.ground(canvas, rng, horizon, UNITS, rng.pick(("grass", "grass", "grass", "snow")))
    far, foot, half = rng.between(420, 604), rng.between(300, 724), rng.between(220, 330)
    built.perspective_road(canvas, rng, horizon, far, foot, half)
    for step in (8, 14, 22, 34, 50, 72, 98):
        base = horizon + (UNITS - horizon) * step // 100
        middle, edge = far + (foot - far) * step // 100, 30 + half * step // 100
        for side in (-1, 1):
            x = middle + side * (edge + scaled(base, horizon, rng.between(150, 380)))
            if rng.chance(firs):
                nature.conifer(canvas, rng, x, base, scaled(base, horizon, rng.between(800, 1150)))
            else:
                nature.tree(canvas, rng, x, base, scaled(base, horizon, rng.between(760, 1050)), autumn)
        if step == 34 and rng.chance(35):
            moving.car(canvas, rng, middle, base, edge * 14 // 10)
    return light


def beach(canvas: Canvas, rng: Rng) -> Color:
    """Sand before the sea, parasols and people."""
    horizon, shore = rng.between(330, 420), rng.between(540, 660)
    light = nature.sky(canvas, rng, horizon)
    if rng.chance(30):
        backdrop(canvas, rng, horizon)
    nature.ground(canvas, rng, horizon, UNITS, "water")
    for _ in range(rng.between(0, 2)):
        moving.boat(canvas, rng, rng.below(UNITS), rng.between(horizon + 40, shore - 70), rng.between(90, 190))
    nature.ground(canvas, rng, shore, UNITS, "sand")
    pen, tilt = canvas.pen("sand", rng), rng.between(-70, 70)
    wet = Surface((190, 164, 122), "sand", "speckled")
    pen.polygon([(0, shore - tilt), (UNITS, shore + tilt), (UNITS, shore + tilt + 60), (0, shore - tilt + 60)], wet)
    foam = canvas.pen("water", rng)
    foam.polygon(
        [(0, shore - tilt - 16), (UNITS, shore + tilt - 16), (UNITS, shore + tilt + 8), (0, shore - tilt + 8)],
        Surface((238, 244, 246), "water"),
    )
    things = [(built.umbrella, 330), (moving.person, 290), (built.umbrella, 330), (nature.rock, 80)]
    if rng.chance(55):
        nature.palm(canvas, rng, rng.pick((90, 200, 820, 940)), rng.between(820, 980), rng.between(560, 760))
    if rng.chance(15):
        built.pier(canvas, rng, rng.between(0, 200), rng.between(400, 700), shore - 60, 40)
    if rng.chance(8):
        built.slide(canvas, rng, rng.between(200, 824), shore + 150, 240)
    scatter(canvas, rng, horizon, rng.between(2, 5), shore + 110, 1000, things)
    airplane_above(canvas, rng, 10)
    return light


def desert(canvas: Canvas, rng: Rng) -> Color:
    """Sand and rock under the sky, cacti or a few palms."""
    horizon = rng.between(430, 560)
    light = nature.sky(canvas, rng, horizon)
    rock = Surface(rng.jitter(rng.pick(((176, 112, 80), (190, 140, 98), (150, 100, 90)))), "stone", "banded")
    if rng.chance(60):
        nature.mountains(canvas, rng, horizon, rng.between(120, 260), False, rock)
    nature.hills(canvas, rng, horizon, "sand", Surface(rng.jitter((214, 172, 112)), "sand", "speckled"))
    nature.ground(canvas, rng, horizon + 40, UNITS, "sand")
    if rng.chance(30):
        built.perspective_road(canvas, rng, horizon + 40, rng.between(400, 624), rng.between(200, 824), 180)
    scatter(
        canvas,
        rng,
        horizon,
        rng.between(3, 7),
        horizon + 70,
        1000,
        [(nature.cactus, 480), (nature.cactus, 480), (nature.rock, 120), (nature.rock, 90), (nature.palm, 620)],
    )
    if rng.chance(20):
        moving.car(canvas, rng, rng.between(200, 824), rng.between(760, 940), 320)
    if rng.chance(20):
        built.house(canvas, rng, rng.between(200, 824), horizon + 120, 200)
    elif rng.chance(10):
        moving.cow(canvas, rng, rng.between(200, 824), rng.between(760, 900), 220)
    return light


def lake(canvas: Canvas, rng: Rng) -> Color:
    """Still water under mountains and firs, with a near shore."""
    horizon = rng.between(400, 500)
    light = nature.sky(canvas, rng, horizon)
    nature.mountains(canvas, rng, horizon, rng.between(200, 340), rng.chance(60))
    pen = canvas.pen("grass", rng)
    pen.rect(0, horizon - 14, UNITS, horizon + 50, Surface(rng.jitter((96, 132, 70)), "foliage", "speckled"))
    nature.ground(canvas, rng, horizon + 30, UNITS, "water")
    for _ in range(rng.between(5, 10)):
        nature.conifer(canvas, rng, rng.below(UNITS), horizon + rng.between(22, 40), rng.between(110, 200))
    if rng.chance(25):
        built.house(canvas, rng, rng.below(UNITS), horizon + 30, rng.between(100, 140))
    if rng.chance(60):
        moving.boat(
            canvas,
            rng,
            rng.between(200, 824),
            rng.between(640, 800),
            rng.between(170, 280),
            rng.pick(("row", "row", "sail")),
        )
    if rng.chance(20):
        built.pier(canvas, rng, rng.between(-100, 100), rng.between(300, 500), 860, 50)
    shore, side = rng.between(840, 930), rng.pick((-1, 1))
    bank = Surface(rng.jitter(rng.pick(((108, 146, 70), (150, 140, 110)))), rng.pick(("foliage", "sand")), "speckled")
    canvas.pen("grass" if bank.material == "foliage" else "sand", rng).ellipse(
        512 + side * 460, shore + 260, 800, 300, bank, light=0
    )
    scatter(
        canvas,
        rng,
        horizon,
        rng.between(1, 3),
        930,
        1010,
        [(nature.rock, 100), (nature.conifer, 700), (nature.bush, 120), (nature.tree, 700)],
    )
    if rng.chance(30):
        canvas.fog(horizon - 90, horizon + 20, horizon + 120, 150)
    return light


def railway(canvas: Canvas, rng: Rng) -> Color:
    """A train on its track."""
    horizon = rng.between(420, 520)
    light = nature.sky(canvas, rng, horizon)
    backdrop(canvas, rng, horizon)
    land = rng.pick(("grass", "grass", "field", "snow", "sand"))
    nature.ground(canvas, rng, horizon, UNITS, land)
    things = [(nature.tree, 1000), (built.house, 800), (nature.conifer, 1000), (nature.bush, 200)]
    if land == "sand":
        things = [(nature.cactus, 800), (nature.palm, 1000), (nature.rock, 200), (built.house, 800)]
    elif land == "grass":
        things.append((moving.cow, 450))
    scatter(canvas, rng, horizon, rng.between(1, 4), horizon + 20, horizon + 110, things)
    rail = rng.between(730, 850)
    pen = canvas.pen("road", rng)
    pen.polygon(
        [(0, rail - 20), (UNITS, rail - 20), (UNITS, rail + 70), (0, rail + 70)],
        Surface((132, 122, 112), "stone", "blotchy"),
    )
    for x in range(0, UNITS, 56):
        pen.rect(x, rail + 6, x + 26, rail + 34, Surface((92, 68, 50), "wood"))
    pen.rect(0, rail - 4, UNITS, rail + 8, Surface((120, 118, 120), "metal"))
    moving.train(canvas, rng, rng.between(120, 900), rail, rng.between(190, 250))
    pen.rect(0, rail + 26, UNITS, rail + 38, Surface((150, 148, 150), "metal"))
    if rng.chance(30):
        built.fence(canvas, rng, 0, UNITS, 1000, 90)
    scatter(
        canvas,
        rng,
        horizon,
        rng.between(0, 3),
        930,
        1010,
        [(nature.bush, 120), (moving.person, 260), (built.streetlight, 620), (nature.rock, 70)],
    )
    return light
