"""Handing on, against sockets that misbehave."""

from __future__ import annotations

import asyncio

from rollout_lib.rehearsal.live.forward import Forwarder


def test_a_destination_that_drips_is_given_up_and_never_called_unsent():
    """One byte every 50 ms never ends a read, but ends the whole: timed out, and
    it may have run.
    """

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
        try:
            while True:
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            writer.close()

    async def ask():
        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        forwarder = Forwarder(
            {"wa-webhook-jobs": f"http://127.0.0.1:{port}"}, timeout_s=0.5, connect_s=0.5
        )
        answer = await forwarder.post("wa-webhook-jobs", b"{}", {})
        await forwarder.close()
        server.close()
        return answer

    answer = asyncio.run(asyncio.wait_for(ask(), 60))
    assert (answer.status, answer.sent, answer.timed_out) == (None, True, True)
