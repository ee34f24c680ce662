// BullMQ as its users run it: one process adds jobs while another works on them, and what is completed is kept.
//
//   node bullmq.mjs <redis port> <jobs> <concurrency> [records]
//
// With `records`, whoever adds a job also keeps what a payment needs and BullMQ does not have: the delivery and the payment,
// by which a second delivery is known, and the jobs of both wallets. Written at once with the add, not as one with it, and
// read by nobody: the least that it can cost.
//
// Prints the jobs per second from the first add to the last completion, after some others that make both processes warm.
import { fork } from 'node:child_process';
import { Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';

const WARM = 5000;
const [port, jobs, concurrency] = process.argv.slice(2, 5).map(Number);
const connection = { host: '127.0.0.1', port };

// As many payments to a child, and children to a referrer, as in ours.
const PER_CHILD = 4;
const SIBLINGS = 10;
const address = (n) => '0x' + n.toString(16).padStart(40, '0');

const keep = (client, n, payment) => {
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

// Adds as many jobs as it is told to.
const add = async (withRecords) => {
  const queue = new Queue('bench', { connection });
  const client = new Redis(port);
  await queue.waitUntilReady();
  const payload = { payment: '0x' + 'ab'.repeat(32), child: '0x' + 'cd'.repeat(20), usdc: '10000000' };
  const prefix = process.pid.toString(16).padStart(8, '0');
  let [added, wanted] = [0, 0];
  const caller = async () => {
    while (added < wanted) {
      added += 1;
      const n = added;
      if (withRecords) {
        const payment = '0x' + prefix + n.toString(16).padStart(56, '0');
        await Promise.all([
          keep(client, n, payment),
          queue.add('payout', { ...payload, payment, n }, { jobId: payment }),
        ]);
      } else {
        await queue.add('payout', { ...payload, n });
      }
    }
  };
  process.on('message', (more) => {
    wanted += more;
    Array.from({ length: concurrency }, caller);
  });
  process.send('ready');
};

// Works on what the other process adds, and times it.
const work = async () => {
  let completed = 0;
  let [wanted, reached] = [0, () => {}];
  const worker = new Worker('bench', async () => {}, { connection, concurrency });
  worker.on('completed', () => {
    completed += 1;
    if (completed === wanted) reached();
  });
  await worker.waitUntilReady();
  const adder = fork(import.meta.filename, [...process.argv.slice(2), 'adds']);
  await new Promise((resolve) => adder.once('message', resolve));
  const through = (more) =>
    new Promise((resolve) => {
      wanted += more;
      reached = resolve;
      adder.send(more);
    });
  await through(WARM);
  const began = performance.now();
  await through(jobs);
  console.log(Math.round((jobs * 1000) / (performance.now() - began)));
  adder.kill();
  await worker.close();
  process.exit(0);
};

const more = process.argv.slice(5);
await (more.includes('adds') ? add(more.includes('records')) : work());
