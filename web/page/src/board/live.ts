// The live sections of one server. The stream is read with `fetch`, because an EventSource cannot send a key. It ends while
// the document is hidden or the reader pauses, and is opened again with growing pauses when it is lost.

import { type Api, Refused, reason } from './api.js';
import type { Sections } from './sections.js';

const PAUSE_MS = 1000;
const PAUSE_MAX_MS = 15_000;
/** The server sends a comment every 15 seconds of silence. Without one for so long the stream is lost. */
const SILENCE_MAX_MS = 50_000;
/** Most characters of an event. A board has some hundred circuits. */
const EVENT_MAX = 4_000_000;

/** How the stream is. */
export type LiveState = { name: 'connecting' } | { name: 'live' } | { name: 'paused' } | { name: 'lost'; why: string };

/** The board of one server, or of one container behind an edge. */
export class Live {
  /** The sections that arrived. */
  readonly sections: Partial<Sections> = {};
  #abort: AbortController | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pause = PAUSE_MS;
  readonly #api: Api;
  readonly #path: string;
  readonly #onChange: (changed: string[]) => void;
  readonly #onState: (state: LiveState) => void;

  constructor(
    api: Api,
    container: number | undefined,
    onChange: (changed: string[]) => void,
    onState: (state: LiveState) => void,
  ) {
    this.#api = api;
    this.#path = `/v1/board/events${container === undefined ? '' : `?container=${container}`}`;
    this.#onChange = onChange;
    this.#onState = onState;
  }

  /** Opens the stream, unless it is open. */
  start(): void {
    if (this.#abort !== undefined) return;
    const abort = new AbortController();
    this.#abort = abort;
    this.#onState({ name: 'connecting' });
    this.#read(abort).catch((error: unknown) => {
      // It was stopped. A stream that was silent for too long is aborted too, and is opened again.
      if (this.#abort !== abort) return;
      this.#abort = undefined;
      this.#onState({ name: 'lost', why: reason(error) });
      // A refusal of the key is not cured by time.
      const isFinal = error instanceof Refused && (error.status === 401 || error.status === 403);
      if (isFinal) return;
      const wait = error instanceof Refused ? Math.max(error.retryAfterMs ?? 0, this.#pause) : this.#pause;
      this.#pause = Math.min(this.#pause * 2, PAUSE_MAX_MS);
      this.#timer = setTimeout(() => this.start(), wait);
    });
  }

  /** Closes the stream. What arrived stays. */
  stop(): void {
    clearTimeout(this.#timer);
    if (this.#abort === undefined) return;
    this.#abort.abort();
    this.#abort = undefined;
    this.#onState({ name: 'paused' });
  }

  async #read(abort: AbortController): Promise<void> {
    const stream = await heard(abort, this.#api.stream(this.#path, abort.signal));
    const reader = stream.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
    let rest = '';
    for (;;) {
      const { done, value } = await heard(abort, reader.read());
      if (done) throw new Error('the stream ended');
      rest += value;
      if (rest.length > EVENT_MAX) throw new Error('an event is too long');
      const events = rest.split('\n\n');
      rest = events.pop() ?? '';
      for (const event of events) this.#take(event);
    }
  }

  #take(event: string): void {
    const data = event.split('\n').find((line) => line.startsWith('data:'));
    if (data === undefined) return;
    const changed = JSON.parse(data.slice(5)) as Partial<Sections>;
    Object.assign(this.sections, changed);
    this.#pause = PAUSE_MS;
    this.#onState({ name: 'live' });
    this.#onChange(Object.keys(changed));
  }
}

/** Waits for the server, and aborts where it is silent for too long. */
async function heard<T>(abort: AbortController, answer: Promise<T>): Promise<T> {
  const silence = setTimeout(() => abort.abort(new DOMException('the server is silent', 'TimeoutError')), SILENCE_MAX_MS);
  return await answer.finally(() => clearTimeout(silence));
}
