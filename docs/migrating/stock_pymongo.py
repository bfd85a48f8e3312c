"""The stock of a warehouse: stock URI DATABASE."""

import sys

from pymongo import ASCENDING, IndexModel, MongoClient, ReturnDocument, UpdateOne
from pymongo.collation import Collation, CollationStrength
from pymongo.errors import BulkWriteError, DuplicateKeyError
from pymongo.write_concern import WriteConcern


class Stock:
    def __init__(self, client, database):
        database = client[database]
        database.command("ping")
        self.articles = database.get_collection("articles", write_concern=WriteConcern("majority"))
        by_kind = IndexModel([("kind", ASCENDING), ("price", ASCENDING)])
        by_name = IndexModel([("name", ASCENDING)], unique=True)
        self.articles.create_indexes([by_kind, by_name])

    def add(self, article):
        """Adds an article. Returns False if there is one with this number or this name."""
        try:
            self.articles.insert_one(article)
            return True
        except DuplicateKeyError:
            return False

    def add_all(self, articles):
        """Adds articles. Returns how many were added, and the indexes of those that were not."""
        try:
            result = self.articles.insert_many(articles, ordered=False)
            return len(result.inserted_ids), []
        except BulkWriteError as error:
            rejected = [error["index"] for error in error.details["writeErrors"]]
            return error.details["nInserted"], rejected

    def cheapest(self, kind, limit):
        """Lists the cheapest articles of a kind."""
        return self.articles.find(
            {"kind": kind, "count": {"$gt": 0}},
            projection={"name": 1, "price": 1},
            sort=[("price", ASCENDING), ("_id", ASCENDING)],
            limit=limit,
            batch_size=2,
            hint=[("kind", ASCENDING), ("price", ASCENDING)],
            max_time_ms=5000,
        )

    def named(self, name):
        """Finds an article by its name, whatever the case of the letters."""
        any_case = Collation("en", strength=CollationStrength.SECONDARY)
        return self.articles.find_one({"name": name}, collation=any_case)

    def take(self, sku, count):
        """Takes articles out of the stock. Returns how many are left, or None if there are not enough."""
        article = self.articles.find_one_and_update(
            {"_id": sku, "count": {"$gte": count}},
            {"$inc": {"count": -count}},
            return_document=ReturnDocument.AFTER,
        )
        return None if article is None else article["count"]

    def put_on_shelves(self, kind):
        """Puts the articles of a kind on shelves, which have the name of the kind and of the article."""
        shelf = {"$concat": ["$kind", "-", "$name"]}
        result = self.articles.update_many(
            {"kind": kind, "shelf": {"$exists": False}},
            [{"$set": {"shelf": shelf}}],
        )
        return result.modified_count

    def deliver(self, delivery):
        """Books a delivery: how many of each article have arrived."""
        models = [UpdateOne({"_id": sku}, {"$inc": {"count": count}}) for sku, count in delivery]
        return self.articles.bulk_write(models, ordered=False)

    def totals(self):
        """Returns the number of articles and the value of each kind."""
        value = {"$multiply": ["$count", "$price"]}
        stages = [
            {"$group": {"_id": "$kind", "articles": {"$sum": 1}, "value": {"$sum": value}}},
            {"$sort": {"_id": 1}},
        ]
        return self.articles.aggregate(stages, allowDiskUse=True)

    def clean_up(self, session):
        """Removes the articles that are used up, and returns the names of those that are left."""
        self.articles.delete_many({"count": 0}, session=session)
        left = self.articles.find({}, sort=[("name", ASCENDING)], session=session)
        return [article["name"] for article in left]


def article(sku, name, kind, count, price):
    return {"_id": sku, "name": name, "kind": kind, "count": count, "price": price}


def main(uri="mongodb://localhost", database="warehouse"):
    client = MongoClient(uri)
    stock = Stock(client, database)

    bolt = article("B4", "Bolt M4", "bolt", 100, 0.25)
    print(f"added: {str(stock.add(bolt)).lower()}")
    print(f"added again: {str(stock.add(bolt)).lower()}")
    more = [
        article("B5", "Bolt M5", "bolt", 40, 0.5),
        article("B6", "Bolt M4", "bolt", 1, 0.5),
        article("B8", "Bolt M8", "bolt", 10, 1.5),
        article("N4", "Nut M4", "nut", 20, 0.125),
    ]
    added, rejected = stock.add_all(more)
    print(f"added {added}, rejected {rejected}")
    for row in stock.cheapest("bolt", 2):
        print(f"{row['name']}: {row['price']:.3f}")
    nut = stock.named("nut m4")
    print(f"found: {nut['_id'] if nut else ''}")
    for count in [15, 15, 5]:
        left = stock.take("N4", count)
        print(f"there are no {count}" if left is None else f"took {count}, {left} left")
    print(f"on shelves: {stock.put_on_shelves('bolt')}")
    booked = stock.deliver([("B4", 50), ("B5", 10), ("X1", 1)])
    print(f"booked: {booked.matched_count}")
    for total in stock.totals():
        print(f"{total['_id']}: {total['articles']} articles, {total['value']:.2f}")
    with client.start_session(causal_consistency=True) as session:
        print(f"left: {', '.join(stock.clean_up(session))}")
    print(f"kinds: {len(stock.articles.distinct('kind', {}))}")
    client.drop_database(database)
    client.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
