// Serves files on a port of its own: pages, programs and the CRS.

import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import http from 'node:http';
import path from 'node:path';

const TYPES = {
  '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm',
  '.json': 'application/json', '.dat': 'application/octet-stream',
};

/** Serves folders, `{ '/prefix/': '/folder' }`, and texts, `{ '/page': '<!doctype html>…' }`. */
export class Files {
  folders = {};
  texts = {};
  /** Functions that return the text of an answer, by path. */
  answers = {};
  requests = [];
  /** Headers of every answer. */
  headers = {};
  #server;
  url;

  static async start(folders = {}, texts = {}) {
    const files = new Files();
    Object.assign(files, { folders, texts });
    files.#server = http.createServer((request, response) => void files.#handle(request, response));
    files.#server.listen(0, '127.0.0.1');
    await once(files.#server, 'listening');
    files.url = `http://127.0.0.1:${files.#server.address().port}`;
    return files;
  }

  async stop() {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  async #handle(request, response) {
    const { pathname } = new URL(request.url, this.url);
    this.requests.push(pathname);
    const headers = { 'access-control-allow-origin': '*', 'access-control-allow-headers': 'range', 'cache-control': 'no-store', ...this.headers };
    if (request.method === 'OPTIONS') {
      response.writeHead(204, headers).end();
      return;
    }
    if (pathname in this.answers) {
      response.writeHead(200, { ...headers, 'content-type': 'text/plain' }).end(await this.answers[pathname](request));
      return;
    }
    if (pathname in this.texts) {
      response.writeHead(200, { ...headers, 'content-type': TYPES['.html'] }).end(this.texts[pathname]);
      return;
    }
    const [prefix, folder] = Object.entries(this.folders).find(([prefix]) => pathname.startsWith(prefix)) ?? [];
    const file = folder && path.join(folder, path.normalize(`/${pathname.slice(prefix.length)}`));
    const bytes = file && (await readFile(file).catch(() => undefined));
    if (!bytes) {
      response.writeHead(404, headers).end();
      return;
    }
    const range = /^bytes=0-(\d+)$/.exec(request.headers.range ?? '');
    const part = range ? bytes.subarray(0, Number(range[1]) + 1) : bytes;
    response.writeHead(range ? 206 : 200, { ...headers, 'content-type': TYPES[path.extname(file)] ?? 'application/octet-stream' });
    response.end(part);
  }
}
