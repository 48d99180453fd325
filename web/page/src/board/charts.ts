// Small charts as drawings. Each has a text for screen readers with what a reader would see in it.

import { el, svg } from '../dom.js';
import { count, duration } from '../format.js';
import type { HistorySection, Minute } from './sections.js';

const WIDTH = 600;
const HEIGHT = 120;
const MINUTE_MS = 60_000;

/** A figure whose drawing is replaced when the hour changes. */
export interface Chart {
  element: HTMLElement;
  show(history: HistorySection): void;
}

/** The minutes of the hour, also those without a proof. */
function slots(history: HistorySection, now: number): (Minute | undefined)[] {
  const last = Math.floor(now / MINUTE_MS);
  const byMinute = new Map(history.points.map((point) => [Math.floor(Date.parse(point.at) / MINUTE_MS), point]));
  return Array.from({ length: history.minutes }, (_, index) => byMinute.get(last - history.minutes + 1 + index));
}

function chart(title: string, legend: [string, string][], draw: (history: HistorySection) => { parts: Node[]; text: string; top: string }): Chart {
  const drawing = svg('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img', class: 'chart' });
  const top = el('span', { class: 'top' });
  const element = el('figure', { class: 'card figure' },
    el('figcaption', {}, el('h2', {}, title), el('ul', { class: 'key' }, legend.map(([name, series]) =>
      el('li', { 'data-series': series }, name)))),
    el('div', { class: 'plot' }, top, drawing),
    el('div', { class: 'axis note', 'aria-hidden': 'true' }, el('span', {}, '1 hour ago'), el('span', {}, 'now')));
  return {
    element,
    show: (history) => {
      const { parts, text, top: label } = draw(history);
      drawing.replaceChildren(...parts);
      drawing.setAttribute('aria-label', text);
      top.textContent = label;
    },
  };
}

/** A round number that is not smaller. */
function ceiling(value: number): number {
  if (value <= 0) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value) ?? value;
}

function grid(): SVGElement[] {
  return [0.5, HEIGHT / 2, HEIGHT - 0.5].map((y) =>
    svg('line', { x1: 0, x2: WIDTH, y1: y, y2: y, class: 'grid', 'vector-effect': 'non-scaling-stroke' }));
}

/** Proofs by minute: successful ones, faults of callers, faults of the service. */
export function throughputChart(): Chart {
  const series = [['success', 'good'], ['caller_error', 'warn'], ['server_error', 'bad']] as const;
  return chart('Proofs a minute', [['proved', 'good'], ['refused', 'warn'], ['failed', 'bad']], (history) => {
    const minutes = slots(history, Date.now());
    const sum = (minute: Minute | undefined): number =>
      series.reduce((total, [name]) => total + (minute?.[name] ?? 0), 0);
    const top = ceiling(Math.max(...minutes.map(sum)));
    const step = WIDTH / minutes.length;
    const bars = minutes.flatMap((minute, index) => {
      let y = HEIGHT;
      return series.flatMap(([name, kind]) => {
        const value = minute?.[name] ?? 0;
        if (value === 0) return [];
        const height = Math.max(1.5, (value / top) * HEIGHT);
        y -= height;
        return [svg('rect', { x: index * step + 1, y, width: Math.max(1, step - 2), height, rx: 1, 'data-series': kind })];
      });
    });
    const total = (name: 'success' | 'caller_error' | 'server_error'): number =>
      history.points.reduce((all, point) => all + point[name], 0);
    const text = `In the last hour ${count(total('success'))} proofs succeeded, ${count(total('caller_error'))} were refused and ` +
      `${count(total('server_error'))} failed.`;
    return { parts: [...grid(), ...bars], text, top: count(top) };
  });
}

/** Quantiles of durations by minute. */
export function durationChart(): Chart {
  const series = ['p99', 'p95', 'p50'] as const;
  return chart('Time of a proof', [['p50', 'p50'], ['p95', 'p95'], ['p99', 'p99']], (history) => {
    const minutes = slots(history, Date.now());
    const top = ceiling(Math.max(0, ...history.points.map((point) => point.duration_ms?.p99 ?? 0)));
    const step = WIDTH / minutes.length;
    const lines = series.flatMap((name) => {
      const parts: Node[] = [];
      let run: string[] = [];
      const end = (): void => {
        if (run.length > 0) {
          // A minute alone is a short line.
          if (run.length === 1) run.push(`h${step / 2}`);
          parts.push(svg('path', { d: `M${run.join(' ')}`, 'data-series': name, 'vector-effect': 'non-scaling-stroke' }));
        }
        run = [];
      };
      minutes.forEach((minute, index) => {
        const value = minute?.duration_ms?.[name];
        if (value === undefined) return end();
        const x = ((index + 0.5) * step).toFixed(1);
        const y = (HEIGHT - (value / top) * HEIGHT).toFixed(1);
        run.push(run.length === 0 ? `${x},${y}` : `L${x},${y}`);
      });
      end();
      return parts;
    });
    const latest = history.points.findLast((point) => point.duration_ms !== null)?.duration_ms;
    const text = latest === undefined || latest === null
      ? 'No proof was made in the last hour.'
      : `Half of the latest proofs took at most ${duration(latest.p50)}, 95 % at most ${duration(latest.p95)} and 99 % at most ${duration(latest.p99)}.`;
    return { parts: [...grid(), ...lines], text, top: duration(top) };
  });
}
