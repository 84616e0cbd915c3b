// redlock over three servers: locks exclude each other, go on with one server lost, and end by themselves.
"use strict";
const assert = require("node:assert/strict");
const { once } = require("node:events");
const Redis = require("ioredis");
const Redlock = require("redlock");

const clients = process.argv.slice(2).map((port) => new Redis({
  port: Number(port), maxRetriesPerRequest: 0, enableOfflineQueue: false,
}));

async function main() {
  await Promise.all(clients.map((client) => client.status === "ready" || once(client, "ready")));
  const locks = new Redlock(clients, { retryCount: 400, retryDelay: 5, retryJitter: 5 });
  const impatient = new Redlock(clients, { retryCount: 0 });
  // Eight count with a variable that only the lock protects.
  let [inside, together, counted] = [0, 0, 0];
  await Promise.all(Array.from({ length: 8 }, async () => {
    for (let round = 0; round < 5; round += 1) {
      const lock = await locks.lock("counter", 10000);
      inside += 1;
      together = Math.max(together, inside);
      await clients[0].incr("count");
      counted += 1;
      inside -= 1;
      await lock.unlock();
    }
  }));
  assert.deepEqual([together, counted, await clients[0].get("count")], [1, 40, "40"]);
  let lock = await impatient.lock("held", 10000);
  await assert.rejects(impatient.lock("held", 1000), Redlock.LockError);
  lock = await lock.extend(20000);
  assert.ok(await clients[1].pttl("held") > 10000);
  await lock.unlock();
  assert.equal(await clients[1].exists("held"), 0);
  await impatient.lock("short", 30);
  await (await locks.lock("short", 1000)).unlock();
  // One of three is lost, then another.
  const lose = (client) => client.call("SHUTDOWN", "NOSAVE").catch(() => {});
  clients[2].on("error", () => {});
  clients[1].on("error", () => {});
  await lose(clients[2]);
  await (await locks.lock("two", 1000)).unlock().catch(() => {});
  await lose(clients[1]);
  await assert.rejects(impatient.lock("one", 1000), Redlock.LockError);
  for (const client of clients) client.disconnect();
}

main().catch((error) => { console.error(error); process.exit(1); });
