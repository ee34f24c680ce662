#!/usr/bin/env node
// The pinned solc of node_modules (WASM), spoken to the way Foundry and Slither speak to a native solc.
"use strict";

const fs = require("fs");
const solc = require("solc");

function write(text) {
  // In a loop, synchronously: process.stdout.write followed by exit cuts pipes at 64 KiB.
  const bytes = Buffer.from(text);
  for (let done = 0; done < bytes.length; ) {
    try {
      done += fs.writeSync(1, bytes, done);
    } catch (error) {
      if (error.code !== "EAGAIN") throw error;
    }
  }
}

const args = process.argv.slice(2);
if (args.includes("--version")) {
  write(`solc, the solidity compiler commandline interface\nVersion: ${solc.version()}\n`);
} else if (args.includes("--standard-json")) {
  write(solc.compile(fs.readFileSync(0, "utf8")));
} else {
  fs.writeSync(2, "usage: solc.js --version | --standard-json < input.json\n");
  process.exitCode = 64;
}
