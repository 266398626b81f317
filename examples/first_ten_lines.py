"""Index a thousand dicts with metadata, filter, explain, delete a document, add it again."""

from xtrkit import Retriever

towns, goods = ["Aarhus", "Bergen", "Cork", "Delft", "Faro", "Ghent", "Nantes"], ["salt", "timber", "grain", "wine"]
records = [
    {"id": f"{town}-{good}-{year}", "text": f"In {year} the ships brought {good} to {town}.", "year": year}
    for town in towns for good in goods for year in range(1780, 1816)
][:1000]  # fmt: skip
retriever = Retriever.create("reports", records, nbits=4)
hit = retriever.search("wine that came to Bergen", k=3, where={"year": {"$gte": 1810}}, explain=True)[0]
print(hit.id, hit.metadata, hit.text)
print(*(f"{match.query_token.piece}={match.similarity:.2f}" for match in hit.matches))
retriever.delete([hit.id])
print(retriever.search(hit.text, k=3).ids)
retriever.add([record for record in records if record["id"] == hit.id])
print(retriever.search(hit.text, k=3).ids)
