// node-redis: scripts and functions as commands, transactions, subscriptions, in the protocol that is asked for.
"use strict";
const assert = require("node:assert/strict");
const { deepEqual: looseDeepEqual } = require("node:assert");
const { createClient, defineScript, WatchError } = require("redis");

const [port, RESP] = process.argv.slice(2).map(Number);

const LIBRARY = `#!lua name=counters
  redis.register_function('add_to', function(keys, args)
    return redis.call('INCRBY', keys[1], args[1])
  end)
  redis.register_function{function_name = 'look', flags = {'no-writes'}, callback = function(keys)
    return redis.call('GET', keys[1])
  end}`;

const keyed = (NUMBER_OF_KEYS, read) => ({
  NUMBER_OF_KEYS, IS_READ_ONLY: read,
  parseCommand(parser, key, ...values) {
    parser.pushKey(key);
    parser.push(...values.map(String));
  },
  transformReply: (reply) => reply,
});

async function main() {
  const client = createClient({
    RESP,
    socket: { port },
    scripts: {
      multiply: defineScript({
        SCRIPT: "local n = redis.call('GET', KEYS[1]) * ARGV[1] redis.call('SET', KEYS[1], n) return n",
        ...keyed(1, false),
      }),
    },
    functions: { counters: { add_to: keyed(1, false), look: keyed(1, true) } },
  });
  client.on("error", (error) => { throw error; });
  await client.connect();
  await client.flushAll();
  await client.set("n", "3");
  assert.equal(await client.multiply("n", 4), 12);
  await client.scriptFlush();
  assert.equal(await client.multiply("n", 2), 24);
  assert.equal(await client.functionLoad(LIBRARY, { REPLACE: true }), "counters");
  assert.equal(await client.counters.add_to("n", 1), 25);
  assert.equal(await client.counters.look("n"), "25");
  const [library] = await client.functionListWithCode();
  assert.equal(library.library_code, LIBRARY);
  const dump = await client.withTypeMapping({ 36: Buffer }).functionDump();
  await client.functionFlush();
  await client.functionRestore(dump);
  assert.deepEqual(await client.multi().multiply("n", 2).counters.add_to("n", 1).get("n").exec(),
    [50, 51, "51"]);
  const replies = await Promise.all(Array.from({ length: 1000 }, () => client.counters.add_to("many", 1)));
  assert.deepEqual(replies, Array.from({ length: 1000 }, (_, i) => i + 1));
  await client.hSet("h", { a: "1" });
  looseDeepEqual(await client.eval("redis.setresp(3) return redis.call('HGETALL', KEYS[1])", {
    keys: ["h"],
  }), RESP === 3 ? { a: "1" } : ["a", "1"]);
  assert.equal(await client.sendCommand(["EVAL", "redis.setresp(3) return {double = 1.5}", "0"]),
    RESP === 3 ? 1.5 : "1.5");
  await assert.rejects(client.evalRo("return redis.call('SET', KEYS[1], 1)", { keys: ["n"] }),
    /Write commands are not allowed from read-only scripts/);

  const subscriber = client.duplicate();
  subscriber.on("error", (error) => { throw error; });
  await subscriber.connect();
  const heard = new Promise((hear) => subscriber.subscribe("news", (...message) => hear(message)));
  await subscriber.ping();
  await client.eval("return redis.call('PUBLISH', 'news', ARGV[1])", { arguments: ["one"] });
  assert.deepEqual(await heard, ["one", "news"]);
  await client.watch("n");
  await subscriber.unsubscribe();
  await subscriber.incr("n");
  await assert.rejects(client.multi().incr("n").exec(), WatchError);
  subscriber.destroy();
  client.destroy();
}

main().catch((error) => { console.error(error); process.exit(1); });
