// BullMQ: a thousand jobs with delays, retries, flows and a limited rate, by two workers. Prints what it counted.
"use strict";
const { Queue, Worker, FlowProducer, QueueEvents } = require("bullmq");
const Redis = require("ioredis");

const connection = { host: "127.0.0.1", port: Number(process.argv[2]), maxRetriesPerRequest: null };
const redis = new Redis(connection);
const attempts = new Map();

// How often each job has been done; the first attempts of some fail.
async function work(job) {
  const made = (attempts.get(job.id) ?? 0) + 1;
  attempts.set(job.id, made);
  if (made <= (job.data.fails ?? 0)) throw new Error("as it should");
  if (job.name === "parent") {
    const children = Object.values(await job.getChildrenValues());
    await redis.hset("sums", job.id, children.reduce((sum, value) => sum + value, 0));
  }
  if (job.data.due && Date.now() < job.data.due) await redis.incr("early");
  await redis.hincrby("done", job.id, 1);
  return job.data.value;
}

async function counted(queue, completed, failed) {
  for (;;) {
    const counts = await queue.getJobCounts();
    const open = counts.active + counts.waiting + counts.delayed + counts.prioritized
      + counts["waiting-children"];
    if (open === 0 && counts.completed >= completed && counts.failed >= failed) return counts;
  }
}

async function main() {
  const queue = new Queue("work", { connection });
  const events = new QueueEvents("work", { connection });
  const seen = { completed: 0, failed: 0 };
  events.on("completed", () => (seen.completed += 1));
  events.on("failed", () => (seen.failed += 1));
  await events.waitUntilReady();
  const workers = [1, 2].map(() => new Worker("work", work, { connection, concurrency: 20 }));

  const plain = Array.from({ length: 500 }, (_, value) => (
    { name: "plain", data: { value }, opts: value % 5 === 0 ? { priority: 1 + value % 7 } : {} }));
  const delayed = Array.from({ length: 100 }, (_, value) => (
    { name: "delayed", data: { value, due: Date.now() + value * 3 }, opts: { delay: value * 3 } }));
  const retried = Array.from({ length: 90 }, (_, value) => ({
    name: "retried", data: { value, fails: value % 3 },
    opts: { attempts: 3, backoff: { type: "fixed", delay: 5 } },
  }));
  const failing = Array.from({ length: 10 }, (_, value) => (
    { name: "failing", data: { value, fails: 2 }, opts: { attempts: 2 } }));
  await Promise.all([plain, delayed, retried, failing].map((jobs) => queue.addBulk(jobs)));
  const flows = new FlowProducer({ connection });
  await flows.addBulk(Array.from({ length: 60 }, (_, flow) => ({
    name: "parent", queueName: "work", data: { value: 0 },
    children: [1, 2, 3, 4].map((value) => (
      { name: "child", queueName: "work", data: { value: value * (flow + 1) } })),
  })));
  const counts = await counted(queue, 990, 10);
  while (seen.completed < 990 || seen.failed < 10) await queue.count();

  // At most ten jobs in a window of 50 ms: a hundred take more than nine windows.
  const limited = new Queue("limited", { connection });
  await limited.addBulk(Array.from({ length: 100 }, () => ({ name: "limited", data: {} })));
  const began = Date.now();
  const limiter = new Worker("limited", async (job) => redis.hincrby("limited", job.id, 1), {
    connection, concurrency: 10, limiter: { max: 10, duration: 50 },
  });
  await counted(limited, 100, 0);
  const limitedMillis = Date.now() - began;

  const done = await redis.hvals("done");
  const sums = (await redis.hvals("sums")).map(Number).sort((a, b) => a - b);
  const report = {
    completed: counts.completed, failed: counts.failed, seen,
    done: done.length, doneOnce: done.filter((times) => times === "1").length,
    early: Number(await redis.get("early")),
    attempts: [...attempts.values()].reduce((sum, made) => sum + made, 0),
    sums: sums.every((sum, flow) => sum === 10 * (flow + 1)) && sums.length,
    limited: (await redis.hvals("limited")).filter((times) => times === "1").length,
    limitedMillis,
  };
  await queue.pause();
  report.paused = await queue.isPaused();
  await queue.obliterate({ force: true });
  report.left = (await redis.keys("bull:work:*")).length;
  await Promise.all([...workers, limiter, queue, limited, events, flows].map((one) => one.close()));
  redis.disconnect();
  console.log(JSON.stringify(report));
}

main().catch((error) => { console.error(error); process.exit(1); });
