// Server-sent events from the body of an answer, as the HTML standard defines them.

import { EdgeproveError } from './errors.js';

/** Most characters of one event. The document of a job has some hundred. */
const EVENT_MAX = 1 << 20;

/** An event. */
export interface ServerEvent {
  id: string;
  name: string;
  data: string;
}

/**
 * The events of a stream.
 *
 * Rejects with `unreachable` where nothing arrives for `silenceMs`: a server sends a comment every 15 s, so the
 * connection is lost without notice.
 */
export async function* serverEvents(
  body: ReadableStream<Uint8Array>,
  silenceMs: number,
): AsyncGenerator<ServerEvent, void> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let text = '';
  let data: string[] = [];
  let id = '';
  let name = '';
  let size = 0;
  try {
    for (;;) {
      const { done, value } = await withoutSilence(reader.read(), silenceMs);
      if (done) return;
      text += decoder.decode(value, { stream: true });
      size += value.length;
      // A line may end with CR, LF or both. A CR at the end may be the first half of a pair.
      const lines = text.split(/\r\n|\n|\r(?!$)/);
      text = lines.pop() ?? '';
      for (const line of lines) {
        if (line === '') {
          if (data.length > 0) yield { id, name: name || 'message', data: data.join('\n') };
          [data, name, size] = [[], '', text.length];
          continue;
        }
        const colon = line.indexOf(':');
        const field = colon < 0 ? line : line.slice(0, colon);
        const rest = colon < 0 ? '' : line.slice(colon + 1);
        const content = rest.startsWith(' ') ? rest.slice(1) : rest;
        if (field === 'data') data.push(content);
        else if (field === 'event') name = content;
        else if (field === 'id' && !content.includes('\0')) id = content;
        // A comment, such as a keep-alive, is part of no event.
        else if (field === '' && data.length === 0) size = text.length;
      }
      if (size > EVENT_MAX) {
        throw new EdgeproveError('answer_too_large', `an event of the server has more than ${EVENT_MAX} bytes`);
      }
    }
  } finally {
    // Ends the transfer where the reader of the events stops before the stream does.
    await reader.cancel().catch(() => {});
  }
}

async function withoutSilence<T>(read: Promise<T>, ms: number): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const silence = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new EdgeproveError('unreachable', 'the stream of events is silent', { retryable: true }));
    }, ms);
  });
  try {
    return await Promise.race([read, silence]);
  } finally {
    clearTimeout(timer);
  }
}
