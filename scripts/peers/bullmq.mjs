// BullMQ as its users run it: jobs are added while a worker processes them, and what is completed is kept.
//
//   node bullmq.mjs <redis port> <jobs> <concurrency>
//
// Prints the jobs per second from the first add to the last completion.
import { Queue, Worker } from 'bullmq';

const [port, jobs, concurrency] = process.argv.slice(2).map(Number);
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
const add = async () => {
  while (added < jobs) {
    added += 1;
    await queue.add('payout', { ...payload, n: added });
  }
};
const began = performance.now();
await Promise.all(Array.from({ length: concurrency }, add));
await all;
console.log(Math.round((jobs * 1000) / (performance.now() - began)));
await worker.close();
await queue.close();
process.exit(0);
