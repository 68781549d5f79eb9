"""Keeps a user online, and prints who is online whenever that changes.

After docs/protocol.md, with nothing but the package websockets (Debian: python3-websockets):

    python3 examples/python/online_users.py ws://localhost:4000/graphql dev:alice

A token that begins with @ is the name of a file, which is read at each connection.
"""

import asyncio
import json
import random
import sys
import uuid

import websockets

USERS = """query ($after: String) {
  onlineUsers(first: 1000, after: $after) { position nodes { id } pageInfo { hasNextPage endCursor } }
}"""
CHANGES = """subscription ($after: String) {
  presenceChanged(after: $after) { kind position user { id } }
}"""
HEARTBEAT = "mutation { heartbeat { nextHeartbeatInMs } }"
RETRY_SECONDS = 1
LONGEST_RETRY_SECONDS = 30
# A ping that is not answered for so long means that the connection is lost.
SILENCE_SECONDS = 10
WORTH_A_RETRY = ("UNAVAILABLE", "RATE_LIMITED", "INTERNAL")


class Refused(Exception):
    """An operation failed."""

    def __init__(self, errors):
        super().__init__(errors[0]["message"])
        self.code = errors[0].get("extensions", {}).get("code")


class OnlineUsers:
    def __init__(self, url, fresh_token, show):
        self.url = url
        self.fresh_token = fresh_token
        self.show = show
        # The same at each connection, so that a connection that is made again shows nothing to anyone.
        self.session_id = str(uuid.uuid4())
        self.users = set()
        self.position = None

    async def run(self):
        """Returns when the server refuses this client for good."""
        wait = RETRY_SECONDS
        was_refused_token = False
        while True:
            try:
                async with websockets.connect(
                    self.url,
                    subprotocols=["graphql-transport-ws"],
                    ping_interval=SILENCE_SECONDS,
                    ping_timeout=SILENCE_SECONDS,
                ) as socket:
                    interval = await self.greet(socket)
                    wait, was_refused_token = RETRY_SECONDS, False
                    await self.follow(socket, interval)
            except websockets.ConnectionClosed as error:
                code = error.rcvd.code if error.rcvd else None
                # A token may run out: once more with a fresh one, and no more than that.
                if code == 4400 or (code == 4403 and was_refused_token):
                    raise
                was_refused_token = code == 4403
            except Refused as refused:
                if refused.code not in WORTH_A_RETRY:
                    raise
            except (OSError, asyncio.TimeoutError, websockets.InvalidHandshake):
                pass
            await asyncio.sleep(wait * random.uniform(0.5, 1.5))
            wait = min(2 * wait, LONGEST_RETRY_SECONDS)

    async def greet(self, socket):
        payload = {"authorization": "Bearer " + self.fresh_token(), "sessionId": self.session_id}
        await send(socket, {"type": "connection_init", "payload": payload})
        return (await self.hear(socket, "connection_ack"))["payload"]["heartbeatIntervalMs"] / 1000

    async def follow(self, socket, interval):
        beats = asyncio.create_task(self.beat(socket, interval))
        try:
            while True:
                if self.position is None:
                    await self.read_list(socket)
                await subscribe(socket, "changes", CHANGES, {"after": self.position})
                try:
                    while True:
                        self.take((await self.result(socket, "changes"))["presenceChanged"])
                except Refused as refused:
                    if refused.code != "POSITION_EXPIRED":
                        raise
                    self.position = None
        finally:
            beats.cancel()

    async def beat(self, socket, interval):
        while True:
            await asyncio.sleep(interval)
            await subscribe(socket, str(uuid.uuid4()), HEARTBEAT, {})

    async def read_list(self, socket):
        users, position, after = set(), None, None
        while True:
            await subscribe(socket, "page", USERS, {"after": after})
            page = (await self.result(socket, "page"))["onlineUsers"]
            await self.hear(socket, "complete", "page")
            position = position or page["position"]
            users.update(user["id"] for user in page["nodes"])
            if not page["pageInfo"]["hasNextPage"]:
                break
            after = page["pageInfo"]["endCursor"]
        self.users, self.position = users, position
        self.show(self.users)

    def take(self, change):
        self.position = change["position"]
        if change["kind"] == "LEAVE":
            self.users.discard(change["user"]["id"])
        else:
            self.users.add(change["user"]["id"])
        self.show(self.users)

    async def result(self, socket, operation_id):
        payload = (await self.hear(socket, "next", operation_id))["payload"]
        if payload.get("errors"):
            raise Refused(payload["errors"])
        return payload["data"]

    async def hear(self, socket, kind, operation_id=None):
        """The next message of a kind; what comes before it is answered, or belongs to a heartbeat."""
        while True:
            message = json.loads(await socket.recv())
            if message["type"] == "ping":
                await send(socket, {**message, "type": "pong"})
            elif message["type"] == "error" and message["id"] == operation_id:
                raise Refused(message["payload"])
            elif message["type"] == kind and message.get("id") == operation_id:
                return message


async def send(socket, message):
    await socket.send(json.dumps(message))


async def subscribe(socket, operation_id, query, variables):
    payload = {"query": query, "variables": variables}
    await send(socket, {"id": operation_id, "type": "subscribe", "payload": payload})


if __name__ == "__main__":
    URL, TOKEN = sys.argv[1:]

    def read_token():
        if not TOKEN.startswith("@"):
            return TOKEN
        with open(TOKEN[1:], encoding="utf-8") as file:
            return file.read().strip()

    def print_users(users):
        print(json.dumps(sorted(users)), flush=True)

    asyncio.run(OnlineUsers(URL, read_token, print_users).run())
