"""Put a run's best weights into the zoo: float16 safetensors and a model card with the scores of that very file.

python benchmarks/ship_weights.py runs/kvasir_xs "what the data is and its licence"
python benchmarks/ship_weights.py --pins          # write zoo/weights.json anew, from the files and cards in zoo/
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import re
import sys
from pathlib import Path

from rescore_cards import ORIGIN, score_table

from lmnet.builder.planner import plan_spec
from lmnet.builder.spec import load_spec
from lmnet.builder.weights import read_weights, save_weights
from lmnet.builder.weights_on_demand import PINS, Pin, pins, sha256_of
from lmnet.builder.zoo import zoo_folder
from lmnet.training import summarize
from lmnet.training.runs.opened_model import open_model
from lmnet.training.runs.run_folder import RunFolder
from lmnet.training.runs.score_run import score_model
from lmnet.training.runs.train_run import DataChoice

CARD = """\
# {name}: shipped weights

{origin}

- **Data**: {data}. Split by seed {seed}: {images}. Fingerprint of content and split: `{fingerprint}`.
- **Input**: RGB, stretched to {size} x {size}, mean {mean}, deviation {std} (of 0 to 1).
- **Output**: background, lesion.
- **Cost** at this size, re-parameterised: {params:,} parameters, {gmacs:.3f} GMACs.
- **Recipe** `{recipe}`: {settings}.
- **Epoch** {epoch}, the best on val. **Versions**: {versions}.
- **Licence**: {licence} Not a medical device.
- **Not for** {not_for}

{scores}"""


def write_pins() -> None:
    """Write zoo/weights.json: SHA-256, size, data and licence of every file of weights in zoo/; others' rows stay."""
    rows = dict(pins())
    for path in zoo_folder().glob("*.safetensors"):
        card = path.with_suffix(".md").read_text(encoding="utf-8")
        data = re.search(r"\*\*Data\*\*: ([^,(.]+)", card)
        licence = re.search(r"\*\*Licence\*\*: (.+)", card)
        if data is None or licence is None:
            raise ValueError(f"{path.with_suffix('.md')}: it has no line for the data or the licence.")
        rows[path.stem] = Pin(sha256_of(path), path.stat().st_size, data[1].strip(), licence[1].strip())
    content = {name: dataclasses.asdict(rows[name]) for name in sorted(rows)}
    (zoo_folder() / PINS).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    """Write zoo/NAME.safetensors, zoo/NAME.md and its row of zoo/weights.json."""
    if sys.argv[1:] == ["--pins"]:
        write_pins()
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run")
    parser.add_argument("data", help="one line about the data, for the card")
    parser.add_argument("--name", help="zoo entry of the same architecture (default: the run's own)")
    parser.add_argument("--set", help="name of the data set, for weights of another one than Kvasir-SEG: NAME@SET")
    parser.add_argument(
        "--licence", default="research and education only, as that of the data.", help="(default: %(default)s)"
    )
    parser.add_argument(
        "--not-for",
        default="other organs, scanners or screening: it has seen polyps of one hospital group's colonoscopies.",
        help="(default: %(default)s)",
    )
    args = parser.parse_args()

    folder = RunFolder(args.run)
    manifest = folder.manifest()
    read = read_weights(folder.path / "best.safetensors")
    weights, facts = read.state, read.facts
    name = args.name or manifest["model"]
    plan, trained = plan_spec(load_spec(name)), plan_spec(load_spec(folder.path / "spec.yaml"))
    if plan.hash != trained.hash:
        raise ValueError(f"{name} is another architecture than {args.run}: {plan.hash} and {trained.hash}.")
    full_name = f"{name}@{args.set}" if args.set else name
    path = zoo_folder() / f"{full_name}.safetensors"
    save_weights(path, weights, {**facts, "deploy": "false"}, half=True)
    opened = open_model(args.run, weights=str(path))
    scores = {side: score_model(opened, DataChoice(path=""), side=side)[0] for side in ("test", "val")}
    recipe = manifest["recipe"]
    card = CARD.format(
        licence=args.licence,
        not_for=args.not_for,
        name=full_name,
        origin=ORIGIN,
        data=args.data,
        seed=manifest["seed"],
        images=", ".join(f"{side} {count}" for side, count in manifest["images"].items()),
        fingerprint=manifest["fingerprint"],
        size=recipe["size"],
        params=plan.deploy_params,
        gmacs=plan_spec(load_spec(name), input_size=(recipe["size"], recipe["size"])).deploy_macs / 1e9,
        mean=recipe["mean"],
        std=recipe["std"],
        recipe=recipe["name"],
        settings=", ".join(f"{key} {value}" for key, value in recipe.items() if key not in ("name", "mean", "std")),
        epoch=facts["epoch"],
        versions=", ".join(f"{key} {value}" for key, value in manifest["versions"].items()),
        scores=score_table(scores),
    )
    page = path.with_name(f"{full_name}.md")
    if page.exists() and (kept := re.search(r"- \*\*The paper\*\*.*?\n(?=- )", page.read_text("utf-8"), re.DOTALL)):
        card = card.replace("- **Licence**", f"{kept[0]}- **Licence**", 1)  # written by hand
    page.write_text(card, encoding="utf-8")
    write_pins()
    size = path.stat().st_size / 2**20
    print(json.dumps({"weights": str(Path(path)), "mib": round(size, 2), "test": summarize(scores["test"])}))
    print("next: python benchmarks/zoo_table.py --scores; make docs", file=sys.stderr)


if __name__ == "__main__":
    main()
