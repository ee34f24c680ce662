// BullMQ as its users run it: jobs are added while a worker processes them, and what is completed is kept.
//
//   node bullmq.mjs <redis port> <jobs> <concurrency> [records]
//
// With `records`, whoever adds a job also keeps what a payment needs and BullMQ does not have: the delivery and the payment,
// by which a second delivery is known, and the jobs of both wallets. Written at once with the add, not as one with it, and
// read by nobody: the least that it can cost.
//
// Prints the jobs per second from the first add to the last completion.
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';

const [port, jobs, concurrency] = process.argv.slice(2, 5).map(Number);
const withRecords = process.argv[5] === 'records';
const connection = { host: '127.0.0.1', port };
const queue = new Queue('bench', { connection });
await queue.waitUntilReady();

let completed = 0;
let finish;
const all = new Promise((resolve) => {
  finish = resolve;
});
const worker = new Worker(
  'bench',
  async () => {
    completed += 1;
  },
  { connection, concurrency },
);
worker.on('completed', () => {
  if (completed === jobs) finish();
});
await worker.waitUntilReady();

let added = 0;
const payload = { payment: '0x' + 'ab'.repeat(32), child: '0x' + 'cd'.repeat(20), usdc: '10000000' };

// As many payments to a child, and children to a referrer, as in ours.
const PER_CHILD = 4;
const SIBLINGS = 10;
const address = (n) => '0x' + n.toString(16).padStart(40, '0');
const client = new Redis(port);
const keep = (n, payment) => {
  const at = Date.now();
  const child = n % (jobs / PER_CHILD);
  const [wallet, referrer] = [address(child), address(2 ** 32 + Math.floor(child / SIBLINGS))];
  const fingerprint = 'ef'.repeat(32);
  return client
    .multi()
    .set(`event:payments:${payment}`, fingerprint, 'NX')
    .hset(`payment:${payment}`, {
      source: 'payments',
      external_id: `evt_${n}`,
      fingerprint,
      wallet,
      referrer,
      amount: '10000000',
      usdc: '1000000',
      sge: '0',
      decision: 'due',
      job: payment,
      created_at: at,
    })
    .zadd(`wallet:${wallet}`, at, payment)
    .zadd(`wallet:${referrer}`, at, payment)
    .exec();
};

const round = process.pid.toString(16).padStart(8, '0');
const add = async () => {
  while (added < jobs) {
    added += 1;
    const n = added;
    if (withRecords) {
      const payment = '0x' + round + n.toString(16).padStart(56, '0');
      await Promise.all([keep(n, payment), queue.add('payout', { ...payload, payment, n }, { jobId: payment })]);
    } else {
      await queue.add('payout', { ...payload, n });
    }
  }
};
const began = performance.now();
await Promise.all(Array.from({ length: concurrency }, add));
await all;
console.log(Math.round((jobs * 1000) / (performance.now() - began)));
await worker.close();
await queue.close();
client.disconnect();
process.exit(0);
