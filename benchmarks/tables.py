"""Write the tables of the README and of benchmarks/README.md from the results, so that no figure is typed by hand.

python benchmarks/tables.py
"""

import json
import re
import statistics
from pathlib import Path

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "benchmarks" / "README.md"
COLUMNS = ("accuracy", "gap", "fpr95", "auroc", "ece")


def load(name):
    """Return a result, or None when that benchmark has not been run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def table(head, rows):
    """Return a Markdown table, the first column to the left."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def number(value, digits=3):
    """Return a figure for a table, empty when there is none."""
    return "" if value is None else f"{value:.{digits}f}"


def origin(result):
    """Return where a result was measured."""
    return (
        f"Commit {result['commit'][:10]}, {result['date'][:10]}, {result['cores']} cores of {result['cpu']} "
        f"(load {result['load_at_start']} at the start), onnxruntime {result['versions']['onnxruntime']}."
    )


def recognition(result):
    """Return the tables of recognize.py."""
    parts = []
    for name, protocol in result["protocols"].items():
        rows = []
        for row in protocol["rows"]:
            time = f"{row['median_ms']:.0f} ({row['p10_ms']:.0f} to {row['p90_ms']:.0f})" if "median_ms" in row else ""
            interval = f"{row['gap']:.3f} ({row['gap_low']:.3f} to {row['gap_high']:.3f})"
            figures = [number(row.get(c)) if c != "gap" else interval for c in COLUMNS]
            rows.append([row["method"], *figures, time])
        what = f"{protocol['landmark_queries']} photos of known landmarks among {protocol['queries']}"
        parts.append(f"**{name}**: {what}\n\n" + table(["method", *COLUMNS, "ms a photo"], rows))
    stages = result["protocols"]["closed"]["stages"]
    times = [[s, *(f"{t[k]:.1f}" for k in ("median_ms", "p10_ms", "p90_ms"))] for s, t in stages.items()]
    parts.append("Milliseconds by stage:\n\n" + table(["stage", "median", "10 %", "90 %"], times))
    gallery = result["gallery"]
    parts.append(
        f"Adding: {gallery['photos_per_second']:.1f} photos a second; "
        f"{gallery['kilobytes_per_reference']:.1f} kB a reference on disk; {gallery['references']:,} references."
    )
    return "\n\n".join([origin(result), *parts])


def short(result, timed):
    """Return the README's table: the decision's figures on landmarks it has not seen, and what a photo costs.

    Args:
        result: of decision.py.
        timed: of recognize.py, for the notebook's order of work.
    """
    slow = next(r for r in timed["protocols"]["closed"]["rows"] if r["method"].startswith("notebook")) if timed else {}
    milliseconds = {f"learned, {effort}": times for effort, times in result["costs"]["efforts"].items()}
    milliseconds["notebook's formula"] = slow
    rows = []
    for name in ("closed", "open"):
        for row in result["protocols"][name]:
            if row["method"] in ("best neighbor", "notebook's formula", *milliseconds):
                time = milliseconds.get(row["method"], {}).get("median_ms")
                figures = [number(row[c]) for c in ("accuracy", "gap", "fpr95")]
                rows.append([f"{name}: {row['method']}", *figures, number(row.get("ece")), number(time, 0)])
    return table(["protocol and method", "accuracy", "GAP", "FPR95", "ECE", "ms a photo"], rows)


def competition(result):
    """Return the tables of competition.py."""
    parts = [origin(result)]
    if "run" in result:
        run = result["run"]
        parts.append(
            f"A run from nothing to a scored submission: {run['first_seconds']:.0f} s; "
            f"again, with nothing changed: {run['again_seconds']:.1f} s."
        )
        names = ("gap", "accuracy", "fpr95", "auroc")
        rows = [[recipe, *(number(scores[n]) for n in names)] for recipe, scores in run["scores"].items()]
        parts.append(table(["recipe", *names], rows))
        for key in ("stages", "stages_dna-2020"):
            rows = [[s["stage"], f"{s['seconds']:.1f}", f"{s['peak_megabytes']:,.0f}"] for s in run[key]]
            parts.append(table([f"stage ({'veduta' if key == 'stages' else 'dna-2020'})", "seconds", "peak MB"], rows))
    if "kill" in result:
        same = "the same" if result["kill"]["same_bytes"] else "NOT the same"
        parts.append(
            f"Killed {result['kill']['kills']} times at random moments: the submission is {same}, byte for byte."
        )
    if "search" in result:
        found = result["search"]
        parts.append(
            f"Exact top-{100} of {found['references']:,} x {found['dim']} on disk for {found['queries']:,} queries: "
            f"opens in {found['open_seconds']:.2f} s, takes {found['ratio_to_faiss']:.2f} times what faiss takes in "
            f"memory, with a peak of {found['peak_over_own']:.2f} times the descriptors' own size."
        )
        rows = [
            [str(i), f"{r['ours']['search_seconds']:.1f}", f"{r['faiss']['search_seconds']:.1f}", f"{r['ratio']:.2f}"]
            for i, r in enumerate(found["rounds"], 1)
        ]
        parts.append(table(["round", "ours, s", "faiss, s", "ratio"], rows))
    if "table" in result:
        found = result["table"]
        parts.append(
            f"Reading a train.csv of {found['rows']:,} rows: {found['seconds']:.1f} s, "
            f"{found['peak_bytes'] / 1e6:,.0f} MB at the peak."
        )
    if "score" in result:
        times = result["score"]
        slow, fast = (times[name]["median_ms"] / 1000 for name in ("with_interval", "without_interval"))
        parts.append(f"Scoring {times['rows']:,} rows: {slow:.2f} s with a bootstrap interval, {fast:.2f} s without.")
    return "\n\n".join(parts)


def interval(row):
    """Return a GAP with its bootstrap interval."""
    return f"{row['gap']:.3f} ({row['gap_low']:.3f} to {row['gap_high']:.3f})"


def decision(result):
    """Return the tables of decision.py: methods, unseen landmarks, what each part is worth."""
    parts = [origin(result)]
    for name, rows in result["protocols"].items():
        found = [
            [r["method"], number(r["accuracy"]), interval(r), *(number(r.get(c)) for c in COLUMNS[2:])] for r in rows
        ]
        parts.append(f"**{name}**\n\n" + table(["method", *COLUMNS], found))
    rows = [
        [f"{name}, {effort}", *(f"{found[name][c][0]:.3f} ± {found[name][c][1]:.3f}" for c in COLUMNS)]
        for effort, found in result["unseen"].items()
        for name in ("closed", "open")
    ]
    parts.append(
        "**unseen**: galleries of half the landmarks, which neither the descriptor nor the decision has seen; mean and "
        "deviation over the galleries\n\n" + table(["gallery, effort", *COLUMNS], rows)
    )
    what = [(p, c) for p in ("closed", "open", "unseen") for c in ("gap", "fpr95", "ece")]
    rows = [[r["without"], *(number(r[p][c]) for p, c in what)] for r in result["ablation"]]
    head = ["without", *(f"{p} {c}" for p, c in what)]
    parts.append("Each part off in turn, the rest learned anew (unseen: open galleries):\n\n" + table(head, rows))
    return "\n\n".join(parts)


def precision(result):
    """Return the table of floors: what is asked, and what is measured on landmarks not learned from."""
    head = ["precision asked", "floor", "protocol", "precision measured", "known answered right", "others answered"]
    rows = [
        [
            f"{row['asked']:.2f}",
            f"{row['floor']:.2f}",
            name,
            *(number(row[key]) for key in ("precision", "known_answered_right", "others_answered")),
        ]
        for name, found in result["precision"].items()
        for row in found
        if "error" not in row
    ]
    rows.sort(key=lambda row: row[0])
    said = []
    for name, found in result["protocols"].items():
        row = next(r for r in found if r["method"] == "learned, default")
        said.append(
            f"{name}, {row['landmarks_answered']:.1%} of the photos of known landmarks are answered, and "
            f"{row['distractors_answered']:.1%} of the others, wrongly"
        )
    return f"At the default floor of 0.5: {'; '.join(said)}.\n\n{table(head, rows)}"


def costs(result):
    """Return the table of efforts: what each costs and gains."""
    found = result["costs"]["efforts"]
    rows = []
    for effort, times in found.items():
        gains = []
        for name in ("closed", "open"):
            row = next((r for r in result["protocols"][name] if r["method"].endswith(f", {effort}")), None)
            row = row or next(r for r in result["protocols"][name] if r["method"] == "simple formula")
            gains += [number(row["accuracy"]), number(row["gap"]), number(row["fpr95"])]
        rows.append([effort, f"{times['median_ms']:.0f}", f"{times['mean_ms']:.0f}", f"{times['p90_ms']:.0f}", *gains])
    head = ["effort", "ms", "mean", "90 %"]
    head += [f"{name} {c}" for name in ("closed", "open") for c in ("accuracy", "GAP", "FPR95")]
    return table(head, rows)


def descriptor(result, *, ablation):
    """Return a table of descriptor.py: those of the ablation, or the others."""
    head = ["descriptor", "D"]
    places = [
        (s, p, f) for s in ("halves", "protocols") for p in ("closed", "open") for f in ("recall@1", "gap", "fpr95")
    ]
    head += [f"{s}, {p}: {'GAP' if f == 'gap' else f}" for s, p, f in places]
    rows = [
        [name, str(row["dim"]), *(number(row[s][p][f]) for s, p, f in places)]
        for name, row in result["descriptors"].items()
        if (name in result["recipes"] and name != "shipped") == ablation
    ]
    return f"{origin(result)}\n\n{table(head, rows)}"


def heads(result):
    """Return the table of what heads take."""
    rows = [
        [f"{row['classes']:,}", f"{row['looked_at']:,}", f"{row['memory_mb']:,}", f"{row['median_ms']:,.0f}"]
        for row in result["heads"]
    ]
    return table(["landmarks", "looked at in a step", "MB", "ms a step of 32 photos"], rows)


def local_features(result):
    """Return the table of pairs of extractor and matcher."""
    head = ["features and matcher", "keypoints", "ms a photo", "ms a pair", "kB a reference", "true inliers"]
    head += ["false inliers", "closed: accuracy", "GAP", "open: accuracy", "GAP", "matches", "3 px"]
    rows = []
    for row in result["pairs"]:
        worth = [number(row[p][c]) if p in row else "" for p in ("closed", "open") for c in ("accuracy", "gap")]
        counts = [", ".join(f"{n:.0f}" for n in row.get(f"{kind}_inliers", ())) for kind in ("true", "false")]
        costs = [f"{row['ms_a_photo']['median_ms']:.0f}", f"{row['ms_a_pair']['median_ms']:.1f}"]
        costs.append(f"{row['bytes_a_reference'] / 1000:.0f}")
        drawn = [f"{row['facades']['matches']:.0f}", number(row["facades"]["within_3_px"])]
        name = f"{row['extractor']}, {row['matcher']}"
        rows.append([name, str(row["keypoints"]), *costs, *counts, *worth, *drawn])
    asked = f"{result['queries']} queries of known landmarks and as many of none, a protocol."
    parts = [f"{origin(result)} {asked}", table(head, rows)]
    if peer := result.get("hloc's order"):
        times = [
            f"{peer[key]['median_ms']:.0f} ms a {what}"
            for key, what in (("ms_a_photo", "photo"), ("ms_a_pair", "pair"))
        ]
        parts.append(
            "The order of work of hloc, rebuilt from kornia alone (DISK at 1,024 pixels, 2,048 keypoints, LightGlue): "
            f"{' and '.join(times)}."
        )
    if result["missing"]:
        parts.append(f"Not on this machine: {', '.join(sorted(result['missing']))}.")
    return "\n\n".join(parts)


def masks(result):
    """Return the table of what each mask leaves."""
    rows = [
        [
            row["mask"],
            ", ".join(f"{n:.0f}" for n in row["true_inliers"]),
            ", ".join(f"{n:.0f}" for n in row["false_inliers"]),
        ]
        + [number(row[p][c]) for p in ("closed", "open") for c in ("accuracy", "gap")]
        for row in result["masks"]
    ]
    head = ["kept", "true inliers", "false inliers", "closed: accuracy", "GAP", "open: accuracy", "GAP"]
    return table(head, rows)


def default_speed(result):
    """Return what the default takes on one core."""
    names = {
        "ms_a_photo": "extraction, a photo",
        "ms_a_pair": "matching and verification, a pair",
        "ms_a_pair_of_several": "the same, several references at once",
    }
    rows = [
        [name, *(f"{result['default'][key][c]:.2f}" for c in ("median_ms", "p10_ms", "p90_ms"))]
        for key, name in names.items()
    ]
    return table(["", "ms", "10 %", "90 %"], rows)


def put(path, mark, text):
    """Replace what stands between a mark's two comments."""
    pattern = rf"(<!-- {mark} -->\n).*?(<!-- end {mark} -->)"
    old = path.read_text()
    new, count = re.subn(pattern, lambda found: found[1] + text + "\n" + found[2], old, flags=re.S)
    if count != 1:
        raise SystemExit(f"{path} has no place marked {mark}")
    path.write_text(new)


def put_decision(result):
    """Write the tables of decision.py."""
    docs = ROOT / "docs" / "decision.md"
    put(README, "decision", decision(result))
    put(docs, "decision-precision", precision(result))
    put(docs, "decision-cost", costs(result))
    put(ROOT / "README.md", "recognize", short(result, load("recognize")))


def put_descriptor(result):
    """Write the tables of descriptor.py."""
    docs = ROOT / "docs" / "training.md"
    put(docs, "descriptor", descriptor(result, ablation=False))
    if len(result["recipes"]) > 1:
        put(docs, "ablation", descriptor(result, ablation=True))
    if "heads" in result:
        put(docs, "head", heads(result))


def put_local_features(result):
    """Write the tables of local_features.py."""
    docs = ROOT / "docs" / "local-features.md"
    put(docs, "local-features", local_features(result))
    put(docs, "masks", masks(result))
    put(docs, "default-speed", default_speed(result))


def service(result):
    """Return the table of service.py."""
    rates = [[row[who] for row in result["photos_per_second"]] for who in ("library", "server")]
    library, server = (f"{statistics.median(each):.1f}" for each in rates)
    spread = [result["added_ms"], result["throughput_of_library"], result["ready_s"]]
    added, share, ready = (f"{each['median']} ({min(each['all'])} to {max(each['all'])})" for each in spread)
    rows = [
        ["photos a second, library alone", library],
        [f"photos a second, server asked by {result['clients']} clients", server],
        ["the second as a share of the first", share],
        ["what HTTP adds to a photo, ms", added],
        [f"from start to ready with {result['references']:,} references, s", ready],
    ]
    return f"{origin(result)}\n\n" + table(["", "median of rounds (least to most)"], rows)


def library(result):
    """Return the table of library.py."""
    rates = [[row[who] for row in result["rounds"]] for who in ("recognize", "scan")]
    alone, scanned = (f"{statistics.median(each):.1f} ({min(each)} to {max(each)})" for each in rates)
    share, again = result["share"], result["again"]
    seconds = [f"{again['again'][key] / 1000:.1f}" for key in ("median_ms", "p10_ms", "p90_ms")]
    rows = [
        ["recognizer alone, photos a second", "", alone],
        ["first scan of the same photos", "", scanned],
        [
            "the second as a share of the first",
            ">= 0.70",
            f"{share['median']} ({min(share['all'])} to {max(share['all'])})",
        ],
        [f"scanning {again['files']:,} unchanged photos again, s", "< 10", "{} ({} to {})".format(*seconds)],
    ]
    return f"{origin(result['machine'])}\n\n" + table(["", "asked", "median (least to most)"], rows)


def grouping(result):
    """Return the table of grouping.py."""
    seconds, rows = result["seconds"], []
    names = {"library": "the whole library, as shipped"}
    quality = {"library": result["library"]}
    for world, title in (("whole", "the whole library"), ("thinned", "two to twelve photos a place")):
        quality[world], names[world] = (
            result[world]["folded"],
            f"{title}, weights fitted without the landmarks measured",
        )
    for key, found in quality.items():
        for labels, title in (("checked", "labels by people"), ("all", "a search engine's too")):
            figures = found[labels]
            rows.append([f"{names[key]}; {title}", f"{figures['precision']:.3f}", f"{figures['recall']:.3f}"])
    took = ", ".join(f"{verb} {seconds[verb]:.0f} s" for verb in ("scanning", "looking", "matching"))
    return (
        f"{origin(result['machine'])}\n\n{result['photos']:,} photos, {seconds['whole']:.0f} s ({took}); "
        f"grouped again without anything new, {seconds['again']:.0f} s.\n\n"
        + table(["pairs of photos of one landmark", "precision", "recall"], rows)
    )


def scale(result):
    """Return the tables of scale.py."""
    head = ["descriptors", "index", "build s", "private MB then", "disk MB", "open s", "memory MB", "private MB"]
    head += ["recall@30", "p50 ms", "p99 ms"]
    rows = [
        [
            f"{int(size):,}",
            kind,
            *(f"{row[k]:,.0f}" for k in ("build_s", "build_private_mb", "disk_mb")),
            f"{row['open_s']:.2f}",
            *(f"{row[k]:,}" for k in ("process_mb", "private_mb")),
            f"{row['recall']:.3f}",
            *(f"{row[k]:.2f}" for k in ("p50_ms", "p99_ms")),
        ]
        for size, kinds in result["sizes"].items()
        for kind, row in kinds.items()
    ]
    said = (
        f"{result['dim']} components, {result['queries']:,} queries one at a time, none of them a descriptor of the "
        f"index; Veduta's recall was to be {result['recall_wanted']}, its peers look at the least that reaches 0.97. "
        "Memory is that of the whole process, files that are mapped included; private memory is without these. "
        "Veduta's rows were asked again at the end of the run, each once before it was timed."
    )
    return f"{origin(result)}\n\n{said}\n\n{table(head, rows)}"


def features_at_scale(result):
    """Return the table of features_at_scale.py."""
    rows = []
    for size, layouts in result["layouts"].items():
        for layout, found in layouts.items():
            for way, times in found.items():
                if way == "bytes":
                    continue
                spread = [
                    f"{times[k]['median_ms']:.1f} ({times[k]['p10_ms']:.1f} to {times[k]['p90_ms']:.1f})"
                    if k in times
                    else ""
                    for k in ("cold", "warm")
                ]
                rows.append([size, layout, way, f"{found['bytes']:,}", *spread])
    disk = "; ".join(f"{name}: {times['median_ms']:.1f} ms" for name, times in result["disk"].items())
    said = (
        f"{result['references']:,} references, {result['read']} of them at random, {result['rounds']} times; the disk "
        f"itself, cold, one read after another: {disk}. The gallery's figures contain unpacking."
    )
    head = ["features", "layout", "read", "bytes each", "from disk, ms", "from memory, ms"]
    return f"{origin(result)}\n\n{said}\n\n{table(head, rows)}"


# Name of the result -> what writes its tables.
WRITERS = {
    "recognize": lambda result: put(README, "recognize", recognition(result)),
    "decision": put_decision,
    "descriptor": put_descriptor,
    "local_features": put_local_features,
    "service": lambda result: put(ROOT / "docs" / "service.md", "service", service(result)),
    "library": lambda result: put(ROOT / "docs" / "library.md", "library", library(result)),
    "grouping": lambda result: put(ROOT / "docs" / "library.md", "grouping", grouping(result)),
    "scale": lambda result: put(ROOT / "docs" / "scale.md", "scale", scale(result)),
    "features_at_scale": lambda result: put(ROOT / "docs" / "scale.md", "features_at_scale", features_at_scale(result)),
    "competition-run": lambda result: put(README, "competition-run", competition(result)),
    "competition-size": lambda result: put(README, "competition-size", competition(result)),
}


def main():
    """Write all tables there are results for."""
    for name, write in WRITERS.items():
        if (result := load(name)) is not None:
            write(result)


if __name__ == "__main__":
    main()
