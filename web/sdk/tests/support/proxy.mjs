// A proxy in front of a real server, which breaks requests where a test wants it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';

/** A proxy. `intercept(request, response)` answers a request itself where it returns true. */
export class Proxy {
  /** The requests so far, as `METHOD /path?query`. */
  requests = [];
  /** Headers of the requests so far. */
  headers = [];
  /** Called with each request. */
  intercept = () => false;
  /** Called with each piece of an answer: `false` breaks the connection before the piece. */
  onPiece = () => true;
  #server;
  url;

  static async start(upstream) {
    const proxy = new Proxy();
    proxy.#server = http.createServer((request, response) => proxy.#handle(upstream, request, response));
    proxy.#server.listen(0, '127.0.0.1');
    await once(proxy.#server, 'listening');
    proxy.url = `http://127.0.0.1:${proxy.#server.address().port}`;
    return proxy;
  }

  /** The requests whose line contains a text. */
  with(text) {
    return this.requests.filter((line) => line.includes(text));
  }

  async stop() {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #handle(upstream, request, response) {
    this.requests.push(`${request.method} ${request.url}`);
    this.headers.push(request.headers);
    if (this.intercept(request, response)) return;
    if (!upstream) {
      response.destroy();
      return;
    }
    const { host: _, ...headers } = request.headers;
    const forward = http.request(new URL(request.url, upstream), { method: request.method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      // The head of a stream must not wait for its first event.
      response.flushHeaders();
      answer.on('data', (piece) => {
        if (this.onPiece(request, piece)) response.write(piece);
        else {
          response.destroy();
          answer.destroy();
        }
      });
      answer.on('end', () => response.end());
      answer.on('error', () => response.destroy());
    });
    forward.on('error', () => response.destroy());
    response.on('close', () => forward.destroy());
    request.pipe(forward);
  }
}

/** Answers with a problem document. */
export function problem(response, status, code, headers = {}, members = {}) {
  const document = {
    type: `/problems/${code}`, title: code, status, detail: `planted ${code}`, error: code, message: `planted ${code}`, code,
    retryable: 'retry-after' in headers, ...members,
  };
  response.writeHead(status, { 'content-type': 'application/problem+json', 'x-request-id': 'planted-1', ...headers });
  response.end(JSON.stringify(document));
  return true;
}

/** Compares the number of requests. Deno repeats one by itself where the connection that it used again breaks. */
export function assertAttempts(expected, requests) {
  const most = 'Deno' in globalThis ? expected + 1 : expected;
  assert.ok(requests.length >= expected && requests.length <= most, `${requests.length} requests: ${requests.join()}`);
}
