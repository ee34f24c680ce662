// Deploys registry and payout. `check` looks at the environment only, `run` deploys. See scripts/deploy.
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const CONTRACTS = dirname(dirname(fileURLToPath(import.meta.url)));
const DEVELOPMENT_CHAINS = [31337, 1337];
const EX_USAGE = 64;
const EX_UNAVAILABLE = 69;
const EX_SOFTWARE = 70;
const ROLES = ["ADMIN_ADDRESS", "RELAYER_ADDRESS", "PAUSER_ADDRESS", "LIMITER_ADDRESS", "TREASURER_ADDRESS"];
// Name: [default, bits]. "max" means the greatest number of these bits: off.
const NUMBERS = {
  USDC_CAP: ["1000000000", 256],
  USDC_WINDOW_LIMIT: ["10000000000", 208],
  SGE_CAP: ["10000000000000000000000", 256],
  SGE_WINDOW_LIMIT: ["100000000000000000000000", 208],
  WINDOW_SECONDS: ["86400", 48],
  ADMIN_DELAY: ["86400", 48],
};
const CURVE_ORDER = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;

const env = Object.fromEntries(Object.entries(process.env).filter(([, value]) => value !== ""));
const rpcUrl = (env.ETH_RPC_HTTPS ?? "").split(",")[0].trim();

function fail(code, lines) {
  for (const line of [lines].flat()) console.error(`deploy: ${line}`);
  process.exit(code);
}

async function rpc(method, params) {
  const response = await fetch(rpcUrl, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ jsonrpc: "2.0", id: 1, method, params }),
    signal: AbortSignal.timeout(15_000),
  });
  const body = await response.json();
  if (body.error) throw new Error(`${method}: ${body.error.message}`);
  return body.result;
}

/** What is wrong with the values as such. Never repeats a value: it may be a secret in the wrong place. */
function problemsOfForm() {
  const problems = [];
  if (!/^https?:\/\/\S+$/.test(rpcUrl)) problems.push("ETH_RPC_HTTPS: an http(s) URL is required");
  const key = env.DEPLOYER_PRIVATE_KEY ?? "";
  if (!/^0x[0-9a-fA-F]{64}$/.test(key) || BigInt(key) === 0n || BigInt(key) >= CURVE_ORDER) {
    problems.push("DEPLOYER_PRIVATE_KEY: 0x and 64 hexadecimal digits are required");
  }
  for (const name of ["USDC_ADDRESS", "SGE_ADDRESS", ...ROLES]) {
    const value = env[name];
    if (value !== undefined && (!/^0x[0-9a-fA-F]{40}$/.test(value) || BigInt(value) === 0n)) {
      problems.push(`${name}: 0x and 40 hexadecimal digits, not all zero, are required`);
    }
  }
  if (env.USDC_ADDRESS && env.USDC_ADDRESS.toLowerCase() === env.SGE_ADDRESS?.toLowerCase()) {
    problems.push("SGE_ADDRESS: must differ from USDC_ADDRESS");
  }
  for (const [name, [fallback, bits]] of Object.entries(NUMBERS)) {
    const most = 2n ** BigInt(bits) - 1n;
    if (env[name] === undefined) env[name] = fallback;
    if (env[name] === "max" && bits > 48) env[name] = most.toString();
    if (!/^[0-9]{1,78}$/.test(env[name]) || BigInt(env[name]) > most) {
      problems.push(`${name}: a whole number below 2^${bits} is required${bits > 48 ? ', or "max"' : ""}`);
    }
  }
  if (env.WINDOW_SECONDS === "0") problems.push("WINDOW_SECONDS: must be at least 1");
  return problems;
}

/** What is wrong with the values on the chain they are meant for. */
async function problemsOnChain(chainId) {
  const problems = [];
  for (const [name, decimals] of [["USDC_ADDRESS", 6n], ["SGE_ADDRESS", 18n]]) {
    const token = env[name];
    if (token === undefined) {
      if (DEVELOPMENT_CHAINS.includes(chainId)) continue;
      problems.push(`${name}: required on chain ${chainId}; test tokens exist only on development chains (31337, 1337)`);
    } else if ((await rpc("eth_getCode", [token, "latest"])) === "0x") {
      problems.push(`${name}: no contract there on chain ${chainId}`);
    } else {
      const answer = await rpc("eth_call", [{ to: token, data: "0x313ce567" }, "latest"]).catch(() => "0x");
      if (answer === "0x" || BigInt(answer) !== decimals) problems.push(`${name}: decimals() is not ${decimals}`);
    }
  }
  if (!DEVELOPMENT_CHAINS.includes(chainId)) {
    if (env.RELAYER_ADDRESS === undefined) problems.push(`RELAYER_ADDRESS: required on chain ${chainId}`);
    else if (env.RELAYER_ADDRESS.toLowerCase() === env.ADMIN_ADDRESS?.toLowerCase()) {
      problems.push(`RELAYER_ADDRESS: must differ from ADMIN_ADDRESS on chain ${chainId}`);
    }
  }
  return problems;
}

async function check() {
  const problems = problemsOfForm();
  if (problems.some((problem) => problem.startsWith("ETH_RPC_HTTPS"))) fail(EX_USAGE, problems);
  const chainId = await rpc("eth_chainId", []).then(Number, (error) =>
    fail(problems.length ? EX_USAGE : EX_UNAVAILABLE, [...problems, `the RPC does not answer: ${error.message}`]),
  );
  if (!problems.length) problems.push(...(await problemsOnChain(chainId)));
  if (problems.length) fail(EX_USAGE, problems);
  return chainId;
}

/** The record that forge keeps of the broadcast: `<folder>/Deploy.s.sol/<chain id>/run-latest.json`. */
function readBroadcast(folder) {
  const found = readdirSync(folder, { recursive: true }).find((path) => path.endsWith("run-latest.json"));
  if (found === undefined) fail(EX_SOFTWARE, "forge has left no record of the broadcast");
  return JSON.parse(readFileSync(join(folder, found), "utf8"));
}

async function run() {
  const chainId = await check();
  const folder = mkdtempSync(join(tmpdir(), "affiliate-deploy-"));
  try {
    // A copy of the compiler's cache: forge leaves the URL, which may hold a secret, beside it.
    mkdirSync(join(folder, "cache"));
    cpSync(join(CONTRACTS, "cache/solidity-files-cache.json"), join(folder, "cache/solidity-files-cache.json"));
    // The key and the URL travel in the environment: arguments are visible to every process.
    const forge = spawnSync(
      join(CONTRACTS, "tools/forge"),
      ["script", "script/Deploy.s.sol:Deploy", "--broadcast", "--non-interactive", "--slow"],
      {
        cwd: CONTRACTS,
        env: { ...env, FOUNDRY_ETH_RPC_URL: rpcUrl, FOUNDRY_BROADCAST: join(folder, "broadcast"), FOUNDRY_CACHE_PATH: join(folder, "cache") },
        stdio: ["ignore", 2, 2],
      },
    );
    if (forge.status !== 0) fail(EX_SOFTWARE, "forge script failed, see above");

    const { transactions, receipts } = readBroadcast(join(folder, "broadcast"));
    const addressOf = (name) => transactions.find((one) => one.contractName === name)?.contractAddress;
    const registry = addressOf("AffiliateRegistry");
    const receipt = receipts.find((one) => one.contractAddress?.toLowerCase() === registry?.toLowerCase());
    const deployed = {
      registry,
      payout: addressOf("AffiliatePayout"),
      usdc: env.USDC_ADDRESS ?? addressOf("TestUSDC"),
      sge: env.SGE_ADDRESS ?? addressOf("TestSGE"),
    };
    for (const [name, address] of Object.entries(deployed)) {
      const code = address === undefined ? "0x" : await rpc("eth_getCode", [address, "latest"]);
      if (code === "0x") fail(EX_SOFTWARE, `no code at the address of ${name}`);
    }
    console.log(JSON.stringify({ ...deployed, chain_id: chainId, block: Number(receipt.blockNumber) }));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const command = process.argv[2];
if (command === "check") await check();
else if (command === "run") await run();
else fail(EX_USAGE, "usage: deploy.mjs check | run");
