// The package in the runtime of Cloudflare Workers, which is among the tools of the edge.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import test from 'node:test';

import { build } from 'esbuild';

import * as paths from '../support/paths.mjs';
import { Server } from '../support/server.mjs';

// The module names the program; the script in `bin` would not pass the file on which the program reports its port.
const workerd = path.join(paths.repository, 'edge_worker/node_modules/workerd/lib/main.js');
const skip = !existsSync(workerd) && paths.skipped('workers', 'workerd is not installed: cargo xtask setup --only edge');

const WORKER = `
import { createProver } from './index.js';

export default {
  async fetch(request) {
    try {
      const prover = createProver({ url: new URL(request.url).searchParams.get('server'), mode: 'remote' });
      const steps = [];
      const inputs = { value: 42n, min: 10, max: 100 };
      const result = await prover.prove('range_check', inputs, { onProgress: (step) => steps.push(step.stage) });
      const refused = await prover.prove('range_check', { ...inputs, value: 5 }).catch((error) => error.code);
      const isValid = await prover.verify(result, { on: 'server' });
      return Response.json({ provedBy: result.provedBy, bytes: result.proof.length, steps, refused, isValid });
    } catch (error) {
      return Response.json({ error: String(error), cause: String(error.cause) });
    }
  },
};
`;

const CONFIG = `
using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [
    (name = "main", worker = (modules = [(name = "worker", esModule = embed "worker.js")], compatibilityDate = "2025-01-01")),
    (name = "internet", network = (allow = ["private", "public", "local"])),
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);
`;

test('a Worker proves by a job, and verifies at the server', { skip }, async () => {
  const server = await Server.start();
  const folder = await mkdtemp(path.join(os.tmpdir(), 'edgeprove-worker-'));
  let child;
  try {
    await build({
      stdin: { contents: WORKER, resolveDir: path.join(paths.sdk, 'dist') }, bundle: true, format: 'esm', target: 'esnext',
      outfile: path.join(folder, 'worker.js'), external: ['@aztec/bb.js', '@noir-lang/noir_js'], logLevel: 'error',
    });
    await writeFile(path.join(folder, 'config.capnp'), CONFIG);
    const { default: module } = await import(workerd);
    child = spawn(module.default, ['serve', 'config.capnp', '--control-fd=3'], {
      cwd: folder, stdio: ['ignore', 'inherit', 'inherit', 'pipe'],
    });
    const port = await new Promise((resolve, reject) => {
      child.on('exit', (code) => reject(new Error(`workerd ended with ${code}`)));
      createInterface({ input: child.stdio[3] }).on('line', (line) => {
        const event = JSON.parse(line);
        if (event.event === 'listen') resolve(event.port);
      });
    });
    const answer = await (await fetch(`http://127.0.0.1:${port}/?server=${server.url}`)).json();
    assert.equal(answer.steps?.at(-1), 'done', JSON.stringify(answer));
    assert.deepEqual({ ...answer, steps: 0 }, { provedBy: 'server', bytes: 14_656, steps: 0, refused: 'witness_unsatisfied', isValid: true });
  } finally {
    child?.removeAllListeners('exit');
    child?.kill('SIGKILL');
    await rm(folder, { recursive: true, force: true });
    await server.stop();
  }
});
