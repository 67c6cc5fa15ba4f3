"""HOST PORT CONNECTIONS SECONDS SEED: keeps so many connections to an echo server for so long. Each lives for a while,
sends messages and compares what comes back, and is followed by another. Prints what was done, as JSON."""

import asyncio
import json
import random
import sys
import time

done = {"connections": 0, "messages": 0, "bytes": 0}


async def live(host, port, chance, until):
    reader, writer = await asyncio.open_connection(host, port)
    done["connections"] += 1
    try:
        while time.monotonic() < until:
            message = chance.randbytes(chance.randrange(1, 16384))
            writer.write(message)
            await writer.drain()
            if await reader.readexactly(len(message)) != message:
                raise ValueError("other content came back than was sent")
            done["messages"] += 1
            done["bytes"] += len(message)
            await asyncio.sleep(chance.uniform(0, 1))
        if chance.random() < 0.1:
            writer.transport.abort()
            return
        writer.write_eof()
        if await reader.read(1):
            raise ValueError("more came back than was sent")
    finally:
        writer.close()


async def worker(host, port, chance, end):
    while time.monotonic() < end:
        await live(host, port, chance, min(end, time.monotonic() + chance.uniform(1, 40)))


async def main(host, port, connections, seconds, seed):
    end = time.monotonic() + seconds
    workers = (worker(host, port, random.Random(f"{seed}/{number}"), end) for number in range(connections))
    await asyncio.gather(*workers)
    print(json.dumps(done))


asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])))
