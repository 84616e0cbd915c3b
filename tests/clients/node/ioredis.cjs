// ioredis: scripts as commands, pipelines, transactions, subscriptions, streams.
"use strict";
const assert = require("node:assert/strict");
const { once } = require("node:events");
const Redis = require("ioredis");

const port = Number(process.argv[2]);

// At most `limit` in any window of `window` ms; 1 where one more is admitted.
const LIMITER = `
  local now = redis.call('TIME')
  now = now[1] * 1000 + math.floor(now[2] / 1000)
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
  if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
  redis.call('ZADD', KEYS[1], now, ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  redis.call('ZADD', KEYS[1] .. ':log', now, ARGV[3])
  return 1`;

async function scripts(redis) {
  redis.defineCommand("addTo", {
    numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], ARGV[1])",
  });
  assert.equal(await redis.addTo("n", 2), 2);
  assert.equal(await redis.addTo("n", 3), 5);
  // Another client makes the server forget: EVALSHA is answered NOSCRIPT, and ioredis sends EVAL.
  assert.equal(await redis.script("FLUSH"), "OK");
  assert.equal(await redis.addTo("n", 1), 6);
  await redis.script("FLUSH");
  const replies = await redis.pipeline().addTo("n", 1).set("a", "1").addTo("n", 1).get("a").exec();
  assert.deepEqual(replies, [[null, 7], [null, "OK"], [null, 8], [null, "1"]]);
  const multi = await redis.multi().addTo("n", 1).incr("n").exec();
  assert.deepEqual(multi, [[null, 9], [null, 10]]);
  await redis.set("text", "x");
  await assert.rejects(redis.eval("return redis.call('INCR', KEYS[1])", 1, "text"),
    /ERR value is not an integer or out of range script: .*, on @user_script:1\./);
  assert.deepEqual(await redis.eval("return {1, 'a', {2, false, 3.9}, {ok = 'fine'}}", 0),
    [1, "a", [2, null, 3], "fine"]);
  const bytes = Buffer.from([0, 255, 13, 10]);
  assert.deepEqual(await redis.evalBuffer("return ARGV[1]", 0, bytes), bytes);
}

async function rest(redis) {
  const subscriber = redis.duplicate();
  await subscriber.subscribe("news");
  await subscriber.psubscribe("weather:*");
  const [message, pattern] = [once(subscriber, "message"), once(subscriber, "pmessage")];
  await redis.eval("redis.call('PUBLISH', 'news', 'one') redis.call('PUBLISH', 'weather:x', 'two')", 0);
  assert.deepEqual(await message, ["news", "one"]);
  assert.deepEqual(await pattern, ["weather:*", "weather:x", "two"]);
  const blocked = redis.duplicate();
  const popped = blocked.blpop("list", 30);
  while (!(await redis.client("LIST")).includes("cmd=blpop"));
  await redis.eval("return redis.call('RPUSH', KEYS[1], 'x')", 1, "list");
  assert.deepEqual(await popped, ["list", "x"]);
  await redis.watch("n");
  await subscriber.unsubscribe("news");
  await subscriber.punsubscribe("weather:*");
  await subscriber.incr("n");
  assert.equal(await redis.multi().incr("n").exec(), null);
  await redis.xgroup("CREATE", "stream", "g", "$", "MKSTREAM");
  const id = await redis.xadd("stream", "*", "f", "v");
  assert.deepEqual(await redis.xreadgroup("GROUP", "g", "c", "STREAMS", "stream", ">"),
    [["stream", [[id, ["f", "v"]]]]]);
  assert.equal(await redis.xack("stream", "g", id), 1);
  await redis.mset(Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`s:${i}`, i])));
  let keys = 0;
  for await (const batch of redis.scanStream({ match: "s:*", count: 100 })) keys += batch.length;
  assert.equal(keys, 1000);
  subscriber.disconnect();
  blocked.disconnect();
}

// Many at once from several connections: never more than the limit in a window, and the limit is reached.
async function limiter(redis) {
  const [limit, window] = [20, 100];
  const clients = Array.from({ length: 10 }, () => redis.duplicate());
  let [asked, admitted] = [0, 0];
  const began = Date.now();
  await Promise.all(clients.map(async (client, number) => {
    client.defineCommand("admit", { numberOfKeys: 1, lua: LIMITER });
    while (Date.now() - began < 4 * window) {
      const tries = Array.from({ length: 10 },
        () => client.admit("rate", limit, window, `${number}:${asked++}`));
      const granted = await Promise.all(tries);
      admitted += granted.reduce((sum, one) => sum + one, 0);
    }
  }));
  const scored = await redis.zrange("rate:log", 0, -1, "WITHSCORES");
  const times = scored.filter((_, index) => index % 2 === 1).map(Number);
  assert.equal(times.length, admitted);
  // The one `limit` places on is a whole window later.
  for (let i = limit; i < times.length; i += 1) assert.ok(times[i] - times[i - limit] >= window);
  assert.ok(admitted >= limit && asked > admitted);
  for (const client of clients) client.disconnect();
  return { asked, admitted };
}

async function main() {
  const redis = new Redis({ port });
  await redis.flushall();
  await scripts(redis);
  await rest(redis);
  const report = await limiter(redis);
  redis.disconnect();
  console.log(JSON.stringify(report));
}

main().catch((error) => { console.error(error); process.exit(1); });
