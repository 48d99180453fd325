// Starts the real server on a free port, with data of its own.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cp, mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import * as paths from './paths.mjs';
import { eventually } from './wait.mjs';

/** A circuit's compiled program. */
export async function program(name = 'range_check') {
  return JSON.parse(await readFile(path.join(paths.circuits, `${name}.json`), 'utf8'));
}

/** The gzipped witness of a circuit's sample. */
export async function sampleWitness(name = 'range_check') {
  return new Uint8Array(await readFile(path.join(paths.circuits, `${name}.gz`)));
}

/** The cores of every server. */
const CORES = '2';
/** The provers of so many cores: one that has all of them, and one for each. */
const PROVERS = 3;

/** A running server. `stop` ends it, and `kill` as a crash does. `restart` starts it again on the same port and data. */
export class Server {
  #child;
  #folder;
  #flags;
  #pausing;
  url;

  /**
   * Starts a server. Flags are those of `edgeprove serve`; `circuits` are names of compiled circuits; `keys` is the text of
   * a keys file.
   */
  static async start({ flags = [], circuits = ['range_check'], keys } = {}) {
    const server = new Server();
    server.#folder = await mkdtemp(path.join(os.tmpdir(), 'edgeprove-sdk-'));
    const folder = (name) => path.join(server.#folder, name);
    await mkdir(folder('circuits'));
    for (const name of circuits) {
      await cp(path.join(paths.circuits, `${name}.json`), folder(`circuits/${name}.json`));
    }
    server.#flags = [
      '--circuits', folder('circuits'), '--crs', paths.crs, '--cache-dir', folder('cache'), '--spool-dir', folder('spool'),
      '--addr-file', folder('address'), '--drain', '5s', '--cores', CORES, ...flags,
    ];
    if (!flags.includes('--data')) server.#flags.push('--data', folder('data'));
    if (keys) {
      writeFileSync(folder('keys.toml'), keys, { mode: 0o600 });
      server.#flags.push('--keys-file', folder('keys.toml'));
    }
    await server.#run('127.0.0.1:0');
    return server;
  }

  async #run(listen) {
    const address = path.join(this.#folder, 'address');
    await rm(address, { force: true });
    const log = [];
    // Only what the server needs: the caller's own settings must not change it.
    const { PATH, HOME } = process.env;
    const environment = { PATH, HOME, BB_PATH: paths.bb };
    this.#child = spawn(paths.server, ['serve', '--listen', listen, ...this.#flags], {
      stdio: ['ignore', 'ignore', 'pipe'], env: environment,
    });
    this.#child.stderr.on('data', (text) => log.push(text));
    const child = this.#child;
    const found = await eventually('the server listens', async () => {
      if (child.exitCode !== null) throw new Error(`the server ended with ${child.exitCode}:\n${log.join('')}`);
      return (await readFile(address, 'utf8').catch(() => '')).trim();
    });
    this.url = `http://${found}`;
    await eventually('the server is ready', async () => (await fetch(`${this.url}/readyz`).catch(() => undefined))?.ok);
  }

  /**
   * Stops every prover, so that no proof can finish. Waits until nothing runs, and stops a prover that replaces a killed
   * one: a job that was cancelled may still be on its way to a prover.
   */
  async pauseProvers() {
    await eventually('the server is idle', async () => {
      const { prover, jobs } = await (await fetch(`${this.url}/api/health`)).json();
      const isIdle = prover.running + prover.waiting === 0 && jobs.running + jobs.queued === 0;
      return isIdle && this.#provers().length === PROVERS;
    });
    const stop = () => this.#provers().forEach((pid) => signal(pid, 'SIGSTOP'));
    stop();
    clearInterval(this.#pausing);
    // A new prover needs longer than this until its first proof.
    this.#pausing = setInterval(stop, 25);
  }

  /** Lets the provers go on. */
  resumeProvers() {
    clearInterval(this.#pausing);
    for (const pid of this.#provers()) signal(pid, 'SIGCONT');
  }

  /** Ends it at once, as a crash or a power cut. */
  async kill() {
    clearInterval(this.#pausing);
    const provers = this.#provers();
    await this.#end('SIGKILL');
    // One that was stopped would not notice that its server is gone.
    for (const pid of provers) signal(pid, 'SIGKILL');
  }

  /** The bb processes of the server. */
  #provers() {
    const numbers = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    return numbers.map(Number).filter((pid) => {
      const found = statusOf(pid);
      // A process that is still the server's copy must not be stopped: the server waits until it is bb.
      return found?.parent === this.#child.pid && found.name === 'bb';
    });
  }

  /** Starts it again. */
  async restart() {
    await this.#run(new URL(this.url).host);
  }

  /** Ends it, and removes its data. */
  async stop() {
    this.resumeProvers();
    await this.#end('SIGTERM');
    await rm(this.#folder, { recursive: true, force: true });
  }

  async #end(signal) {
    const child = this.#child;
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, 'exit');
  }
}

/** Name and parent of a process; `undefined` where it has ended. */
function statusOf(pid) {
  try {
    // The name, in brackets, may have blanks.
    const [, name, rest] = /^\d+ \((.*)\) (.*)$/s.exec(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    return { name, parent: Number(rest.split(' ')[1]) };
  } catch {
    return undefined;
  }
}

function signal(pid, name) {
  try {
    process.kill(pid, name);
  } catch {
    // It has ended.
  }
}
