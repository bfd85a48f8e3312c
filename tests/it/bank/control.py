"""The transfers of the bank test with PyMongo: the control run that shows that the servers are fair.

control.py URI DATABASE SECONDS SEED

Prints one JSON object: the IDs of the transfers that were acknowledged, whose outcome is unknown, and that were not made.
"""

import json
import random
import sys
import threading
import time

from bson import ObjectId
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

ACCOUNTS, THREADS = 24, 16


def main(uri, database, seconds, seed):
    bank = MongoClient(uri)[database]
    end = time.monotonic() + seconds
    outcomes = {"acknowledged": [], "unknown": [], "failed": [], "totals": []}
    lock, failures = threading.Lock(), []

    def note(outcome, value):
        with lock:
            outcomes[outcome].append(value)

    def transfer(chance):
        identity = ObjectId()
        source, target = chance.sample(range(ACCOUNTS), 2)
        amount = chance.randint(1, 9)

        def work(session):
            entry = {"transfer": identity, "from": source, "to": target, "amount": amount}
            bank.journal.insert_one(entry, session=session)
            for account, change in ((source, -amount), (target, amount)):
                update = {"$inc": {"balance": change}}
                bank.accounts.update_one({"_id": account}, update, session=session)

        concern = WriteConcern(1) if chance.random() < 0.5 else WriteConcern("majority")
        try:
            with bank.client.start_session() as session:
                session.with_transaction(work, write_concern=concern)
            note("acknowledged", str(identity))
        except PyMongoError as error:
            is_unknown = error.has_error_label("UnknownTransactionCommitResult")
            is_unknown = is_unknown or isinstance(error, ConnectionFailure)
            note("unknown" if is_unknown else "failed", str(identity))

    def transfers(number):
        chance = random.Random(seed * 1000 + number)
        while time.monotonic() < end:
            transfer(chance)

    def audits():
        def total(session):
            return sum(account["balance"] for account in bank.accounts.find({}, session=session))

        while time.monotonic() < end:
            with bank.client.start_session() as session:
                note("totals", session.with_transaction(total, read_concern=ReadConcern("snapshot")))

    def run(work, *arguments):
        try:
            work(*arguments)
        except BaseException as error:
            failures.append(repr(error))

    threads = [
        threading.Thread(target=run, args=(transfers, number)) for number in range(THREADS)
    ]
    threads.append(threading.Thread(target=run, args=(audits,)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        sys.exit("\n".join(failures))
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]), int(sys.argv[4]))
