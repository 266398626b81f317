"""A small test collection that several benchmarks are given: with titles, equals, grades, and a text of nothing."""

import json

SUBJECTS = ["music", "rivers", "bread", "code", "stars", "horses", "lamps", "trees", "doors", "boats", "wine", "ink"]
ENDS = ["It was written by a king of the north.", "Nobody wrote it down.", "A boat brought it over the lake."]


def corpus():
    """{id: {"title", "text"}}; every seventh document says what the one before it says."""
    documents = {}
    for number in range(48):
        said = number - (number % 7 == 6)
        subject = SUBJECTS[said % len(SUBJECTS)]
        documents[f"d{50 + number}"] = {
            "title": f"On {subject}" if said % 2 else "",
            "text": f"Passage {said} is about {subject}. {ENDS[said % len(ENDS)]}",
        }
    documents["d10"] = {"title": "", "text": " "}
    return documents


def queries():
    return {
        f"q{number}": f"who {what} {subject}?"
        for number, (what, subject) in enumerate(
            (what, subject) for what in ("wrote about", "brought") for subject in SUBJECTS[:8]
        )
    }


def qrels():
    """Grades 0 to 2, by the subject and the ending; of two documents that say the same, the second one has 0."""
    judged = {}
    for query, text in queries().items():
        wanted = ENDS[0] if "wrote" in text else ENDS[2]
        subject = text.rstrip("?").split()[-1]
        judged[query] = {
            document: (2 if said["text"].endswith(wanted) else 1) if number % 7 < 6 else 0
            for number, (document, said) in enumerate(corpus().items())
            if f"about {subject}." in said["text"]
        }
    return judged


def write_beir(folder):
    """The same as a BEIR folder."""
    (folder / "qrels").mkdir(parents=True)
    with (folder / "corpus.jsonl").open("w") as file:
        file.writelines(json.dumps({"_id": name, **document}) + "\n" for name, document in corpus().items())
    with (folder / "queries.jsonl").open("w") as file:
        file.writelines(json.dumps({"_id": name, "text": text}) + "\n" for name, text in queries().items())
    lines = [f"{query}\t{document}\t{grade}\n" for query, of in qrels().items() for document, grade in of.items()]
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(lines))
    return folder
