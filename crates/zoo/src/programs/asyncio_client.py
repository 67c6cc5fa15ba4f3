"""HOST PORT STREAMS FILE: sends the file on each of several connections at once while it reads what comes, to the
end, and prints the SHA-256 of that."""

import asyncio
import hashlib
import sys


async def exchange(host, port, content):
    reader, writer = await asyncio.open_connection(host, port)

    async def send():
        for at in range(0, len(content), 65536):
            writer.write(content[at : at + 65536])
            await writer.drain()
        writer.write_eof()

    async def receive():
        digest = hashlib.sha256()
        while piece := await reader.read(65536):
            digest.update(piece)
        return digest.hexdigest()

    _, digest = await asyncio.gather(send(), receive())
    writer.close()
    await writer.wait_closed()
    return digest


async def main(host, port, streams, file):
    with open(file, "rb") as opened:
        content = opened.read()
    for digest in await asyncio.gather(*(exchange(host, port, content) for _ in range(streams))):
        print(digest)


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
