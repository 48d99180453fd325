// The stages of a job as bars that follow each other.

import type { JobDocument, StageTime } from '@edgeprove/client';

import { el, svg } from '../dom.js';
import { duration } from '../format.js';

const WIDTH = 1000;

const LABELS: Record<StageTime['stage'], string> = {
  upload: 'Upload', witness: 'Witness', queue: 'Queue', load: 'Load', prove: 'Prove', verify: 'Verify',
};

interface Bar {
  stage: StageTime['stage'];
  start: number;
  ms: number;
  isOpen: boolean;
}

function bars(job: JobDocument, now: number): { bars: Bar[]; begin: number; total: number } {
  const found = (job.stages ?? []).map(({ stage, started_at, duration_ms }) => {
    const start = Date.parse(started_at);
    return { stage, start, ms: duration_ms ?? Math.max(0, now - start), isOpen: duration_ms === null };
  });
  const begin = Math.min(...found.map(({ start }) => start));
  const end = Math.max(...found.map(({ start, ms }) => start + ms));
  return { bars: found, begin, total: Math.max(1, end - begin) };
}

/** One line of bars, for a row of the list. Screen readers skip it: the details have the numbers. */
export function strip(job: JobDocument): SVGElement {
  const { bars: found, begin, total } = bars(job, Date.now());
  const parts = found.map(({ stage, start, ms, isOpen }) => svg('rect', {
    x: (((start - begin) / total) * WIDTH).toFixed(1), y: 0, width: Math.max(6, (ms / total) * WIDTH).toFixed(1), height: 10,
    'data-stage': stage, ...(isOpen ? { class: 'open' } : {}),
  }));
  return svg('svg', { viewBox: `0 0 ${WIDTH} 10`, preserveAspectRatio: 'none', class: 'strip', 'aria-hidden': 'true' }, ...parts);
}

/** The stages with their times, for the details of a job. */
export function waterfall(job: JobDocument): HTMLElement {
  const { bars: found, begin, total } = bars(job, Date.now());
  if (found.length === 0) return el('p', { class: 'note' }, 'No stage has started.');
  const rows = found.map(({ stage, start, ms, isOpen }) => {
    const bar = svg('rect', {
      x: (((start - begin) / total) * WIDTH).toFixed(1), y: 0, width: Math.max(4, (ms / total) * WIDTH).toFixed(1), height: 10, rx: 2,
      'data-stage': stage, ...(isOpen ? { class: 'open' } : {}),
    });
    return el('li', {},
      el('span', {}, LABELS[stage]),
      svg('svg', { viewBox: `0 0 ${WIDTH} 10`, preserveAspectRatio: 'none', 'aria-hidden': 'true' }, bar),
      el('b', {}, duration(ms), isOpen && '…'));
  });
  return el('ol', { class: 'waterfall', 'aria-label': 'Stages' }, rows);
}
