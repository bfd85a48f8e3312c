"""PyMongo writes the files of a folder to a bucket, or the files of a bucket to a folder.

peer.py write|read URI BUCKET FOLDER. The name of a file to write ends with the size of its chunks.
"""

import pathlib
import sys

from gridfs import GridFSBucket
from pymongo import MongoClient

task, uri, bucket, folder = sys.argv[1:]
folder = pathlib.Path(folder)
with MongoClient(uri) as client:
    files = GridFSBucket(client.interop, bucket_name=bucket)
    if task == "write":
        for path in folder.iterdir():
            name, chunk_size = path.name.rsplit(".", 1)
            with path.open("rb") as content:
                files.upload_from_stream(name, content, chunk_size_bytes=int(chunk_size))
            path.unlink()
    else:
        for file in files.find({}):
            with (folder / file.filename).open("wb") as content:
                files.download_to_stream(file._id, content)
