"""Draw a small data set for the tutorials: python docs/tutorials/drawn.py competition|folders OUT."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "tests"))
from support import world


def competition(out, landmarks=6):
    """Draw facades in the competition's layout: two references each, two test views each, some distractors."""
    train, truth = ["id,landmark_id"], ["id,landmarks,Usage"]
    for i in range(landmarks):
        for j in range(2):
            pixels = world.view(world.facade(i), 10 * i + j, 0.5).pixels
            train.append(f"{save(out, 'train', pixels, 100 + 10 * i + j)},{i}")
            pixels = world.view(world.facade(i), 50 + 10 * i + j).pixels
            truth.append(f"{save(out, 'test', pixels, 500 + 10 * i + j)},{i},Private")
    truth += [f"{save(out, 'test', world.distractor(i), 900 + i)},,Private" for i in range(6)]
    (out / "train.csv").write_text("\n".join(train) + "\n")
    (out / "solution.csv").write_text("\n".join(truth) + "\n")
    rows = [line.split(",")[0] + ",0 0.0" for line in truth[1:]]
    (out / "sample_submission.csv").write_text("\n".join(["id,landmarks", *rows]) + "\n")


def save(out, split, pixels, number):
    """Save a photo where the competition would have it and return its id."""
    id = f"{number:016x}"[::-1]
    world.save(pixels, out / split / id[0] / id[1] / id[2] / f"{id}.jpg")
    return id


def folders(out, landmarks=12, photos=4):
    """Draw photos in one folder a landmark, and photos of nothing beside them."""
    for i in range(landmarks):
        for j in range(photos):
            pixels = world.view(world.facade(i), 100 * i + j, 0.7).pixels
            world.save(pixels, out / "landmarks" / f"palazzo-{i}" / f"{j}.jpg")
    for i in range(8):
        world.save(world.distractor(i), out / "nothing" / f"{i}.jpg")


if __name__ == "__main__":
    {"competition": competition, "folders": folders}[sys.argv[1]](Path(sys.argv[2]))
