"""PyMongo, as a program uses it. It does what the lines of kit/src/worker.rs say."""

import os
import sys
import threading
import time

from bson import encode
from bson.codec_options import CodecOptions
from bson.int64 import Int64
from bson.raw_bson import RawBSONDocument
from gridfs import GridFSBucket
from pymongo import MongoClient, UpdateOne

WRITTEN = 100_000
BATCH = 1000
WRITTEN_SIZE = 256
SALE_TEXT = 183
WARM_UP = 100
PIECE = 64 << 10
SHORT_IDLE = "&maxIdleTimeMS=1"
LONG_IDLE = 0.015


class No(Exception):
    """Why there is no answer."""


def took(work):
    """CPU time of the process and time on the clock, in nanoseconds."""
    cpu, wall = time.process_time_ns(), time.monotonic_ns()
    work()
    return [time.process_time_ns() - cpu, time.monotonic_ns() - wall]


def uri(port, ca_file, options=""):
    ca_file = f"&tlsCAFile={ca_file}" if ca_file else ""
    return f"mongodb://127.0.0.1:{port}/?tls=true{ca_file}{options}"


def to_write():
    def document(number, text):
        return {"_id": number, "number": Int64(123456), "price": 1234.5, "active": True, "text": text}

    text = "x" * (WRITTEN_SIZE - len(encode(document(0, ""))))
    return [RawBSONDocument(encode(document(number, text))) for number in range(BATCH)]


def sale(number):
    return {"number": Int64(number), "price": 1234.5, "active": True, "text": "x" * SALE_TEXT}


def resident():
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmRSS:"))


def sockets():
    folder = "/proc/self/fd"
    targets = (os.readlink(f"{folder}/{name}") for name in os.listdir(folder) if os.path.lexists(f"{folder}/{name}"))
    return sum(target.startswith("socket:") for target in targets)


class Worker:
    def __init__(self, port, ca_file):
        self.port, self.ca_file, self.client = port, ca_file, None

    def new_client(self, options=""):
        return MongoClient(uri(self.port, self.ca_file, options))

    def open(self, options=""):
        self.client = self.new_client(options)
        self.client.admin.command("ping")
        return [0, 0]

    def connect(self, count, options=""):
        def work():
            for _ in range(int(count)):
                with self.new_client(options) as client:
                    client.admin.command("ping")

        return took(work)

    def ping(self, count):
        admin = self.client.admin

        def work():
            for _ in range(int(count)):
                admin.command("ping")

        return took(work)

    def fresh(self, count):
        with self.new_client(SHORT_IDLE) as client:
            client.admin.command("ping")
            cpu = wall = 0
            for _ in range(int(count)):
                time.sleep(LONG_IDLE)
                one = took(lambda: client.admin.command("ping"))
                cpu, wall = cpu + one[0], wall + one[1]
        return [cpu, wall]

    def threads(self, number, connections, count):
        ready, go = (threading.Barrier(int(number) + 1) for _ in range(2))
        all_times = []
        with self.new_client(f"&maxPoolSize={connections}") as client:

            def work():
                admin, each = client.admin, []
                for _ in range(WARM_UP):
                    admin.command("ping")
                ready.wait()
                go.wait()
                for _ in range(int(count)):
                    asked = time.monotonic_ns()
                    admin.command("ping")
                    each.append(time.monotonic_ns() - asked)
                all_times.extend(each)

            crew = [threading.Thread(target=work) for _ in range(int(number))]
            for thread in crew:
                thread.start()
            ready.wait()

            def all_together():
                go.wait()
                for thread in crew:
                    thread.join()

            numbers = took(all_together)
        all_times.sort()
        return [*numbers, all_times[len(all_times) * 99 // 100]]

    def read(self, shape):
        if shape in ("struct", "borrowed"):
            raise No("Python has no serde")
        options = CodecOptions(document_class=RawBSONDocument) if shape == "raw" else CodecOptions()
        documents = self.client.bench.get_collection("documents", codec_options=options)
        count = 0

        def work():
            nonlocal count
            for _ in documents.find(batch_size=BATCH):
                count += 1

        numbers = took(work)
        assert count == WRITTEN, count
        return numbers

    def write(self):
        documents, batch = self.client.bench.documents, to_write()

        def work():
            for _ in range(WRITTEN // BATCH):
                documents.insert_many(batch)

        return took(work)

    def insert_one(self, count):
        documents = self.client.bench.documents

        def work():
            for _ in range(int(count)):
                documents.insert_one(sale(0))

        return took(work)

    def find_one(self, count):
        one = self.client.bench.one

        def work():
            for _ in range(int(count)):
                assert one.find_one({"number": 0})

        return took(work)

    def insert_many(self):
        sales = [sale(number) for number in range(WRITTEN)]
        return took(lambda: self.client.bench.documents.insert_many(sales))

    def bulk(self):
        def update(number):
            return UpdateOne({"number": Int64(number)}, {"$set": {"price": 99.5, "active": False}})

        def work():
            result = self.client.bench.documents.bulk_write([update(number) for number in range(WRITTEN)])
            assert result.matched_count == WRITTEN, result

        return took(work)

    def upload(self, mebibytes):
        def work():
            piece = bytes([7]) * PIECE
            with GridFSBucket(self.client.bench).open_upload_stream("file") as upload:
                for _ in range((int(mebibytes) << 20) // PIECE):
                    upload.write(piece)

        return took(work)

    def download(self, mebibytes):
        size = int(mebibytes) << 20

        def work():
            read = 0
            download = GridFSBucket(self.client.bench).open_download_stream(size)
            while piece := download.read(PIECE):
                read += len(piece)
            assert read == size, read

        return took(work)

    def idle(self, count):
        with self.new_client() as first:
            first.admin.command("ping")
            time.sleep(0.5)
            memory, open_before = resident(), sockets()
            with self.new_client(f"&minPoolSize={count}&maxPoolSize={count}") as client:
                client.admin.command("ping")
                end = time.monotonic() + 60
                while sockets() < open_before + int(count):
                    assert time.monotonic() < end, "not all connections were made"
                    time.sleep(0.01)
                time.sleep(0.5)
                return [(resident() - memory) // int(count)]

    def build(self, port, ca_file=None):
        built = []
        numbers = took(lambda: built.append(MongoClient(uri(port, ca_file))))
        built[0].close()
        return numbers


def main():
    worker = Worker(*sys.argv[1:])
    for line in sys.stdin:
        name, *words = line.split()
        try:
            print(*getattr(worker, name)(*words), flush=True)
        except No as reason:
            print("no", reason, flush=True)


main()
